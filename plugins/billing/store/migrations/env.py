"""How Alembic runs here: on the connection that ``Database.upgrade`` opened, under its lock."""

from alembic import context

from billing.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
