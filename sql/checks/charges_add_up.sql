-- A charge is the sum of what it takes for its invoices, in their currency, from their customer (rule 6.5).
-- A row is a charge where that does not hold, with its amount and the sum of its parts; or one that is opened for a total
-- of 0. No row: the law holds.
-- Parameters: none. Bounds: all charges; amounts in minor units of the currency. Runs on SQLite and PostgreSQL.
select charges.charge_key,
       charges.amount_minor,
       coalesce(sum(charge_invoices.amount_minor), 0) as parts_minor,
       count(invoices.number) as invoices
from charges
left join charge_invoices on charge_invoices.charge_key = charges.charge_key
left join invoices on invoices.number = charge_invoices.number
group by charges.charge_key, charges.amount_minor, charges.currency, charges.customer_id
having charges.amount_minor <> coalesce(sum(charge_invoices.amount_minor), 0)
    or min(charge_invoices.amount_minor) < 0
    or min(invoices.total_minor) <= 0
    or sum(case when charge_invoices.amount_minor > invoices.total_minor then 1 else 0 end) > 0
    or sum(case when invoices.currency <> charges.currency then 1 else 0 end) > 0
    or sum(case when invoices.customer_id <> charges.customer_id then 1 else 0 end) > 0
order by 1
