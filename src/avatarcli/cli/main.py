"""The `avatar` command."""

from __future__ import annotations

import io
import os
import sys
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
        sys.exit(app(prog_name="avatar", standalone_mode=False))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of stdout has gone (`avatar list | head`): nothing is left to say. Keep Python's exit from trying.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        sys.exit(_failed(error))


def _failed(error: Exception) -> int:
    """Say why a command failed. Returns the exit code."""
    if isinstance(error, _WRONG_USAGE):
        error.show()
        message, code = error.format_message(), error.exit_code
    else:
        message, code = failure_message(error), print_failure(error)
    if "--json" in sys.argv:
        print_json({"error": message})
    return code
