"""How much of the time the model itself was at work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Share of the time spent in blocks. On a GPU it is the GPU's own time, read without waiting for it step by step."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pairs: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._seconds = 0.0
        self._since = time.perf_counter()

    @contextmanager
    def running(self) -> Iterator[None]:
        """The block's time counts."""
        if self._device.type != "cuda":
            start = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - start
            return
        pair = (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
        pair[0].record()
        yield
        pair[1].record()
        self._pairs.append(pair)

    def take(self) -> tuple[float, float]:
        """The share since the last call, and the seconds."""
        if self._pairs:
            self._pairs[-1][1].synchronize()
            self._seconds += sum(first.elapsed_time(last) for first, last in self._pairs) / 1000
            self._pairs.clear()
        now = time.perf_counter()
        passed, spent = now - self._since, self._seconds
        self._since, self._seconds = now, 0.0
        return min(spent / max(passed, 1e-9), 1.0), passed
