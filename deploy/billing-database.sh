#!/bin/sh
# The billing database beside Airflow's, with a role of its own. PostgreSQL's image runs this when it is new.
#
# A session that stands still in the middle of a transaction (a machine that froze) loses its locks after half an hour.
set -eu

psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set ON_ERROR_STOP=1 --set password="$BILLING_DB_PASSWORD" <<'SQL'
create role billing login password :'password';
create database billing owner billing;
alter database billing set idle_in_transaction_session_timeout = '30min';
SQL
