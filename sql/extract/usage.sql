-- Usage that arrived at the source in a stretch of time; change it to fit your tables (sources, `by = "arrival"`).
-- A row is a usage event, with the columns of the data contract; corrects and team_id may be left out.
-- arrived_at is when the row was inserted (a default of the column), never null and never changed. A transaction may
-- commit it later: the stretch therefore begins before the window, and rows that were taken already are left out.
-- Instants have a zone. On SQLite they are text in UTC as SQLAlchemy's DateTime writes it, 'YYYY-MM-DD HH:MM:SS.ffffff',
-- and quantity is text or integer: what is not exact is refused.
-- Parameters: window_start, window_end (instants). Bounds: arrived_at in [window_start, window_end).
-- Runs on SQLite and PostgreSQL.
select event_id,
       occurred_at,
       app_id,
       api,
       quantity,
       corrects,
       team_id
from usage_events
where arrived_at >= :window_start and arrived_at < :window_end
order by arrived_at, event_id
