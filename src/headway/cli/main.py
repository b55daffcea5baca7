"""The command line: `headway ...`.

In: the arguments of the process. Out: text on standard output, errors on standard error, and an exit code: 0 success,
1 failed work, 2 wrong use. It only translates into `headway.workspace` and the flows; those are imported by the command
that needs them, so that `headway --help` is there at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, final

import typer
from typer.core import TyperGroup

from headway.cli import look_commands, manifest_commands, model_commands, work_commands
from headway.cli.opening import Options

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130

# Newer typer brings click inside itself, older ones use the package: this is the class that is raised, either way.
UsageProblem: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


@final
class InOrderOfWork(TyperGroup):
    """Lists the commands in the way that data take."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Names in the order of the help."""
        return [name for name in ORDER if name in self.commands]


ORDER = [
    *["manifest", "process", "dataset", "train", "tune", "study", "evaluate", "model", "predict"],
    *["jobs", "show", "compare", "logs", "stop", "why", "lineage", "prune", "relocate"],
]

app = typer.Typer(
    name="headway",
    cls=InOrderOfWork,
    help="From data to registered models. --workspace, --profile and --debug may stand anywhere.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _group in (manifest_commands.manifests, manifest_commands.datasets, work_commands.studies, model_commands.models):
    app.add_typer(_group)
for _command in (*manifest_commands.COMMANDS, *work_commands.COMMANDS, *look_commands.COMMANDS):
    app.command()(_command)


def _print_version(value: bool) -> None:
    if value:
        from headway import __version__

        print(f"headway {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    workspace: Annotated[str | None, typer.Option("--workspace", "-w", help="Folder or URL of the workspace.")] = None,
    profile: Annotated[str | None, typer.Option(help="Profile of the settings file.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that every command has."""
    context.obj = Options(workspace=workspace, profile=profile, debug=debug)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    arguments = common_first(arguments)
    debug = "--debug" in arguments[: _count_common(arguments)]
    command = typer.main.get_command(app)
    try:
        code = command.main(args=list(arguments), prog_name="headway", standalone_mode=False)
        return _interrupted() if code == INTERRUPTED else int(code or 0)
    except typer.Exit as stop:
        return stop.exit_code
    except UsageProblem as error:
        return _wrong_use(error)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        return report(error)


def report(error: Exception) -> int:
    """Say in a line or two what went wrong and what to do next; the exit code that belongs to it."""
    from headway import errors

    wrong_use = (errors.NotFoundError, errors.ProgramError, errors.CapabilityError, errors.StudyChangedError)
    if isinstance(error, errors.JobFailedError):
        lines = [line for line in str(error).splitlines() if line.strip()]
        hint = f"headway logs {error.job_id}, headway show {error.job_id}; the whole traceback: --debug"
        return _say(lines[0] if lines else f"{error.job_id} failed", hint=hint, code=FAILED)
    if isinstance(error, (*wrong_use, errors.MissingExtraError, ValueError, TypeError)):
        return _say(str(error), code=WRONG_USE)
    if isinstance(error, (errors.HeadwayError, OSError)):
        return _say(str(error), code=FAILED)
    return _say(f"{type(error).__name__}: {error}", hint="this is a bug; the traceback: --debug", code=FAILED)


def common_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with the options that every command has moved to the front, wherever they stood before `--`."""
    first: list[str] = []
    rest: list[str] = []
    waiting = list(arguments)
    while waiting:
        one = waiting.pop(0)
        if one == "--":
            rest += [one, *waiting]
            break
        if one == "--debug" or one.startswith(("--workspace=", "--profile=")):
            first.append(one)
        elif one in ("--workspace", "-w", "--profile") and waiting:
            first += [one, waiting.pop(0)]
        else:
            rest.append(one)
    return first + rest


def _count_common(arguments: Sequence[str]) -> int:
    count = 0
    while count < len(arguments) and arguments[count].startswith("-") and arguments[count] != "--":
        count += 2 if arguments[count] in ("--workspace", "-w", "--profile") else 1
    return count


def _interrupted() -> int:
    return _say("stopped; the same command goes on where it was", code=INTERRUPTED)


def _wrong_use(error: Any) -> int:
    message = error.format_message()
    if message.startswith("Usage:"):  # no arguments at all
        print(message)
        return WRONG_USE
    context = getattr(error, "ctx", None)
    return _say(message, hint=f"{context.command_path} --help" if context else "headway --help", code=WRONG_USE)


def _say(text: str, *, code: int, hint: str = "") -> int:
    print(f"headway: {text}", file=sys.stderr)
    if hint:
        print(f"see: {hint}", file=sys.stderr)
    return code
