"""Exit codes, errors in a line or two, help, and how fast it is there."""

import os
import subprocess
import sys
import time

import pytest

from headway import errors
from headway.cli.main import ORDER, app, report, run


def headway(*arguments, **more):
    """One real process of the command line."""
    environment = {**os.environ, **more.pop("environment", {})}
    command = [sys.executable, "-m", "headway", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, **more)


def test_the_help_lists_every_command_in_the_order_of_the_work(capsys):
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    listed = [line.split()[0] for line in text.partition("Commands:")[2].splitlines() if line.strip()]
    assert listed == ORDER


def test_every_command_has_help_of_its_own(capsys):
    import typer

    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        names = [[name, sub] for sub in getattr(command, "commands", {})] or [[name]]
        for each in names:
            assert run([*each, "--help"]) == 0, each
            text = capsys.readouterr().out
            assert text.startswith(f"Usage: headway {' '.join(each)}"), text


def test_listings_take_json(capsys):
    listings = [["jobs"], ["show"], ["compare"], ["why"], ["lineage"], ["prune"], ["predict"], ["evaluate"]]
    listings += [["manifest", name] for name in ("list", "show", "diff", "check", "trend")]
    listings += [["dataset", "list"], ["dataset", "show"], ["study", "list"], ["study", "show"]]
    listings += [["model", name] for name in ("list", "show", "history")]
    for each in listings:
        run([*each, "--help"])
        assert "--json" in capsys.readouterr().out, each


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["jobs", "--colour"], "No such option"),
        (["show"], "Missing argument"),
        (["tune", "a", "b:c", "--trials", "many"], "--trials"),
        (["logs", "job", "--worker", "first"], "--worker is algo-1, algo-2"),
    ],
)
def test_wrong_use_exits_with_two_and_says_where_help_is(arguments, text, capsys, tmp_path):
    assert run(["-w", str(tmp_path / "none"), *arguments]) == 2
    found = capsys.readouterr()
    assert text in found.err
    assert len(found.err.splitlines()) <= 3
    assert found.out == ""


def test_without_arguments_the_help_is_shown(capsys):
    assert run([]) == 2
    assert "Commands:" in capsys.readouterr().out


def test_the_version_is_printed(capsys):
    from headway import __version__

    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"headway {__version__}\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFoundError("job", "x", ["y"]), 2),
        (errors.StudyChangedError("changed"), 2),
        (errors.ProgramError("cannot be imported"), 2),
        (errors.CapabilityError("never fits"), 2),
        (errors.MissingExtraError("pandas", extra="pandas", purpose="a table"), 2),
        (ValueError("a share"), 2),
        (TypeError("no such argument"), 2),
        (errors.WorkspaceError("cannot be written"), 1),
        (errors.GateFailedError("0.5 < 0.9"), 1),
        (errors.ChannelLeakError("test"), 1),
        (errors.StoppedError("stopped"), 1),
        (errors.FencedError("taken over"), 1),
        (OSError(28, "No space left on device"), 1),
    ],
)
def test_errors_have_their_exit_code_and_text(error, code, capsys):
    assert report(error) == code
    found = capsys.readouterr().err
    assert found.startswith("headway: ")
    assert str(error).splitlines()[0] in found


def test_a_failed_job_is_said_in_two_lines(capsys):
    error = errors.JobFailedError("train-a-1 failed: ZeroDivisionError\nTraceback\n  ...\nx", job_id="train-a-1")
    assert report(error) == 1
    assert capsys.readouterr().err.splitlines() == [
        "headway: train-a-1 failed: ZeroDivisionError",
        "see: headway logs train-a-1, headway show train-a-1; the whole traceback: --debug",
    ]


def test_a_listing_never_makes_a_workspace(tmp_path):
    done = headway("jobs", cwd=tmp_path)
    assert done.returncode == 1
    assert "there is no workspace at" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(tmp_path):
    done = headway("jobs", "--debug", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "WorkspaceError" in done.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    command = f"{sys.executable} -m headway --help | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_completion_offers_commands():
    environment = {"_HEADWAY_COMPLETE": "complete_bash", "COMP_WORDS": "headway mod", "COMP_CWORD": "1"}
    done = headway(environment=environment)
    assert done.stdout.split() == ["model"]


@pytest.mark.alone
def test_the_help_is_there_within_300_ms():
    def once():
        began = time.perf_counter()
        assert headway("--help").returncode == 0
        return time.perf_counter() - began

    fastest = min(once() for _ in range(5))
    assert fastest <= 0.3, f"{fastest * 1000:.0f} ms"


def test_the_help_imports_nothing_heavy():
    program = (
        "import sys\nfrom headway.cli.main import run\nrun(['--help'])\n"
        "heavy = {'rich', 'numpy', 'pandas', 'pyarrow', 'sqlalchemy', 'sklearn', 'msgspec', 'fsspec'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
