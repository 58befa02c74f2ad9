-- Buyers.
-- A row is a customer.
-- Parameters: none. Bounds: all that is known now, a full picture. Runs on SQLite and PostgreSQL.
select customer_id,
       legal_name,
       address_line1,
       address_line2,
       postal_code,
       city,
       region,
       country,
       vat_id,
       email,
       locale
from customers
order by customer_id
