-- Which team a hub belongs to, and when (rules 1.1, 1.2).
-- A row is a hub's time with a team, [valid_from, valid_to); an open end is null.
-- Instants are timestamptz (SQLite: text in UTC).
-- Parameters: none. Bounds: all that is known now, a full picture. Runs on SQLite and PostgreSQL.
select hub_id,
       team_id,
       valid_from,
       valid_to
from hub_teams
order by hub_id, team_id, valid_from
