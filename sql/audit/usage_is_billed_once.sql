-- All usage of a team and API that any closed cycle counted, beside all that was accepted and occurred before the end of
-- the team's last closed cycle. A row is a team and API; what came after that cycle was closed and is
-- not billed yet is `waits`.
-- Parameters: none. Bounds: all closed cycles, all accepted usage; 10^-6 of the API's unit. Runs on DuckDB by
-- `billing audit sql`.
with closed as (
    select c.team_id, c.api, sum(c.usage_micro) as counted
    from carry c join cycles y on y.team_id = c.team_id and y.cycle_start_us = c.cycle_start_us
    where y.state = 'issued'
    group by c.team_id, c.api
),
ends as (
    select team_id, max(cycle_end_us) as end_us from cycles where state = 'issued' group by team_id
),
accepted as (
    select u.team_id, u.api, sum(u.quantity_micro) as accepted
    from usage u join ends e on e.team_id = u.team_id
    where epoch_us(u.occurred_at) < e.end_us
    group by u.team_id, u.api
)
select a.team_id, a.api, a.accepted, coalesce(c.counted, 0) as counted, a.accepted - coalesce(c.counted, 0) as waits
from accepted a left join closed c on c.team_id = a.team_id and c.api = a.api
order by a.team_id, a.api
