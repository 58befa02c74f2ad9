-- Money goes back for a credit note of its invoice, once and no more than it says, or tells whose doing it was (rule 6.5).
-- A row is an invoice and what a refund of it says: the credit note, and how much went back for it and did not come back.
-- No row: the law holds.
-- Parameters: none. Bounds: all refunds; amounts in minor units of the currency. Runs on SQLite and PostgreSQL.
select payment_events.number,
       payment_events.detail as credit_note,
       coalesce(credit_notes.total_minor, 0) as credit_note_minor,
       sum(
           case when payment_events.kind = 'refunded' then payment_events.amount_minor else -payment_events.amount_minor end
       ) as refunded_minor
from payment_events
left join credit_notes
    on credit_notes.number = payment_events.detail and credit_notes.invoice_number = payment_events.number
where payment_events.kind in ('refunded', 'refund_failed')
  and payment_events.detail not like 'not for a credit note: %'
group by payment_events.number, payment_events.detail, credit_notes.total_minor
having coalesce(credit_notes.total_minor, 0) < sum(
    case when payment_events.kind = 'refunded' then payment_events.amount_minor else -payment_events.amount_minor end
)
order by 1, 2
