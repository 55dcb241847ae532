"""What goes along with a training beside its batches: people to be rendered, held-out people to judge by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from torch import nn

Batch = TypeVar("Batch")


class Companion(Generic[Batch]):
    """Does nothing. The loop calls everything in every process, at the same steps."""

    def begin(self, state: Mapping[str, Any]) -> None:
        """Before the first step. state: what `state` said at the checkpoint that is continued; else nothing."""

    def rehearsal(self) -> Iterable[Batch]:
        """A batch of each shape there will be, so that what must be compiled is compiled before it counts."""
        return ()

    def before_step(self, share: float) -> None:
        """Before a step's batch is drawn, which may be some steps ahead. share: of the training that is done."""

    def judge(self, model: nn.Module) -> dict[str, float]:
        """How good the averaged weights are, by name of the measure. Lower is better."""
        return {}

    def conclude(self, model: nn.Module) -> None:
        """At the end, with the averaged weights."""

    def report(self) -> str:
        """A few words for the terminal."""
        return ""

    def state(self) -> dict[str, Any]:
        """What a checkpoint must remember."""
        return {}
