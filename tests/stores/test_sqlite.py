"""What only the SQLite ledger has: one file, a lock, migrations, folders that cannot be written, forks."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from headway.errors import WorkspaceError
from headway.stores import _sqlite
from headway.stores._mounts import network_kind, parse
from headway.stores.ledger import Ledger


def fill(ledger: Ledger, number: int = 3, owner: str = "job-1") -> None:
    lease = ledger.claim(owner)
    assert lease is not None
    for n in range(number):
        ledger.append(lease, [("event", {"n": n})])
    ledger.release(lease)


def run(code: str, *arguments: object, **options) -> str:
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout


MOUNTS = r"""
sysfs /sys sysfs rw 0 0
/dev/vda / ext4 rw,relatime 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
/dev/vdb /home/local ext4 rw 0 0
//server/share /mnt/with\040space cifs rw 0 0
me@host: /mnt/ssh fuse.sshfs rw 0 0
overlay /var/x fuse.fuse-overlayfs rw 0 0
systemd-1 /net autofs rw 0 0
server:/x /net nfs rw 0 0
/dev/vdc /was nfs rw 0 0
/dev/vdc /was xfs rw 0 0
bucket /mnt/bucket fuse.s3fs rw 0 0
tmpfs /tmp tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/ws", None), ("/home/me/.headway", "nfs4"), ("/home/local/ws", None), ("/homes/ws", None),
        ("/mnt/with space/ws", "cifs"), ("/mnt/ssh", "fuse.sshfs"), ("/var/x/y", None), ("/net/y", "nfs"),
        ("/was/x", None), ("/mnt/bucket/ws", "fuse.s3fs"), ("/tmp/x", None),
    ],
)  # fmt: skip
def test_network_file_systems_are_known(path: str, kind: str | None) -> None:
    assert network_kind(path, parse(MOUNTS)) == kind


def test_a_link_into_a_network_file_system_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    mounts = [("/", "ext4"), (str(tmp_path / "real"), "nfs")]
    assert network_kind(str(tmp_path / "link" / "ws"), mounts) == "nfs"


def test_this_machines_folders_are_local(tmp_path: Path) -> None:
    assert network_kind(str(tmp_path)) is None


def test_a_ledger_on_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.stores._mounts.machine_mounts", lambda: [("/", "ext4"), (str(tmp_path), "nfs4")])
    with pytest.raises(WorkspaceError, match=r"(?s)network file system \(nfs4\).*PostgreSQL"):
        Ledger.open(tmp_path / "ws" / "ledger.sqlite")
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize("url", ["s3://bucket/ws/ledger.sqlite", "gs://b/l", "memory://x", "abfs://x/y"])
def test_a_ledger_in_a_bucket_is_refused(url: str) -> None:
    with pytest.raises(WorkspaceError, match=r"(?s)bucket.*PostgreSQL"):
        Ledger.open(url)


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mysql"):
        Ledger.open("mysql://x/y")
    with pytest.raises(ValueError, match="synchronous"):
        Ledger.open(tmp_path / "l", synchronous="OFF")  # type: ignore[arg-type]


def test_urls_of_sqlite_files(tmp_path: Path) -> None:
    for url in (tmp_path / "l.sqlite", f"sqlite:///{tmp_path}/l.sqlite", f"file://{tmp_path}/l.sqlite"):
        with Ledger.open(url) as ledger:
            fill(ledger, 1)
    with Ledger.open(tmp_path / "l.sqlite") as ledger:
        assert len(ledger.events("job-1")) == 3


def test_names_of_folders_of_all_kinds(tmp_path: Path) -> None:
    for name in ("with space", "ünï", "a?b#c", "100%25", "new\nline"):
        with Ledger.open(tmp_path / name / "ledger.sqlite") as ledger:
            fill(ledger)
        assert (tmp_path / name / "ledger.sqlite").exists()
        with Ledger.open(tmp_path / name / "ledger.sqlite", read_only=True) as ledger:
            assert len(ledger.events("job-1")) == 3


