"""New ledgers made, older ones led to the newest schema.

In: a DBAPI connection inside a transaction. Out: tables of the newest schema. alembic is imported only when an older
ledger is met; its migrations lie in `headway/stores/migrations`.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy.engine.interfaces import Dialect

from headway.errors import NewerSchemaError, WorkspaceError
from headway.stores._schema import NEWEST, Statements, creation

LOCATION = "headway.stores:migrations"


def schema_of(cursor: Any, statements: Statements) -> int:
    """The schema number of a ledger, 0 for an empty database."""
    if statements.there and cursor.execute(statements.there).fetchone() is None:
        return 0
    try:
        row = cursor.execute(statements.schema).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return 0
        raise
    return int(row[0]) if row else 0


def is_newest(cursor: Any, statements: Statements, *, name: str, read_only: bool) -> bool:
    """Whether a ledger has this version's schema.

    Raises:
        NewerSchemaError: it has a newer one.
        WorkspaceError: it has an older one, and may not be changed.
    """
    found = schema_of(cursor, statements)
    if found > NEWEST:
        raise NewerSchemaError(
            f"the ledger {name} has schema {found}, this Headway knows {NEWEST}: open it with the version that wrote "
            "it, or upgrade with pip install --upgrade headway"
        )
    if read_only and 0 < found < NEWEST:
        raise WorkspaceError(
            f"the ledger {name} has the older schema {found}: open it once for writing, so that it becomes {NEWEST}"
        )
    return found == NEWEST


def migrate(connection: Any, dialect: Dialect, statements: Statements, *, begin: str) -> None:
    """Lead a database to the newest schema in one transaction.

    Args:
        connection: a DBAPI connection without an open transaction.
        begin: the statement that begins the transaction and keeps others out of it.
    """
    cursor = connection.cursor()
    try:
        cursor.execute(begin)
        found = schema_of(cursor, statements)
        if found == 0:
            for statement in creation(dialect):
                cursor.execute(statement)
            connection.commit()
    finally:
        connection.rollback()
    if 0 < found < NEWEST:
        upgrade(connection, dialect, begin=begin)


def upgrade(connection: Any, dialect: Dialect, *, begin: str) -> None:
    """Run alembic's migrations in one transaction on a DBAPI connection."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    url = "sqlite://" if dialect.name == "sqlite" else "postgresql+psycopg://"
    engine = create_engine(url, creator=lambda: connection, poolclass=StaticPool)
    with engine.connect() as wrapped:
        wrapped.exec_driver_sql(begin)
        config = Config()
        config.set_main_option("script_location", LOCATION)
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = wrapped
        command.upgrade(config, "head")
        wrapped.commit()
