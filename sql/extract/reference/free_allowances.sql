-- Free units a period (rule 5.2).
-- A row is the allowance of a free subscription for an API.
-- Parameters: none. Bounds: all that is known now, a full picture. Runs on SQLite and PostgreSQL.
select subscription_id,
       api,
       units_per_period
from free_allowances
order by subscription_id, api
