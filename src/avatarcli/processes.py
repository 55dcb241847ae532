"""What processes that work for one command tell each other: how far they are, and how they failed."""

from __future__ import annotations

import os
import pickle
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from avatarcli.progress import Progress

# ("open", key, description, total), ("advance", key, steps), ("close", key), ("info" or "warn", text)
Message = tuple[Any, ...]

_REPORT_SECONDS = 0.2  # between two reports of a task's progress; more would only keep the listener busy


class Telling:
    """The `Progress` of a process that the user does not see. send: takes messages to one that he does; see `Hearing`."""

    def __init__(self, send: Callable[[Message], object]) -> None:
        self._send = send
        self._count = 0

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        """As of `Progress`. Steps are gathered and told a few times a second."""
        self._count += 1
        key, unsaid, spoke = self._count, 0, time.monotonic()

        def advance(steps: int) -> None:
            nonlocal unsaid, spoke
            unsaid += steps
            if time.monotonic() - spoke >= _REPORT_SECONDS:
                self._send(("advance", key, unsaid))
                unsaid, spoke = 0, time.monotonic()

        self._send(("open", key, description, total))
        try:
            yield advance
        finally:
            if unsaid:
                self._send(("advance", key, unsaid))
            self._send(("close", key))

    def info(self, message: str) -> None:
        self._send(("info", message))

    def warn(self, message: str) -> None:
        self._send(("warn", message))


class Hearing:
    """Shows what a `Telling` in another process says. about: whom it is about; put before what does not say so itself."""

    def __init__(self, progress: Progress, about: str = "") -> None:
        self._progress = progress
        self._about = about
        self._tasks: dict[int, tuple[ExitStack, Callable[[int], None]]] = {}

    def show(self, message: Message) -> None:
        """Pass on one message of a `Telling`. Its messages must come in their order."""
        kind, *content = message
        if kind == "open":
            key, description, total = content
            stack = ExitStack()
            self._tasks[key] = stack, stack.enter_context(self._progress.task(self._named(description), total))
        elif kind == "advance":
            self._tasks[content[0]][1](content[1])
        elif kind == "close":
            self._tasks.pop(content[0])[0].close()
        else:
            text = content[0]
            (self._progress.info if kind == "info" else self._progress.warn)(
                text if text.startswith(self._about) else self._named(text)
            )

    def close(self) -> None:
        """End what a process that failed has left open."""
        while self._tasks:
            self._tasks.popitem()[1][0].close()

    def _named(self, text: str) -> str:
        return f"{self._about}: {text}" if self._about else text


class RemoteTraceback(Exception):
    """The traceback of an error in another process, as the cause of that error here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def portable(error: Exception) -> tuple[Exception, str]:
    """An error and its traceback, fit to travel: one that cannot be pickled becomes a RuntimeError that quotes it."""
    text = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}"), text
    return error, text


def with_cause(error: Exception, text: str) -> Exception:
    """An error that has travelled, with its traceback back in place."""
    error.__cause__ = RemoteTraceback(text)
    return error


def share_cores(threads: int) -> None:
    """Let this process compute with so many threads. Only before torch and numba are imported."""
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))