def test_closed_it_is_one_file_that_opens_elsewhere(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ws" / "ledger.sqlite") as ledger:
        fill(ledger)
    assert sorted(path.name for path in (tmp_path / "ws").iterdir()) == ["ledger.lock", "ledger.sqlite"]
    shutil.copytree(tmp_path / "ws", tmp_path / "copy")
    shutil.rmtree(tmp_path / "ws")
    with Ledger.open(tmp_path / "copy" / "ledger.sqlite", create=False) as ledger:
        assert len(ledger.events("job-1")) == 3
        fill(ledger)
        assert ledger.check() == []


def test_copied_after_a_kill_it_opens_elsewhere(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        ledger = Ledger.open(tmp_path / "ws" / "ledger.sqlite")
        fill(ledger)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    shutil.copytree(tmp_path / "ws", tmp_path / "copy")
    shutil.rmtree(tmp_path / "ws")
    with Ledger.open(tmp_path / "copy" / "ledger.sqlite", create=False) as ledger:
        assert len(ledger.events("job-1")) == 3
        assert ledger.check() == []


def test_a_process_that_ends_without_closing_leaves_one_file(tmp_path: Path) -> None:
    run(
        "import sys; from headway.stores.ledger import Ledger; "
        "l = Ledger.open(sys.argv[1]); l.append(l.claim('a'), [('x', {})])",
        tmp_path / "ledger.sqlite",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger.lock", "ledger.sqlite"]


def test_opening_a_ledger_imports_no_more_than_it_needs(tmp_path: Path) -> None:
    code = (
        "import sys; from headway.stores.ledger import Ledger; before = 'sqlalchemy' in sys.modules; "
        "Ledger.open(sys.argv[1]).close(); Ledger.open(sys.argv[1]).events('x'); "
        "print(before, sorted(name for name in ('alembic', 'mako', 'psycopg', 'fsspec') if name in sys.modules))"
    )
    assert run(code, tmp_path / "ledger.sqlite").strip() == "False []"


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"this is not a database" * 1000)
    with pytest.raises(WorkspaceError, match=r"(?s)ledger\.sqlite.*restore a copy"):
        Ledger.open(tmp_path / "ledger.sqlite")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WorkspaceError, match="folder"):
        Ledger.open(tmp_path / "folder")


def test_the_log_is_brought_into_the_file_when_it_has_grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sqlite, "WAL_BYTES", 100_000)
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        lease = ledger.claim("a")
        assert lease is not None
        largest = 0
        for n in range(100):
            ledger.append(lease, [("x", {"n": n, "fill": "y" * 500})])
            largest = max(largest, os.path.getsize(f"{path}-wal"))
        assert 80_000 < largest < 130_000
        # a read that takes long keeps the log from being emptied: it grows, nobody waits
        reader = sqlite3.connect(path)
        reading = reader.execute("SELECT * FROM headway_events")
        reading.fetchone()
        for n in range(100):
            ledger.append(lease, [("x", {"n": n, "fill": "y" * 500})])
        assert os.path.getsize(f"{path}-wal") > 200_000
        del reading
        reader.close()
        for n in range(100):
            ledger.append(lease, [("x", {"n": n, "fill": "y" * 500})])
        assert os.path.getsize(f"{path}-wal") < 130_000
        ledger.checkpoint()
        assert os.path.getsize(f"{path}-wal") == 0
        assert len(ledger.events("a")) == 300


HOLD = """
import sys
from headway.stores.ledger import Ledger
ledger = Ledger.open(sys.argv[1])
lease = ledger.claim("sleeper")
ledger._database.write(lambda cursor: (print("inside", flush=True), sys.stdin.readline()))
ledger.append(lease, [("awake", {})])
"""


