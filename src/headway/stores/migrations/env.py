"""How alembic runs: on the connection and inside the transaction that `headway.stores._migrate` hands over."""

from __future__ import annotations

from alembic import context

from headway.stores._schema import METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, version_table=VERSION_TABLE
)
context.run_migrations()
