-- Who bills: one home, one seller.
-- A row is the seller; there must be exactly one.
-- Parameters: none. Bounds: all that is known now, a full picture. Runs on SQLite and PostgreSQL.
select legal_name,
       address_line1,
       postal_code,
       city,
       country,
       vat_id,
       invoice_prefix,
       time_zone,
       iban,
       email
from seller
