-- Unit prices (rules 4.1, 5.4).
-- A row is the price in force for an API and currency from valid_from on.
-- Instants are timestamptz (SQLite: text in UTC); decimals are numeric (SQLite: text).
-- Parameters: none. Bounds: all that is known now, a full picture. Runs on SQLite and PostgreSQL.
select api,
       currency,
       valid_from,
       unit_price
from unit_prices
order by api, currency, valid_from
