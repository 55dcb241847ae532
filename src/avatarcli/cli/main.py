"""The `avatar` command."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from avatarcli import __version__
from avatarcli.cli import (
    animate,
    bench,
    clip,
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
from avatarcli.cli.console import print_failure

app = typer.Typer(
    name="avatar",
    help="Turn one portrait photo into an animatable 4D Gaussian head avatar.",
    epilog="Example: avatar create photo.jpg && avatar render --orbit 360 -o orbit.mp4",
    no_args_is_help=True,
    add_completion=False,
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
    """Run the command line. Every failure that a user can mend is one line on stderr."""
    # Idle threads of torch and numba sleep instead of spinning: beside other work on the machine that is several times quicker.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app(prog_name="avatar")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of stdout has gone (`avatar list | head`): nothing is left to say. Keep Python's exit from trying.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        sys.exit(print_failure(error))
