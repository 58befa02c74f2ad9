-- What happened to an invoice's money is of a known kind and an amount, and what is decided was open before (rule 6.5).
-- A row is an invoice with the gateway's reference and kind of what does not fit: an unknown kind, no amount, a dispute
-- decided that was never opened or twice, a refund that came back and never went. No row: the law holds.
-- Parameters: none. Bounds: all payment events; amounts in minor units of the currency. Runs on SQLite and PostgreSQL.
with before as (
    select number, gateway, reference, amount_minor,
           case kind when 'disputed' then 'dispute' else 'refund' end as what
    from payment_events
    where kind in ('disputed', 'refunded')
)
select payment_events.number, payment_events.reference, payment_events.kind
from payment_events
left join before
    on before.number = payment_events.number
    and before.gateway = payment_events.gateway
    and before.reference = payment_events.reference
    and before.what = case payment_events.kind when 'refund_failed' then 'refund' else 'dispute' end
where payment_events.kind not in (
          'received', 'refunded', 'refund_failed', 'disputed', 'dispute_won', 'dispute_lost', 'written_off',
          'declined', 'authentication_required'
      )
   or payment_events.amount_minor <= 0
   or (
       payment_events.kind in ('refund_failed', 'dispute_won', 'dispute_lost')
       and coalesce(before.amount_minor, 0) <> payment_events.amount_minor
   )
   or (
       payment_events.kind = 'dispute_won'
       and exists (
           select 1
           from payment_events as lost
           where lost.kind = 'dispute_lost'
             and lost.number = payment_events.number
             and lost.gateway = payment_events.gateway
             and lost.reference = payment_events.reference
       )
   )
order by 1, 2, 3
