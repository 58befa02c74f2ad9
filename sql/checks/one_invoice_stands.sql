-- One invoice of a cycle and subscription stands: the next takes its place once it is given back whole (rule 6.4).
-- A row is an invoice that replaces none that was given back whole by then, or not the one before it. No row: the law
-- holds.
-- Parameters: none. Bounds: all invoices; amounts in minor units of the currency. Runs on SQLite and PostgreSQL.
with given as (
    select invoice_number,
           sum(net_minor) as net_minor,
           sum(tax_minor) as tax_minor,
           max(issued_at_us) as last_issued_at_us
    from credit_notes
    group by invoice_number
)
select later.number,
       later.revision,
       later.replaces,
       earlier.number as before,
       earlier.net_minor as before_minor,
       coalesce(given.net_minor, 0) as given_back_minor
from invoices as later
left join invoices as earlier
       on earlier.team_id = later.team_id
      and earlier.cycle_start_us = later.cycle_start_us
      and earlier.subscription_id = later.subscription_id
      and earlier.revision = later.revision - 1
left join given
       on given.invoice_number = earlier.number
where later.revision < 1
   or (later.revision = 1 and later.replaces <> '')
   or (later.revision > 1
       and (earlier.number is null
            or earlier.number <> later.replaces
            or coalesce(given.net_minor, 0) <> earlier.net_minor
            or coalesce(given.tax_minor, 0) <> earlier.tax_minor
            or given.last_issued_at_us > later.issued_at_us))
order by 1
