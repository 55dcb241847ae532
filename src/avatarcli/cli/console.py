"""What the user sees: progress and messages on stderr, results on stdout."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from avatarcli.errors import AvatarError
from avatarcli.files import explain_io_error

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

DEBUG_VARIABLE = "AVATAR_DEBUG"

# A pipe or log file gets a line when a task has come this much further and this much later than its last line.
_PLAIN_SHARE = 0.1
_PLAIN_SECONDS = 5.0


class Console:
    """The command line's `Progress`: a bar with the time left on a terminal, a few plain lines anywhere else."""

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._bars: RichProgress | None = None

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        if self._quiet:
            yield lambda steps: None
        elif _is_terminal(self._stream):
            with self._bar(description, total) as advance:
                yield advance
        else:
            yield self._plain_task(description, total)

    def info(self, message: str) -> None:
        if not self._quiet:
            self._line(message)

    def warn(self, message: str) -> None:
        self._line(_colored(self._stream, "33", "warning:") + f" {message}")

    def _line(self, text: str) -> None:
        text = " ".join(text.splitlines())  # names of files may have line ends
        if self._bars is None:
            print(text, file=self._stream, flush=True)
        else:
            from rich.text import Text

            self._bars.console.print(Text.from_ansi(text), soft_wrap=True)

    def _plain_task(self, description: str, total: int) -> Callable[[int], None]:
        done, said, spoke = 0, 0, time.monotonic()

        def advance(steps: int) -> None:
            nonlocal done, said, spoke
            done += steps
            now = time.monotonic()
            if done - said >= _PLAIN_SHARE * total and now - spoke >= _PLAIN_SECONDS:
                said, spoke = done, now
                self._line(f"{description}: {100 * done // max(total, 1)} %")

        return advance

    @contextmanager
    def _bar(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        outermost = self._bars is None
        if self._bars is None:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bars = Progress(*columns, console=RichConsole(file=self._stream), transient=True)
            self._bars.start()
        bars = self._bars
        row = bars.add_task(description, total=total)
        try:
            yield lambda steps: bars.advance(row, steps)
        finally:
            bars.remove_task(row)
            if outermost:
                bars.stop()
                self._bars = None


def print_error(message: str) -> None:
    """One line on stderr, red on a terminal."""
    print(_colored(sys.stderr, "31", "error:") + f" {_one_line(message)}", file=sys.stderr, flush=True)


def print_failure(error: Exception, prefix: str = "") -> int:
    """One line on stderr for any error, with a traceback before it when AVATAR_DEBUG is set. Returns the exit code."""
    if os.environ.get(DEBUG_VARIABLE):
        import traceback

        traceback.print_exception(error)
    print_error(prefix + failure_message(error))
    return error.exit_code if isinstance(error, AvatarError) else 1


def failure_message(error: Exception) -> str:
    """Why a command failed, in one line."""
    if isinstance(error, AvatarError):
        return _one_line(str(error))
    defect = f"this is a defect of avatarcli: {type(error).__name__}: {error} ({DEBUG_VARIABLE}=1 shows where)"
    return _one_line(explain_io_error(error) or defect)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def print_json(document: Any) -> None:
    """One JSON document on stdout, in its encoding."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document, indent=2)
    print(text)


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Columns as wide as they need to be, two spaces between them, on stdout."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def human_bytes(count: int) -> str:
    """`1.4 MB`."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _colored(stream: TextIO, code: str, text: str) -> str:
    if not _is_terminal(stream) or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"
