-- A cycle opens with what the team's cycle before closed with; what is absent is 0 (rule 4.2).
-- A row is a team's cycle and API where that does not hold. No row: the law holds.
-- Parameters: none. Bounds: all cycles, closed or rated. Runs on SQLite and PostgreSQL.
with ordered as (
    select team_id,
           cycle_start_us,
           lag(cycle_start_us) over (partition by team_id order by cycle_start_us) as before_us
    from cycles
)
select ordered.team_id,
       ordered.cycle_start_us,
       coalesce(here.api, earlier.api) as api,
       coalesce(here.opening_micro, 0) as opening_micro,
       coalesce(earlier.closing_micro, 0) as closed_before_micro
from ordered
join (select distinct team_id, api from carry) as used
  on used.team_id = ordered.team_id
left join carry as here
  on here.team_id = ordered.team_id and here.cycle_start_us = ordered.cycle_start_us and here.api = used.api
left join carry as earlier
  on earlier.team_id = ordered.team_id and earlier.cycle_start_us = ordered.before_us and earlier.api = used.api
where coalesce(here.opening_micro, 0) <> coalesce(earlier.closing_micro, 0)
order by 1, 2, 3
