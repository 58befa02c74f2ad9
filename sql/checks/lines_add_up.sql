-- An invoice's net is the sum of its lines, its total is net and tax (rules 6.1, 6.2), in minor units of the currency.
-- A row is an invoice where that does not hold. No row: the law holds.
-- Parameters: none. Bounds: all invoices. Runs on SQLite and PostgreSQL.
select invoices.number,
       invoices.net_minor,
       sum(invoice_lines.net_minor) as lines_minor,
       invoices.tax_minor,
       invoices.total_minor
from invoices
join invoice_lines on invoice_lines.number = invoices.number
group by invoices.number, invoices.net_minor, invoices.tax_minor, invoices.total_minor
having invoices.net_minor <> sum(invoice_lines.net_minor)
    or invoices.total_minor <> invoices.net_minor + invoices.tax_minor
order by 1
