-- Tokens bought (rule 5.3).
-- A row is a grant of a token_flex or flex subscription, valid [valid_from, expires_at).
-- Instants are timestamptz (SQLite: text in UTC); decimals are numeric (SQLite: text).
-- Parameters: none. Bounds: all that is known now, a full picture. Runs on SQLite and PostgreSQL.
select grant_id,
       subscription_id,
       tokens,
       valid_from,
       expires_at
from token_grants
order by grant_id
