-- Invoice numbers are gapless per prefix and year (rule 6.3).
-- A row is a series with its count and its last number where they differ. No row: the law holds.
-- Parameters: none. Bounds: all invoices. Runs on SQLite and PostgreSQL.
select prefix, year, count(*) as invoices, max(sequence) as last_sequence
from invoices
group by prefix, year
having count(*) <> max(sequence)
order by 1, 2
