-- In each series, of invoices and of credit notes, the issue instant never goes back (rule 6.3).
-- A row is a number that was issued before the one that it follows. No row: the law holds.
-- Parameters: none. Bounds: all invoices and credit notes. Runs on SQLite and PostgreSQL.
with issued as (
    select number,
           issued_at_us,
           lag(issued_at_us) over (partition by prefix order by year, sequence) as before_us
    from invoices
    union all
    select number,
           issued_at_us,
           lag(issued_at_us) over (partition by prefix order by year, sequence) as before_us
    from credit_notes
)
select number, issued_at_us, before_us
from issued
where issued_at_us < before_us
order by 1
