-- What credit notes give back of an invoice and of its lines is never more than was invoiced (rule 6.4).
-- A row is an invoice (line 0) or a line of one, and what of it is given back beyond that: net, tax, total or units; or a
-- tax that is not all given back where the net is. No row: the law holds.
-- Parameters: none. Bounds: all credit notes; amounts in minor units of the currency. Runs on SQLite and PostgreSQL.
with given as (
    select invoice_number as number,
           sum(net_minor) as net_minor,
           sum(tax_minor) as tax_minor,
           sum(total_minor) as total_minor
    from credit_notes
    group by invoice_number
),
given_of_lines as (
    select credit_notes.invoice_number as number,
           credit_note_lines.invoice_line_no as line_no,
           sum(credit_note_lines.net_minor) as net_minor,
           sum(case when credit_note_lines.by_amount = 0 then credit_note_lines.charged_units else 0 end) as units
    from credit_note_lines
    join credit_notes on credit_notes.number = credit_note_lines.number
    group by credit_notes.invoice_number, credit_note_lines.invoice_line_no
),
compared as (
    select invoices.number, 0 as line_no, 'net' as what, invoices.net_minor as invoiced, given.net_minor as given_back
    from invoices join given on given.number = invoices.number
    union all
    select invoices.number, 0, 'tax', invoices.tax_minor, given.tax_minor
    from invoices join given on given.number = invoices.number
    union all
    select invoices.number, 0, 'total', invoices.total_minor, given.total_minor
    from invoices join given on given.number = invoices.number
    union all
    select invoices.number, 0, 'tax of all', given.tax_minor, invoices.tax_minor
    from invoices join given on given.number = invoices.number
    where given.net_minor = invoices.net_minor
    union all
    select invoice_lines.number, invoice_lines.line_no, 'net', invoice_lines.net_minor, given_of_lines.net_minor
    from invoice_lines
    join given_of_lines on given_of_lines.number = invoice_lines.number and given_of_lines.line_no = invoice_lines.line_no
    union all
    select invoice_lines.number, invoice_lines.line_no, 'units', invoice_lines.charged_units, given_of_lines.units
    from invoice_lines
    join given_of_lines on given_of_lines.number = invoice_lines.number and given_of_lines.line_no = invoice_lines.line_no
)
select number, line_no, what, invoiced, given_back
from compared
where given_back > invoiced
order by 1, 2, 3
