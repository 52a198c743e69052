"""How Alembic runs our migrations: on a connection that the caller opened, never by itself."""

from __future__ import annotations

from alembic import context

from cloud.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
