"""What a training says of itself: losses by kind of batch, speed, and how held-out people fare."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from avatarcli.progress import Progress
from avatarcli.training.stopwatch import Stopwatch


class Journal:
    """Keeps the losses where they are, and fetches many at a time: every number that is fetched makes a GPU wait."""

    def __init__(self, watch: Stopwatch, write: Callable[[dict[str, Any], int], None], progress: Progress) -> None:
        self.losses: list[float] = []
        self._watch = watch
        self._write = write
        self._progress = progress
        self._new: list[Tensor] = []
        self._kinds: list[str] = []
        self._by_kind: dict[str, list[float]] = {}
        self._samples = 0
        self._said = time.monotonic()
        self._judged: dict[str, float] = {}

    def note(self, kind: str, samples: int, loss: Tensor) -> None:
        """A step's loss, a single number anywhere."""
        self._new.append(loss.detach())
        self._kinds.append(kind)
        self._samples += samples

    def judged(self, measures: dict[str, float], step: int) -> None:
        """What held-out people gave at a step, by name of the measure."""
        if measures:
            self._judged = measures
            self._write({f"held_out/{name}": value for name, value in measures.items()}, step)

    def log(self, step: int, learning_rate: float) -> None:
        """Write the newest losses down. A step must have been noted before."""
        self.fetch()
        newest = {f"loss/{kind}": losses[-1] for kind, losses in self._by_kind.items()}
        self._write({"loss": self.losses[-1], "learning_rate": learning_rate, **newest}, step)

    def say(self, step: int, share: float, every: float, companion: Callable[[], str]) -> None:
        """A line for the terminal, if the last one is so many seconds old."""
        if time.monotonic() - self._said < every:
            return
        self.fetch()
        busy, seconds = self._watch.take()
        means = ", ".join(f"{kind} {sum(v) / len(v):.4f}" for kind, v in sorted(self._by_kind.items()))
        held_out = "; held out " + ", ".join(f"{k} {v:.4f}" for k, v in self._judged.items()) if self._judged else ""
        beside = companion()
        self._progress.info(
            f"step {step}, {100 * share:.0f} %: loss {means}{held_out}; {self._samples / seconds:.0f} samples/s here, "
            f"{100 * busy:.0f} % of the time in the model{beside and '; ' + beside}"
        )
        self._by_kind.clear()
        self._samples = 0
        self._said = time.monotonic()

    def fetch(self) -> None:
        """Bring the losses here."""
        if not self._new:
            return
        values = torch.stack(self._new).tolist()
        for kind, value in zip(self._kinds, values, strict=True):
            self._by_kind.setdefault(kind, []).append(value)
        self.losses.extend(values)
        self._new.clear()
        self._kinds.clear()
