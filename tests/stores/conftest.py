"""Stores of every kind, each empty: a local folder, memory, a bucket on a real S3 server; SQLite and PostgreSQL."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headway.stores.files import Files
from headway.stores.ledger import Ledger

S3 = pytest.param("s3", marks=[pytest.mark.service, pytest.mark.xdist_group("s3")])
POSTGRES = pytest.param("postgres", marks=[pytest.mark.service, pytest.mark.xdist_group("postgres")])


@pytest.fixture(scope="session")
def s3_bucket(s3_server: Any) -> str:
    """One bucket for all: the server sets volumes aside for each, and runs out of them after two dozen."""
    bucket: str = s3_server.bucket()
    return bucket


@pytest.fixture
def s3_place(s3_bucket: str) -> str:
    """The URL of an empty place in the bucket."""
    return f"s3://{s3_bucket}/{secrets.token_hex(8)}/ws"


@pytest.fixture(params=["local", "memory", S3])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Files]:
    """An empty store."""
    if request.param == "local":
        yield Files(tmp_path / "store")
    elif request.param == "memory":
        made = Files(f"memory://{secrets.token_hex(8)}")
        yield made
        forget(made)
    else:
        server, place = request.getfixturevalue("s3_server"), request.getfixturevalue("s3_place")
        yield Files(place, options={**server.options, "skip_instance_cache": False})


def forget(files: Files) -> None:
    """Take a store in memory away."""
    for entry in list(files.walk()) if files.exists("") else []:
        files.remove(entry.path)


@pytest.fixture(params=["sqlite", POSTGRES])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a ledger may be made: a path, or a schema of its own in a PostgreSQL database."""
    if request.param == "sqlite":
        return str(tmp_path / "ws" / "ledger.sqlite")
    return own_schema(request.getfixturevalue("postgres_url"))


def own_schema(url: str) -> str:
    """The URL with a new schema as the place of all tables."""
    import psycopg
    from sqlalchemy import make_url

    name = f"s{secrets.token_hex(6)}"
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{name}"')
    return f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{name}"


@pytest.fixture
def postgres_schema(postgres_url: str) -> Callable[[], str]:
    """Makes URLs of PostgreSQL ledgers, each in a schema of its own."""
    return lambda: own_schema(postgres_url)


@pytest.fixture
def own_postgres(postgres_url: str) -> str:
    """A PostgreSQL ledger's URL in a schema of its own."""
    return own_schema(postgres_url)


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """An empty ledger, checked at the end."""
    with Ledger.open(ledger_url) as made:
        yield made
        assert made.check() == []


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Ledger]:
    """An empty SQLite ledger, checked at the end."""
    with Ledger.open(tmp_path / "ledger.sqlite") as made:
        yield made
        assert made.check() == []


@pytest.fixture
def raises_told() -> Callable[..., Any]:
    """`pytest.raises` for an error whose text has all of these words."""

    def expect(kind: type[BaseException], *words: str) -> Any:
        return pytest.raises(kind, match="(?s)" + "".join(f"(?=.*{word})" for word in words))

    return expect


@pytest.fixture
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that another user can reach (pytest's own are for one user only)."""
    folder = Path(tempfile.mkdtemp(prefix="headway-test-"))
    folder.chmod(0o755)
    yield folder
    subprocess.run(["chmod", "-R", "u+rwX", folder], check=True)
    shutil.rmtree(folder)
