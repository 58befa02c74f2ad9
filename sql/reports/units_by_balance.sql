-- Charged units by team, cycle, API and the balance that paid; 'unfunded' is what nothing paid for (section 5 of the rules).
-- A row is a team's cycle, API and source. Cycle starts are microseconds since 1970-01-01T00:00Z.
-- Parameters: none. Bounds: closed cycles. Runs on SQLite and PostgreSQL.
select draws.team_id,
       draws.cycle_start_us,
       draws.api,
       draws.source,
       sum(draws.charged_units) as charged_units
from draws
join cycles on cycles.team_id = draws.team_id and cycles.cycle_start_us = draws.cycle_start_us
where cycles.state = 'issued' and draws.source <> 'capacity'
group by draws.team_id, draws.cycle_start_us, draws.api, draws.source
order by 1, 2, 3, 4
