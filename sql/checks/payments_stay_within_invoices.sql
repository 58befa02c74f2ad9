-- No more is held for an invoice than its total, unless it is marked as overpaid, and no more goes back than came (rule 6.5).
-- A row is an invoice where that does not hold: received, given back (and not come back), its total. Money that credit
-- notes ask back is held until it has gone. No row: the law holds.
-- Parameters: none. Bounds: all payment events; amounts in minor units of the currency. Runs on SQLite and PostgreSQL.
select invoices.number,
       invoices.total_minor,
       sum(case when payment_events.kind = 'received' then payment_events.amount_minor else 0 end) as received_minor,
       sum(
           case payment_events.kind
               when 'refunded' then payment_events.amount_minor
               when 'refund_failed' then -payment_events.amount_minor
               else 0
           end
       ) as refunded_minor
from invoices
join payment_events on payment_events.number = invoices.number
group by invoices.number, invoices.total_minor
having (
        sum(
            case payment_events.kind
                when 'received' then payment_events.amount_minor
                when 'refunded' then -payment_events.amount_minor
                when 'refund_failed' then payment_events.amount_minor
                else 0
            end
        ) > invoices.total_minor
        and sum(
            case when payment_events.kind = 'received' and payment_events.detail like 'overpaid%' then 1 else 0 end
        ) = 0
    )
    or sum(
        case payment_events.kind
            when 'received' then payment_events.amount_minor
            when 'refunded' then -payment_events.amount_minor
            when 'refund_failed' then payment_events.amount_minor
            else 0
        end
    ) < 0
order by 1