def test_a_process_stopped_inside_a_transaction_is_named_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path, lock_timeout_s=0.2) as ledger:
        command = [sys.executable, "-c", HOLD, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sleeper:
            assert sleeper.stdin is not None
            assert sleeper.stdout is not None
            sleeper.stdout.readline()
            sleeper.send_signal(signal.SIGSTOP)
            with pytest.raises(WorkspaceError, match=rf"process {sleeper.pid} has held .*kill -CONT"):
                ledger.claim("a")
            assert ledger.holder("sleeper").alive  # type: ignore[union-attr]
            assert ledger.owners() == ["sleeper"]  # reading needs no lock
            sleeper.send_signal(signal.SIGCONT)
            sleeper.stdin.write("\n")
            sleeper.stdin.close()
            assert sleeper.wait() == 0
        fill(ledger)
        assert [e.kind for e in ledger.events("sleeper")] == ["awake"]
        assert ledger.check() == []


def test_forks_in_the_midst_of_appends_lose_nothing(tmp_path: Path) -> None:
    """Threads append without a pause while the process forks; parent and children go on with the same ledger."""
    children = 12
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        stop = threading.Event()
        counts: dict[int, int] = {}

        def work(number: int) -> None:
            lease = ledger.claim(f"thread-{number}")
            assert lease is not None
            counts[number] = 0
            while not stop.is_set():
                counts[number] = ledger.append(lease, [("x", {})])
                ledger.events(f"thread-{number}", after=counts[number] - 1)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        mine = ledger.claim("parent")
        assert mine is not None
        pids = []
        for number in range(children):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    with pytest.raises(WorkspaceError, match="must claim for itself"):
                        ledger.append(mine, [("x", {})])
                    assert ledger.claim("parent") is None  # it lives
                    lease = ledger.claim(f"child-{number}")
                    assert lease is not None
                    for _ in range(5):
                        ledger.append(lease, [("x", {})])
                    code = 0
                finally:
                    os._exit(code)
            pids.append(pid)
            ledger.append(mine, [("forked", {"pid": pid})])
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * children
        stop.set()
        for thread in threads:
            thread.join()
        assert len(ledger.events("parent")) == children
        for number in range(children):
            assert [e.sequence for e in ledger.events(f"child-{number}")] == [1, 2, 3, 4, 5]
        for number, count in counts.items():
            assert len(ledger.events(f"thread-{number}")) == count > 0
        assert ledger.check() == []


def test_many_threads_open_and_close_one_file(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(5):
                with Ledger.open(tmp_path / "ws" / "ledger.sqlite") as ledger:
                    fill(ledger, 2, owner=f"owner-{number}")
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with Ledger.open(tmp_path / "ws" / "ledger.sqlite") as ledger:
        assert all(len(ledger.events(f"owner-{number}")) == 10 for number in range(6))
        assert ledger.check() == []


def test_full_synchronous_is_what_sqlite_is_told(tmp_path: Path) -> None:
    for word, number in (("NORMAL", 1), ("FULL", 2)):
        with Ledger.open(tmp_path / "ledger.sqlite", synchronous=word) as ledger:  # type: ignore[arg-type]
            fill(ledger)
            names = ("synchronous", "journal_mode", "wal_autocheckpoint")
            told = ledger._database.write(lambda c: [c.execute(f"PRAGMA {name}").fetchone()[0] for name in names])
            assert told == [number, "wal", 0]


def test_an_interrupt_in_an_append_leaves_the_lease_usable(sqlite: Ledger) -> None:
    lease = sqlite.claim("a")
    assert lease is not None
    sqlite.append(lease, [("x", {})])

    def ring(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, ring)
    interrupts = 0
    try:
        ends = time.monotonic() + 0.4
        while time.monotonic() < ends:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.002)
                while True:
                    sqlite.append(lease, [("x", {})])
            except KeyboardInterrupt:
                interrupts += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    last = sqlite.append(lease, [("last", {})])
    assert interrupts > 20
    assert [e.sequence for e in sqlite.events("a")] == list(range(1, last + 1))
