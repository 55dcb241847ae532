"""The `avatar` command."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Annotated, Any

import typer

from avatarcli import __version__
from avatarcli.cli import (
    animate,
    bench,
    clip,
    config,
    create,
    data,
    doctor,
    export,
    info,
    render,
    stage_commands,
    track,
    train,
    view,
    weights,
)
from avatarcli.cli import eval as evaluation
from avatarcli.cli.console import failure_message, print_failure, print_json
from avatarcli.errors import UsageError

# What arguments that do not parse raise. Typer does not name it: its own kinds are made of it.
_WRONG_USAGE: Any = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="avatar",
    help="Turn one portrait photo into an animatable 4D Gaussian head avatar.",
    epilog="Example: avatar create photo.jpg && avatar render --orbit 360 -o orbit.mp4",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich alone would cost a third of the start-up time
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _module in (
    create,
    stage_commands,
    render,
    animate,
    track,
    view,
    clip,
    config,
    export,
    info,
    doctor,
    weights,
    bench,
    evaluation,
    train,
    data,
):
    _module.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"avatarcli {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line. Every failure is a line on stderr, and with --json also a document on stdout."""
    # Idle threads of torch and numba sleep instead of spinning: beside other work on the machine that is several times quicker.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As stderr does: a file's name that is no text, or none in this terminal's encoding, must not end the command.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _clean_end_at_sigterm():
            _refuse_empty(sys.argv[1:])
            code = app(prog_name="avatar", standalone_mode=False)
            _flush()  # a full disk is found out here, where it can be told
        sys.exit(code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of stdout has gone (`avatar list | head`): nothing is left to say.
        _let_stdout_go()
        sys.exit(1)
    except Exception as error:
        code = _failed(error)
        try:
            _flush()
        except OSError:
            _let_stdout_go()
        sys.exit(code)


@contextmanager
def _clean_end_at_sigterm() -> Iterator[None]:
    """Let SIGTERM (`kill`, `timeout`, the end of a container or of a job's time) end the block as an exception does: what is
    half-written is removed, and no child process works on."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the second one ends it at once
        sys.exit(128 + number)  # as shells count

    before = signal.getsignal(signal.SIGTERM)
    if before != signal.SIG_DFL:  # who started us wants something else
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Raise UsageError for `--output ""`, which a script says when a variable is not set: it would mean this folder."""
    for index, argument in enumerate(arguments):
        if not argument:
            option = arguments[index - 1] if index else ""
            after = f" after {option}" if option.startswith("-") else ""
            raise UsageError(f"empty argument{after}: is a variable of your script not set?")
        if re.fullmatch(r"--[a-z-]+=", argument):
            raise UsageError(f"empty argument after {argument[:-1]}: is a variable of your script not set?")


def _flush() -> None:
    if sys.stdout is not None:  # `avatar list >&-`
        sys.stdout.flush()


def _let_stdout_go() -> None:
    """Keep Python's exit from trying once more to write what cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(error: Exception) -> int:
    """Say why a command failed. Returns the exit code."""
    if isinstance(error, _WRONG_USAGE):
        error.message = _plain(error.message)
        error.show()
        message, code = error.format_message(), error.exit_code
    else:
        message, code = failure_message(error), print_failure(error)
    if "--json" in sys.argv:
        with suppress(OSError):  # of a full disk, which may be what failed
            print_json({"error": message})
    return code


def _plain(message: str) -> str:
    """What is wrong with an option's value, without the words of the library that checks it."""
    message = re.sub(r"^Value error, ", "", message)
    return re.sub(r"^Input should be ([^,]*).*", r"it should be \1", message)
