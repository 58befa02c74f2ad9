-- The units of a cycle's invoice lines are the units that pay as you go paid for (rule 6.1).
-- A row is a cycle, subscription and API where that does not hold. No row: the law holds.
-- Parameters: none. Bounds: closed cycles; of their invoices those that no other has taken the place of (rule 6.4).
-- Runs on SQLite and PostgreSQL.
with paid as (
    select draws.team_id, draws.cycle_start_us, draws.subscription_id, draws.api, sum(draws.charged_units) as units
    from draws
    join cycles on cycles.team_id = draws.team_id and cycles.cycle_start_us = draws.cycle_start_us
    where draws.source = 'payg' and cycles.state = 'issued'
    group by draws.team_id, draws.cycle_start_us, draws.subscription_id, draws.api
),
invoiced as (
    select invoices.team_id,
           invoices.cycle_start_us,
           invoices.subscription_id,
           invoice_lines.api,
           sum(invoice_lines.charged_units) as units
    from invoices
    join invoice_lines on invoice_lines.number = invoices.number
    where invoices.number not in (select replaces from invoices)
    group by invoices.team_id, invoices.cycle_start_us, invoices.subscription_id, invoice_lines.api
)
select coalesce(paid.team_id, invoiced.team_id) as team_id,
       coalesce(paid.cycle_start_us, invoiced.cycle_start_us) as cycle_start_us,
       coalesce(paid.api, invoiced.api) as api,
       coalesce(paid.units, 0) as paid_units,
       coalesce(invoiced.units, 0) as invoiced_units
from paid
full outer join invoiced
  on invoiced.team_id = paid.team_id
 and invoiced.cycle_start_us = paid.cycle_start_us
 and invoiced.subscription_id = paid.subscription_id
 and invoiced.api = paid.api
where coalesce(paid.units, 0) <> coalesce(invoiced.units, 0)
order by 1, 2, 3
