"""Where batches come from: functions of the step, mixed by a curriculum, made ahead in a thread.

A source must not draw from torch's global random numbers, which belong to the loss: it seeds its own by step and process, so that
a run that was stopped sees the batches that it would have seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

Batch = TypeVar("Batch")
Source = Callable[[int], Batch]  # the batch of a step; asked for steps in rising order


@dataclass(frozen=True)
class Phase(Generic[Batch]):
    """A part of the training, up to the share `until` of it, with sources and how often each is asked."""

    until: float
    sources: Sequence[tuple[Source[Batch], float]]


@dataclass(frozen=True)
class Curriculum(Generic[Batch]):
    """Phases one after another. At every step all processes draw from the same source, so that none waits for another's work.

    share: of the training that is done before a step.
    """

    phases: Sequence[Phase[Batch]]
    share: Callable[[int], float]
    seed: int

    def __call__(self, step: int) -> Batch:
        phase, chosen = self.choose(step)
        return self.phases[phase].sources[chosen][0](step)

    def choose(self, step: int) -> tuple[int, int]:
        """The places of a step's phase, and of its source there."""
        share = self.share(step)
        place = next((i for i, phase in enumerate(self.phases) if share < phase.until), len(self.phases) - 1)
        weights = torch.tensor([weight for _, weight in self.phases[place].sources])
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        return place, int(torch.multinomial(weights, 1, generator=generator))


@contextmanager
def prefetched(source: Source[Batch], steps: Iterable[int], *, depth: int) -> Iterator[Iterator[Batch]]:
    """The batches of `steps`, up to `depth` of them made ahead in a thread that ends with the block; 0: no thread.

    What the source raises is raised where its batch is asked for.
    """
    if depth < 1:
        yield (source(step) for step in steps)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        waiting: deque[Future[Batch]] = deque()

        def take() -> Iterator[Batch]:
            for step in steps:
                waiting.append(pool.submit(source, step))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

        try:
            yield take()
        finally:
            for future in waiting:
                future.cancel()
