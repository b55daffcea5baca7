"""Schema 1: the first one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables of schema 1."""
    name = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
    op.create_table(
        "headway_owners",
        sa.Column("owner", name, primary_key=True),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("driver", sa.Text),
        sa.Column("heartbeat_at", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "headway_events",
        sa.Column("owner", name, primary_key=True),
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("kind", name, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "headway_entries",
        sa.Column("kind", name, primary_key=True),
        sa.Column("name", name, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", name, nullable=False),
        sa.Column("lookup", name, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("headway_entries_id", "headway_entries", ["id"], unique=True)
    op.create_table(
        "headway_edges",
        sa.Column("source", name, primary_key=True),
        sa.Column("target", name, primary_key=True),
        sa.Column("role", name, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("headway_edges_target", "headway_edges", ["target"])
