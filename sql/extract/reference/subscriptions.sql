-- What teams bought (rule 1.3).
-- A row is a subscription; null team_id: not assigned yet, null ends_at: open.
-- Instants are timestamptz (SQLite: text in UTC).
-- Parameters: none. Bounds: all that is known now, a full picture. Runs on SQLite and PostgreSQL.
select subscription_id,
       team_id,
       kind,
       purchased_at,
       time_zone,
       ends_at,
       currency,
       payment_method_id
from subscriptions
order by subscription_id
