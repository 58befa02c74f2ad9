-- Every record delivered is accepted, a duplicate, or a quarantined row that stands, at any time (rule 2.4).
-- So over any mixture of deliveries, replacements and replays. A replay takes as many records as it ends, and ends them as it says.
-- A row is a batch, or all of them (batch 0), where a sum is not what it should be. No row: the law holds.
-- Parameters: none. Bounds: committed batches. Runs on SQLite and PostgreSQL.
with done as (
    select batch_no, kind, records, accepted, duplicates, quarantined
    from batches
    where state = 'committed'
),
held as (
    select batch_no, count(*) as held
    from quarantine
    group by batch_no
),
ended as (
    select ended_in as batch_no,
           count(*) as ended,
           sum(case when ending = 'accepted' then 1 else 0 end) as accepted,
           sum(case when ending = 'duplicate' then 1 else 0 end) as duplicates
    from quarantine
    where ending in ('accepted', 'duplicate', 'quarantined')
    group by ended_in
),
dropped as (
    select batch_no, sum(last_line - first_line + 1) as dropped
    from duplicate_ranges
    group by batch_no
),
named as (
    select batch_no, sum(records) as named
    from batch_files
    group by batch_no
),
sums as (
    select done.batch_no,
           'records in files' as law,
           done.records as expected,
           coalesce(named.named, 0) as found
    from done
    left join named on named.batch_no = done.batch_no
    union all
    select done.batch_no, 'accepted + duplicates + quarantined', done.records,
           done.accepted + coalesce(dropped.dropped, 0) + coalesce(held.held, 0)
    from done
    left join held on held.batch_no = done.batch_no
    left join dropped on dropped.batch_no = done.batch_no
    union all
    select done.batch_no, 'records ended by replay', done.records, coalesce(ended.ended, 0)
    from done
    left join ended on ended.batch_no = done.batch_no
    where done.kind = 'replay'
    union all
    select done.batch_no, 'records ended as accepted', done.accepted, coalesce(ended.accepted, 0)
    from done
    left join ended on ended.batch_no = done.batch_no
    where done.kind = 'replay'
    union all
    select done.batch_no, 'records ended as duplicate', done.duplicates, coalesce(ended.duplicates, 0)
    from done
    left join ended on ended.batch_no = done.batch_no
    where done.kind = 'replay'
    union all
    select 0, 'delivered = accepted + duplicates + what stands',
           coalesce((select sum(records) from done where kind <> 'replay'), 0),
           coalesce((select sum(accepted + duplicates) from done), 0)
           + (select count(*) from quarantine where ending not in ('accepted', 'duplicate', 'quarantined'))
)
select batch_no, law, expected, found
from sums
where expected <> found
order by 1, 2
