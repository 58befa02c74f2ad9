-- APIs and other resources, and how their usage counts: rated, unrated or capacity.
-- A row is an API.
-- Parameters: none. Bounds: all that is known now, a full picture. Runs on SQLite and PostgreSQL.
select api,
       name,
       usage_unit,
       billing
from apis
order by api
