-- How buyers pay; never a card's full number. Optional: without this file they stay as they are known.
-- A row is a customer's payment method.
-- Parameters: none. Bounds: all that is known now, a full picture. Runs on SQLite and PostgreSQL.
select payment_method_id,
       customer_id,
       gateway,
       token,
       brand,
       last4,
       expires
from payment_methods
order by payment_method_id
