-- The units of a cycle's invoice lines are the units that pay as you go paid for, at the same prices (rule 6.1).
-- A row is a cycle, subscription, API and unit price where that does not hold. No row: the law holds.
-- Parameters: none. Bounds: closed cycles; of their invoices those that no other has taken the place of (rule 6.4).
-- Runs on SQLite and PostgreSQL.
with paid as (
    select draws.team_id,
           draws.cycle_start_us,
           draws.subscription_id,
           draws.api,
           draws.unit_price_micro,
           draws.currency,
           sum(draws.charged_units) as units
    from draws
    join cycles on cycles.team_id = draws.team_id and cycles.cycle_start_us = draws.cycle_start_us
    where draws.source = 'payg' and cycles.state = 'issued'
    group by 1, 2, 3, 4, 5, 6
),
invoiced as (
    select invoices.team_id,
           invoices.cycle_start_us,
           invoices.subscription_id,
           invoice_lines.api,
           invoice_lines.unit_price_micro,
           invoices.currency,
           sum(invoice_lines.charged_units) as units
    from invoices
    join invoice_lines on invoice_lines.number = invoices.number
    where invoices.number not in (select replaces from invoices)
    group by 1, 2, 3, 4, 5, 6
)
select coalesce(paid.team_id, invoiced.team_id) as team_id,
       coalesce(paid.cycle_start_us, invoiced.cycle_start_us) as cycle_start_us,
       coalesce(paid.api, invoiced.api) as api,
       coalesce(paid.unit_price_micro, invoiced.unit_price_micro) as unit_price_micro,
       coalesce(paid.currency, invoiced.currency) as currency,
       coalesce(paid.units, 0) as paid_units,
       coalesce(invoiced.units, 0) as invoiced_units
from paid
full outer join invoiced
  on invoiced.team_id = paid.team_id
 and invoiced.cycle_start_us = paid.cycle_start_us
 and invoiced.subscription_id = paid.subscription_id
 and invoiced.api = paid.api
 and invoiced.unit_price_micro = paid.unit_price_micro
 and invoiced.currency = paid.currency
where coalesce(paid.units, 0) <> coalesce(invoiced.units, 0)
order by 1, 2, 3, 4, 5
