"""How far a training has come: counted in steps, or in minutes of training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from avatarcli.training.agreement import agreed

_AGREE_EVERY = 10  # steps between looks at the clock: processes must read the same time off it


class Clock:
    """The share of a training that is done, the same in all processes.

    steps, minutes: how long it lasts, one of them 0. Minutes are those in which there is training: `paused` ones do not count.
    now: seconds of a clock that never goes back.
    """

    def __init__(self, steps: int, minutes: float = 0.0, *, now: Callable[[], float] = time.monotonic) -> None:
        self._steps, self._minutes = steps, minutes
        self._now = now
        self._started: float | None = None
        self._done = 0.0  # seconds before it was started or stopped last
        self._agreed: dict[int, float] = {}

    @property
    def minutes(self) -> float:
        """Minutes of training so far, in this process."""
        return (self._done + (0.0 if self._started is None else self._now() - self._started)) / 60

    def steps(self, first: int = 0, *, minutes: float = 0.0) -> Iterator[int]:
        """The numbers of the steps to take from `first` on, of which `minutes` were spent already."""
        self._done, self._started = minutes * 60, self._now()
        for step in count(first):
            block = step // _AGREE_EVERY
            if block not in self._agreed:
                self._agreed = {k: v for k, v in self._agreed.items() if k >= block - 2}
                self._agreed[block] = agreed(self.minutes, "first")
            if self.share(step) >= 1:
                return
            yield step

    def share(self, step: int) -> float:
        """The share that is done before a step that `steps` gave."""
        return self.agreed_minutes(step) / self._minutes if self._minutes else step / self._steps

    def agreed_minutes(self, step: int) -> float:
        """Minutes of training until about before a step that `steps` gave, in the first process."""
        return self._agreed[step // _AGREE_EVERY]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done in the block takes no time."""
        running = self._started is not None
        self._done, self._started = self.minutes * 60, None
        try:
            yield
        finally:
            self._started = self._now() if running else None
