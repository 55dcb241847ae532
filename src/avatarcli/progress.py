"""How long work tells the user where it is. Stages see only this protocol; the command line decides what it looks like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Reports progress and messages of one command."""

    def task(self, description: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Open a task of `total` steps; the yielded function advances it by a number of steps."""
        ...

    def info(self, message: str) -> None:
        """Say something worth knowing."""
        ...

    def warn(self, message: str) -> None:
        """Say something that may lower the quality of the result."""
        ...


class SilentProgress:
    """Says nothing: the default of library calls and tests."""

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        yield lambda steps: None

    def info(self, message: str) -> None:
        pass

    def warn(self, message: str) -> None:
        pass
