"""Ledgers of every schema: old ones are led to the newest, newer ones are refused, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headway.errors import NewerSchemaError, WorkspaceError
from headway.stores import _migrate
from headway.stores._postgres import _BEGIN, PostgresDatabase
from headway.stores._schema import NEWEST
from headway.stores._sqlite import SqliteDatabase
from headway.stores.ledger import Edge, Ledger

ASSETS = Path(__file__).with_name("assets")


def fill(ledger: Ledger, owner: str = "job-1") -> None:
    lease = ledger.claim(owner)
    assert lease is not None
    for n in range(3):
        ledger.append(lease, [("event", {"n": n})])
    ledger.release(lease)


def test_a_newer_ledger_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        fill(ledger)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE headway_schema SET version_num = '0099'")
    connection.close()
    before = path.read_bytes()
    for options in ({}, {"read_only": True}, {"create": False}):
        with pytest.raises(NewerSchemaError, match=rf"(?s)schema 99, this Headway knows {NEWEST}.*upgrade"):
            Ledger.open(path, **options)  # type: ignore[arg-type]
    assert path.read_bytes() == before


def _tables(path: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()
    finally:
        connection.close()
    return [(name, " ".join(sql.replace('"', "").split())) for name, sql in rows]


def test_migrations_lead_to_the_tables_of_a_new_ledger(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "new.sqlite").close()
    database = SqliteDatabase(str(tmp_path / "migrated.sqlite"))
    connection = sqlite3.connect(tmp_path / "migrated.sqlite", isolation_level=None)
    _migrate.upgrade(connection, database.dialect, begin="BEGIN IMMEDIATE")
    connection.close()
    assert _tables(tmp_path / "migrated.sqlite") == _tables(tmp_path / "new.sqlite")
    with Ledger.open(tmp_path / "migrated.sqlite", create=False) as ledger:
        fill(ledger)


@pytest.mark.parametrize("schema", sorted(path.name for path in ASSETS.glob("schema-*")))
def test_stores_of_every_schema_open(schema: str, tmp_path: Path) -> None:
    shutil.copytree(ASSETS / schema, tmp_path / "ws")
    with Ledger.open(tmp_path / "ws" / "ledger.sqlite", create=False) as ledger:
        assert [(e.sequence, e.epoch, e.kind, e.body) for e in ledger.events("train-baseline-1")] == [
            (1, 1, "intended", {"attempt": 1}),
            (2, 1, "started", {"attempt": 1, "handle": {"job": "train-baseline-1", "attempt": 1}}),
            (3, 2, "chosen", {"attempt": 1, "text": "ä ' \" \n"}),
        ]
        entry = ledger.by_id("train-baseline-1")
        assert entry is not None
        assert (entry.version, entry.lookup, entry.body) == (1, "0" * 64, {"metrics": {"f1": 0.5}, "status": "done"})
        assert ledger.edges() == [Edge(source="dataset-digits-1", target="train-baseline-1", role="data")]
        holder = ledger.holder("train-baseline-1")
        assert holder is not None
        assert (holder.epoch, holder.driver.pid) == (2, 4242)
        fill(ledger, owner="new")
        assert ledger.check() == []


NEXT = """
from alembic import op
import sqlalchemy as sa
revision = "0002"
down_revision = "0001"
def upgrade():
    op.add_column("headway_events", sa.Column("note", sa.Text))
    op.execute("UPDATE headway_events SET note = 'old'")
    {more}
"""


@pytest.fixture
def next_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A Headway whose newest schema is one further, by a migration of its own."""
    place = tmp_path / "migrations"
    shutil.copytree(
        Path(_migrate.__file__).with_name("migrations"), place, ignore=shutil.ignore_patterns("__pycache__")
    )

    def make(more: str = "") -> None:
        (place / "versions" / "m0002_next.py").write_text(NEXT.format(more=more))
        monkeypatch.setattr(_migrate, "NEWEST", 2)
        monkeypatch.setattr(_migrate, "LOCATION", str(place))

    return make


def test_an_older_ledger_is_upgraded_when_opened(tmp_path: Path, next_schema) -> None:
    path = tmp_path / "ws" / "ledger.sqlite"
    shutil.copytree(ASSETS / "schema-0001", tmp_path / "ws")
    next_schema()
    with pytest.raises(WorkspaceError, match=r"older schema 1.*open it once for writing"):
        Ledger.open(path, read_only=True)
    with Ledger.open(path) as ledger:
        assert len(ledger.events("train-baseline-1")) == 3
        assert ledger.check() == []
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT DISTINCT note FROM headway_events").fetchall() == [("old",)]
    assert connection.execute("SELECT version_num FROM headway_schema").fetchall() == [("0002",)]
    connection.close()
    with Ledger.open(path, read_only=True) as ledger:
        assert len(ledger.events("train-baseline-1")) == 3


def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path, next_schema) -> None:
    path = tmp_path / "ws" / "ledger.sqlite"
    shutil.copytree(ASSETS / "schema-0001", tmp_path / "ws")
    before = _tables(path)
    next_schema(more="raise RuntimeError('half way')")
    with pytest.raises(RuntimeError, match="half way"):
        Ledger.open(path)
    assert _tables(path) == before
    next_schema(more="import os; os.kill(os.getpid(), 9)")
    pid = os.fork()
    if pid == 0:
        Ledger.open(path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert _tables(path) == before
    next_schema()
    with Ledger.open(path) as ledger:
        assert len(ledger.events("train-baseline-1")) == 3


def _columns(database: Any) -> list[Any]:
    """What PostgreSQL says of all tables and indexes in the schema of a ledger."""
    statement = """
        SELECT table_name, column_name, data_type, is_nullable, collation_name, ordinal_position
        FROM information_schema.columns WHERE table_schema = current_schema() ORDER BY 1, 6"""
    indexes = "SELECT replace(indexdef, schemaname, '') FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1"
    return [database.read(lambda c, s=s: c.execute(s).fetchall()) for s in (statement, indexes)]


@pytest.mark.service
@pytest.mark.xdist_group("postgres")
def test_migrations_lead_to_the_tables_of_a_new_ledger_on_postgresql(postgres_schema: Callable[[], str]) -> None:
    new, migrated = postgres_schema(), postgres_schema()
    database = PostgresDatabase(migrated)
    connection = database._connect()
    _migrate.upgrade(connection, database.dialect, begin=_BEGIN)
    connection.close()
    with Ledger.open(new) as one, Ledger.open(migrated, create=False) as other:
        assert _columns(one._database) == _columns(other._database)
        fill(other)
        assert other.check() == []
    database.close()


@pytest.mark.service
@pytest.mark.xdist_group("postgres")
def test_an_older_ledger_is_upgraded_when_opened_on_postgresql(own_postgres: str, next_schema: Any) -> None:
    with Ledger.open(own_postgres) as ledger:
        fill(ledger)
    next_schema(more="raise RuntimeError('half way')")
    with pytest.raises(RuntimeError, match="half way"):
        Ledger.open(own_postgres)
    next_schema()
    with pytest.raises(WorkspaceError, match=r"older schema 1.*open it once for writing"):
        Ledger.open(own_postgres, read_only=True)
    with Ledger.open(own_postgres) as ledger:
        assert len(ledger.events("job-1")) == 3
        notes = ledger._database.read(lambda c: c.execute("SELECT DISTINCT note FROM headway_events").fetchall())
        assert notes == [("old",)]
    with Ledger.open(own_postgres, read_only=True) as ledger:
        assert len(ledger.events("job-1")) == 3
