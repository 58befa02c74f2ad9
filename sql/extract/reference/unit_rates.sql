-- Unit sizes and prices in tokens (rules 4.1, 5.3).
-- A row is what is in force for an API from valid_from on; null tokens_per_unit: not payable in tokens.
-- Instants are timestamptz (SQLite: text in UTC); decimals are numeric (SQLite: text).
-- Parameters: none. Bounds: all that is known now, a full picture. Runs on SQLite and PostgreSQL.
select api,
       valid_from,
       unit_size,
       tokens_per_unit
from unit_rates
order by api, valid_from
