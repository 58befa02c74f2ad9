-- Every record of every committed batch is accepted, a second delivery, or quarantined; what was accepted is in usage.
-- A row is a committed batch; one that does not add up has an `unaccounted` or a `missing` that is not 0.
-- Parameters: none. Bounds: all batches and all accepted usage; records. Runs on DuckDB by `billing audit sql`.
select
    b.batch_no,
    b.source,
    b.records,
    b.accepted,
    b.duplicates,
    b.quarantined,
    coalesce(u.events, 0) as in_usage,
    b.records - b.accepted - b.duplicates - b.quarantined as unaccounted,
    b.accepted - coalesce(u.events, 0) as missing
from batches b
left join (select batch_no, count(*) as events from usage group by batch_no) u on u.batch_no = b.batch_no
where b.state = 'committed'
order by b.batch_no
