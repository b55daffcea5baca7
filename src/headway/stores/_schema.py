"""The ledger's tables, schema 1, and every statement that it runs, written once for SQLite and PostgreSQL.

In: SQLAlchemy Core. Out: `METADATA` (what a new ledger gets; migrations lead older ones to the same tables) and
`Statements`: SQL text compiled once per database, so that running one costs no more than the driver's own call.
Names sort by code point on both. JSON is kept as text.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, final

from sqlalchemy import (
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    bindparam,
    func,
    literal_column,
    null,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.elements import ClauseElement

NEWEST = 1
"""The schema that this version writes."""

VERSION_TABLE = "headway_schema"
"""alembic's own table under a name of ours, so that other programs' migrations in one database do not clash."""

METADATA = MetaData()


def _name(name: str, **options: Any) -> Column[str]:
    """A text column that sorts by code point on both databases."""
    return Column(name, Text().with_variant(postgresql.TEXT(collation="C"), "postgresql"), nullable=False, **options)


def _table(name: str, *columns: Any) -> Table:
    return Table(name, METADATA, *columns, sqlite_with_rowid=False)


VERSION = Table(
    VERSION_TABLE,
    METADATA,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)

OWNERS = _table(
    "headway_owners",  # one row per study, job, model: who drives it, under which epoch
    _name("owner", primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("driver", Text),  # JSON; null: nobody
    Column("heartbeat_at", Double, nullable=False),
)
EVENTS = _table(
    "headway_events",  # append-only: what was decided
    _name("owner", primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False),
    _name("kind"),
    Column("at", Double, nullable=False),
    Column("body", Text, nullable=False),
)
ENTRIES = _table(
    "headway_entries",  # the catalogue: what there is, by kind, name and version
    _name("kind", primary_key=True),
    _name("name", primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    _name("id"),
    _name("lookup"),
    Column("body", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("headway_entries_id", "id", unique=True),
)
EDGES = _table(
    "headway_edges",  # what came from what
    _name("source", primary_key=True),
    _name("target", primary_key=True),
    _name("role", primary_key=True),
    Index("headway_edges_target", "target"),
)


def creation(dialect: Dialect) -> list[str]:
    """The statements that make a new ledger of the newest schema."""
    made: list[ClauseElement] = []
    for table in METADATA.sorted_tables:
        made += [
            CreateTable(table),
            *(CreateIndex(index) for index in sorted(table.indexes, key=lambda i: str(i.name))),
        ]
    return [str(statement.compile(dialect=dialect)) for statement in made] + [
        f"INSERT INTO {VERSION_TABLE} (version_num) VALUES ('{NEWEST:04d}')"
    ]


def statements_for(dialect: Dialect) -> Statements:
    """The statements for a database; compiled once in a process."""
    if dialect.name not in _compiled:
        _compiled[dialect.name] = Statements(dialect)
    return _compiled[dialect.name]


_compiled: dict[str, Statements] = {}
Compile = Callable[[Any], str]


@final
class Statements:
    """Every statement as SQL text with named parameters, in the paramstyle of one database."""

    def __init__(self, dialect: Dialect) -> None:
        def text(statement: Any) -> str:
            return str(statement.compile(dialect=dialect))

        postgres = dialect.name == "postgresql"
        insert = postgresql.insert if postgres else sqlite.insert
        self._for_the_whole(postgres)
        self._for_owners(text, insert, postgres)
        self._for_events(text)
        self._for_entries(text)
        self._for_edges(text, insert)

    def _for_the_whole(self, postgres: bool) -> None:
        self.there = (  # by snapshot: to_regclass may answer from a cache that was filled before a lock was waited for
            f"SELECT 1 FROM pg_catalog.pg_tables WHERE tablename = '{VERSION_TABLE}' AND schemaname = current_schema()"
            if postgres
            else ""
        )
        self.schema = f"SELECT version_num FROM {VERSION_TABLE}"
        self.lock = "SELECT pg_advisory_xact_lock(hashtextextended(%(key)s, 7318))" if postgres else ""

    def _for_owners(self, text: Compile, insert: Any, postgres: bool) -> None:
        owner, zero = OWNERS.c, literal_column("0", Integer)
        its = owner.owner == bindparam("its")
        held = (its, owner.epoch == bindparam("held"))
        # the database's own clock where several machines may write, else the caller's
        clock: Any = literal_column("extract(epoch from clock_timestamp())") if postgres else bindparam("now")
        nobody: dict[str, Any] = {"owner": bindparam("its"), "epoch": zero, "driver": null(), "heartbeat_at": zero}
        self.new_owner = text(insert(OWNERS).values(nobody).on_conflict_do_nothing())
        self.owner = text(select(owner.epoch, owner.driver, owner.heartbeat_at, clock - owner.heartbeat_at).where(its))
        self.owner_locked = self.owner + (" FOR UPDATE" if postgres else "")
        self.epoch_locked = text(select(owner.epoch).where(its).with_for_update())
        somebody: dict[str, Any] = {"epoch": bindparam("held"), "driver": bindparam("driver"), "heartbeat_at": clock}
        self.take = text(OWNERS.update().where(its).values(somebody))
        self.beat = text(OWNERS.update().where(*held).values(heartbeat_at=clock))
        self.let_go = text(OWNERS.update().where(*held).values(driver=null()))
        between = (owner.owner >= bindparam("low"), owner.owner < bindparam("high"))
        self.owners = text(select(owner.owner).where(*between).order_by(owner.owner))

    def _for_events(self, text: Compile) -> None:
        event = EVENTS.c
        self.append = text(EVENTS.insert())
        self.last = text(select(func.max(event.sequence)).where(event.owner == bindparam("owner")))
        of_owner = (
            select(event.sequence, event.epoch, event.kind, event.at, event.body)
            .where(event.owner == bindparam("owner"), event.sequence > bindparam("after"))
            .order_by(event.sequence)
        )
        self.events = text(of_owner)
        self.events_of_kinds: Callable[[int], str] = lru_cache(
            lambda count: text(of_owner.where(event.kind.in_([bindparam(f"kind{n}") for n in range(count)])))
        )
        self.gaps = text(
            select(event.owner, func.min(event.sequence), func.max(event.sequence), func.count())
            .group_by(event.owner)
            .having((func.min(event.sequence) != literal_column("1")) | (func.max(event.sequence) != func.count()))
        )

    def _for_entries(self, text: Compile) -> None:
        entry = ENTRIES.c
        one = (entry.kind == bindparam("kind"), entry.name == bindparam("name"))
        newest = select(func.max(entry.version)).where(*one).scalar_subquery()
        self.newest = text(select(*ENTRIES.c).where(*one, entry.version == newest))
        self.entry = text(select(*ENTRIES.c).where(*one, entry.version == bindparam("version")))
        self.by_id = text(select(*ENTRIES.c).where(entry.id == bindparam("id")))
        self.by_id_locked = text(select(*ENTRIES.c).where(entry.id == bindparam("id")).with_for_update())
        ordered = select(*ENTRIES.c).order_by(entry.kind, entry.name, entry.version)
        self.entries = text(ordered)
        self.entries_of_kind = text(ordered.where(one[0]))
        self.entries_of_name = text(ordered.where(one[1]))
        self.entries_of_both = text(ordered.where(*one))
        self.new_entry = text(ENTRIES.insert())
        self.set_body = text(ENTRIES.update().where(entry.id == bindparam("entry")).values(body=bindparam("new_body")))

    def _for_edges(self, text: Compile, insert: Any) -> None:
        edge = EDGES.c
        self.link = text(insert(EDGES).on_conflict_do_nothing())
        ordered = select(edge.source, edge.target, edge.role).order_by(edge.source, edge.target, edge.role)
        source, target = edge.source == bindparam("source"), edge.target == bindparam("target")
        self.edges = text(ordered)
        self.edges_from = text(ordered.where(source))
        self.edges_to = text(ordered.where(target))
        self.edges_between = text(ordered.where(source, target))
