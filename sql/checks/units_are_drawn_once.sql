-- Every charged unit has exactly one payer, or is unfunded (rules 5.1, 5.5).
-- A row is a team's cycle and API where that does not hold. No row: the law holds.
-- Parameters: none. Bounds: all cycles, closed or rated. Runs on SQLite and PostgreSQL.
select carry.team_id,
       carry.cycle_start_us,
       carry.api,
       carry.charged_units,
       coalesce(sum(draws.charged_units), 0) as drawn_units
from carry
left join draws
       on draws.team_id = carry.team_id
      and draws.cycle_start_us = carry.cycle_start_us
      and draws.api = carry.api
where carry.billing = 'rated'
group by carry.team_id, carry.cycle_start_us, carry.api, carry.charged_units
having carry.charged_units <> coalesce(sum(draws.charged_units), 0)
order by 1, 2, 3
