"""A progress that remembers what it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from avatarcli.progress import SilentProgress


class Listener(SilentProgress):
    """said: every message; warnings: those of them that warn; totals, steps: of each task, its size and how it was advanced."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warnings: list[str] = []
        self.totals: dict[str, int] = {}
        self.steps: dict[str, list[int]] = {}

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        self.totals[description] = total
        yield self.steps.setdefault(description, []).append

    def info(self, message: str) -> None:
        self.said.append(message)

    def warn(self, message: str) -> None:
        self.said.append(message)
        self.warnings.append(message)
