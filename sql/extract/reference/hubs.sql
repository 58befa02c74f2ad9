-- Developer hubs.
-- A row is a hub.
-- Parameters: none. Bounds: all that is known now, a full picture. Runs on SQLite and PostgreSQL.
select hub_id,
       name
from hubs
order by hub_id
