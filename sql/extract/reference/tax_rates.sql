-- Tax rates (rule 6.2).
-- A row is the rate in force in a country from valid_from, a date, on.
-- Decimals are numeric (SQLite: text); the day is a date (SQLite: text).
-- Parameters: none. Bounds: all that is known now, a full picture. Runs on SQLite and PostgreSQL.
select country,
       valid_from,
       percent
from tax_rates
order by country, valid_from
