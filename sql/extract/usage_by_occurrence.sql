-- Usage that occurred in a stretch of time, for a source that does not keep when a row arrived (sources,
-- `by = "occurrence"`); change it to fit your tables. The last 72 hours are read every time and the last 35 days once a
-- day; rows that were taken already are left out. What arrives later than that after it occurred is never read, nor is a
-- row without occurred_at.
-- A row is a usage event, with the columns of the data contract; corrects and team_id may be left out.
-- Instants have a zone. On SQLite they are text in UTC as SQLAlchemy's DateTime writes it, 'YYYY-MM-DD HH:MM:SS.ffffff',
-- and quantity is text or integer: what is not exact is refused.
-- Parameters: window_start, window_end (instants). Bounds: occurred_at in [window_start, window_end).
-- Runs on SQLite and PostgreSQL.
select event_id,
       occurred_at,
       app_id,
       api,
       quantity,
       corrects,
       team_id
from usage_events
where occurred_at >= :window_start and occurred_at < :window_end
order by occurred_at, event_id
