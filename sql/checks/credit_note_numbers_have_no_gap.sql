-- Credit notes' numbers are gapless per prefix and year, in series that number no invoice (rules 6.3, 6.4).
-- A row is a series with its count and its last number where they differ, or that numbers invoices too. No row: the law
-- holds.
-- Parameters: none. Bounds: all credit notes. Runs on SQLite and PostgreSQL.
select prefix, year, count(*) as credit_notes, max(sequence) as last_sequence
from credit_notes
group by prefix, year
having count(*) <> max(sequence)
    or prefix in (select prefix from invoices)
order by 1, 2
