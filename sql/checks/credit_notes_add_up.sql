-- A credit note's net is the sum of its lines, its total is net and tax, and it gives back more than 0 (rule 6.4).
-- A row is a credit note where that does not hold, with how many of its lines are neither units of a line of its invoice
-- at that line's price nor 1 x an amount of it. No row: the law holds.
-- Parameters: none. Bounds: all credit notes; amounts in minor units of the currency. Runs on SQLite and PostgreSQL.
with lines as (
    select credit_notes.number,
           coalesce(credit_note_lines.net_minor, 0) as net_minor,
           case
               when invoice_lines.number is null or credit_note_lines.net_minor <= 0 then 1
               when credit_note_lines.by_amount = 1 and credit_note_lines.charged_units = 1 then 0
               when credit_note_lines.by_amount = 0 and credit_note_lines.charged_units > 0
                    and credit_note_lines.unit_price_micro = invoice_lines.unit_price_micro then 0
               else 1
           end as wrong
    from credit_notes
    left join credit_note_lines
           on credit_note_lines.number = credit_notes.number
    left join invoice_lines
           on invoice_lines.number = credit_notes.invoice_number
          and invoice_lines.line_no = credit_note_lines.invoice_line_no
),
sums as (
    select number, sum(net_minor) as net_minor, sum(wrong) as wrong
    from lines
    group by number
)
select credit_notes.number,
       credit_notes.net_minor,
       sums.net_minor as lines_minor,
       credit_notes.tax_minor,
       credit_notes.total_minor,
       sums.wrong as wrong_lines
from credit_notes
join sums on sums.number = credit_notes.number
where credit_notes.net_minor <> sums.net_minor
   or credit_notes.total_minor <> credit_notes.net_minor + credit_notes.tax_minor
   or credit_notes.net_minor <= 0
   or credit_notes.tax_minor < 0
   or sums.wrong > 0
order by 1
