-- Teams, each owned by a customer.
-- A row is a team.
-- Parameters: none. Bounds: all that is known now, a full picture. Runs on SQLite and PostgreSQL.
select team_id,
       customer_id,
       name
from teams
order by team_id
