"""The servers that other tests use are real, ready and refuse strangers."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from servers import S3Server

SUPPORT = Path(__file__).parents[1] / "support"


def test_postgres_answers_with_the_password_only(postgres_url: str) -> None:
    import sqlalchemy as sa

    engine = sa.create_engine(postgres_url)
    with engine.begin() as connection:
        assert connection.execute(sa.text("select 1")).scalar_one() == 1
    engine.dispose()
    wrong = sa.create_engine(sa.make_url(postgres_url).set(password="wrong"))
    with pytest.raises(sa.exc.OperationalError, match="password authentication failed"):
        wrong.connect()
    wrong.dispose()


def test_s3_server_stores_objects_and_refuses_a_wrong_secret(s3_server: S3Server) -> None:
    import s3fs

    bucket = s3_server.bucket()
    files = s3fs.S3FileSystem(**s3_server.options, skip_instance_cache=True)
    files.pipe_file(f"{bucket}/a b/ü.txt", b"one")
    assert files.cat_file(f"{bucket}/a b/ü.txt") == b"one"
    stranger = s3fs.S3FileSystem(**{**s3_server.options, "secret": "wrong"}, skip_instance_cache=True)
    with pytest.raises(PermissionError):
        stranger.ls(bucket)


def test_s3_server_honours_conditional_puts(s3_server: S3Server) -> None:
    from botocore.exceptions import ClientError

    bucket, client = s3_server.bucket(), s3_server.client()
    client.put_object(Bucket=bucket, Key="result.json", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError) as refused:
        client.put_object(Bucket=bucket, Key="result.json", Body=b"second", IfNoneMatch="*")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    client.close()


def test_a_server_ends_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    """The guard sees the end of file on its standard input and stops the server, here a plain `sleep`."""
    script = f"""
        import sys, signal, time
        sys.path.insert(0, {str(SUPPORT)!r})
        from pathlib import Path
        from servers import _running
        pid = Path({str(tmp_path / "pid")!r})
        command = ["sh", "-c", f"echo $$ > {{pid}}; exec sleep 600"]
        ready = lambda: pid.exists() and bool(pid.read_text())
        with _running(command, log=Path({str(tmp_path / "log")!r}), ready=ready):
            print("ready", flush=True)
            time.sleep(600)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        server = int((tmp_path / "pid").read_text())
        os.kill(server, 0)
        child.kill()
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        try:
            os.kill(server, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    pytest.fail(f"the server {server} outlived the process that started it")


def test_the_browser_shows_a_page(chromium: list[str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<title>x</title><p id=a></p><script>a.textContent = 6 * 7</script>")
    shown = subprocess.run([*chromium, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120)
    assert '<p id="a">42</p>' in shown.stdout
