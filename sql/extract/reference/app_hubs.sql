-- Which hub an app belongs to, and when (rules 1.1, 1.2).
-- A row is an app's time with a hub, [valid_from, valid_to); an open end is null.
-- Instants are timestamptz (SQLite: text in UTC).
-- Parameters: none. Bounds: all that is known now, a full picture. Runs on SQLite and PostgreSQL.
select app_id,
       hub_id,
       valid_from,
       valid_to
from app_hubs
order by app_id, hub_id, valid_from
