-- A close that was asked for issues only what was approved, at the instant of the approval (rules 6.3, 6.7).
-- A row is a close, or a team's cycle of one (start blank where it is the close), and what of it is not so: its own
-- instants, an invoice's instant, what is left of a team that was rejected, or rated usage that no cycle has. No row: the
-- law holds.
-- Parameters: none. Bounds: all closes; of their invoices those that no person issued by hand. Runs on SQLite and
-- PostgreSQL.
select closes.close_no, '' as team_id, null as cycle_start_us, 'instant of the close' as what
from closes
left join approvals on approvals.close_no = closes.close_no
where coalesce(closes.approved_at_us, 0) <> coalesce(approvals.approved_at_us, 0)
   or (closes.state = 'issued' and closes.issued_at_us <> coalesce(closes.approved_at_us, closes.as_of_us))
   or (closes.state in ('open', 'rated') and approvals.close_no is not null)
   or (closes.state = 'approved' and approvals.close_no is null)
   or closes.approved_at_us < closes.as_of_us
union all
select invoices.close_no, invoices.team_id, invoices.cycle_start_us, 'instant of an invoice'
from invoices
join closes on closes.close_no = invoices.close_no
where invoices.revision = 1
  and invoices.issued_at_us <> coalesce(closes.approved_at_us, closes.as_of_us)
union all
select rejections.close_no, rejections.team_id, cycles.cycle_start_us, 'cycle of a rejected team'
from rejections
join cycles on cycles.team_id = rejections.team_id and cycles.close_no = rejections.close_no
union all
select 0, carry.team_id, carry.cycle_start_us, 'carry-over without a cycle'
from carry
left join cycles on cycles.team_id = carry.team_id and cycles.cycle_start_us = carry.cycle_start_us
where cycles.team_id is null
union all
select distinct 0, draws.team_id, draws.cycle_start_us, 'draws without a cycle'
from draws
left join cycles on cycles.team_id = draws.team_id and cycles.cycle_start_us = draws.cycle_start_us
where cycles.team_id is null
union all
select distinct 0, usage_days.team_id, usage_days.cycle_start_us, 'usage by day without a cycle'
from usage_days
left join cycles on cycles.team_id = usage_days.team_id and cycles.cycle_start_us = usage_days.cycle_start_us
where cycles.team_id is null
order by 1, 2, 3, 4
