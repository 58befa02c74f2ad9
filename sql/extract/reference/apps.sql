-- Apps (client ids).
-- A row is an app.
-- Parameters: none. Bounds: all that is known now, a full picture. Runs on SQLite and PostgreSQL.
select app_id,
       name
from apps
order by app_id
