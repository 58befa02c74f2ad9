-- Numbers of a resource bought (rule 5.6). Optional: without this file capacity stays as it is known.
-- A row is a grant of a capacity subscription, valid [valid_from, expires_at).
-- Instants are timestamptz (SQLite: text in UTC); decimals are numeric (SQLite: text).
-- Parameters: none. Bounds: all that is known now, a full picture. Runs on SQLite and PostgreSQL.
select grant_id,
       subscription_id,
       api,
       quantity,
       valid_from,
       expires_at
from capacity_grants
order by grant_id
