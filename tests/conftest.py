"""What all tests share: hypothesis profiles, real servers, and what happens where a server is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings
from servers import MissingServer, S3Server, postgres, s3

settings.register_profile("laptop", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("headway-ci", parent=settings.get_profile("laptop"), derandomize=True, print_blob=True)
settings.load_profile("headway-ci" if os.environ.get("CI") else "laptop")

# Fixture -> the xdist group of its tests: with `--dist loadgroup` one worker runs them all and starts one server.
SERVERS = {"postgres_url": "postgres", "s3_server": "s3", "chromium": "browser"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that use a server are marked `service` and kept together."""
    for item in items:
        for fixture in SERVERS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.service)
            item.add_marker(pytest.mark.xdist_group(SERVERS[fixture]))


@pytest.fixture
def scale() -> Callable[[int], int]:
    """The size of a kill test: `scale(500)` is 500 below `make prove`, a tenth of it on every other day."""
    return lambda whole: whole if os.environ.get("HEADWAY_PROVE") else max(1, whole // 10)


@pytest.fixture
def evidence(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Says what a kill test counted, `evidence("50 kills: 0 torn, 0 lost")`; `make prove` keeps it."""

    def say(text: str) -> None:
        record_property("evidence", text)
        print(text)

    return say


def _missing(error: MissingServer) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(str(error))
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The SQLAlchemy URL of a PostgreSQL cluster of our own; tests make databases or schemas of their own in it."""
    try:
        with postgres() as url:
            yield url
    except MissingServer as error:
        _missing(error)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that shows a page without a screen: add `--screenshot=FILE` or `--dump-dom`, and the page's URL."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            break
    else:
        _missing(MissingServer("no browser is installed; on Debian: apt-get install chromium"))
    folder = tmp_path_factory.mktemp("browser")
    options = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
        --disable-component-update --disable-sync --disable-dev-shm-usage"""
    return [found, *options.split(), f"--user-data-dir={folder}"]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3 server of our own with real credentials: `.endpoint .key .secret .options .bucket()`."""
    try:
        with s3() as server:
            yield server
    except MissingServer as error:
        _missing(error)
