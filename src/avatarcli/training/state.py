"""What a training changes as it goes: weights, their average and the optimiser's moments; and the checkpoint that holds them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from avatarcli.errors import WorkspaceError
from avatarcli.files import make_ordinary, replacing
from avatarcli.training.pieces import piece_shapes, stream_pieces, write_pieces
from avatarcli.training.sharding import fill, own_part, whole

_STATE = "state.json"
_DELETE = "delete it to start over"


class TrainingState:
    """A model in training, its optimiser, and `average`: the weights' moving average by name. Tensors are the live ones."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model = model
        self.optimizer = optimizer
        self.average = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self._parameters = dict(model.named_parameters())

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the average towards the weights."""
        torch._foreach_lerp_(self._averaged_parts(), self._parts(), 1 - decay)
        # Buffers are statistics, averaged already.
        for name, value in self.model.named_buffers():
            if name in self.average:
                self.average[name].copy_(value)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block the model has its averaged weights, and evaluates."""
        with torch.no_grad():
            kept = [part.clone() for part in self._parts()]
            torch._foreach_copy_(self._parts(), self._averaged_parts())
        self.model.eval()
        try:
            yield
        finally:
            self.model.train()
            with torch.no_grad():
                torch._foreach_copy_(self._parts(), kept)

    def save(self, folder: Path, notes: Mapping[str, Any], *, piece_bytes: int | None, write: bool) -> None:
        """Replace the checkpoint, with `notes` (for JSON) beside it. A kill at any moment leaves the old one or the new one.

        Every process of a sharded training must call this; one of all, the one that is to `write`, does.
        """
        tensors = {name: whole(tensor) for name, tensor in self._tensors().items()}
        if not write:
            return
        fresh, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh.mkdir()
        write_pieces(tensors, fresh, piece_bytes=piece_bytes)
        (fresh / _STATE).write_text(json.dumps(notes, indent=1))
        if folder.exists():
            os.replace(folder, old)
        os.replace(fresh, folder)
        shutil.rmtree(old, ignore_errors=True)

    def resume(self, folder: Path) -> dict[str, Any]:
        """Put a checkpoint's state in place; its notes, among them the `step`, or none when there is no checkpoint.

        Raises:
            WorkspaceError: it is another model's or damaged.
        """
        if not folder.exists():
            # A kill between the two renames of `save`.
            old = folder.with_name(f".{folder.name}.old")
            if not old.exists():
                return {}
            os.replace(old, folder)
        try:
            notes: dict[str, Any] = json.loads((folder / _STATE).read_text())
            step = int(notes["step"])
            found = piece_shapes(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WorkspaceError(f"{folder}: damaged checkpoint ({error}); {_DELETE}") from error
        for parameter in (p for group in self.optimizer.param_groups for p in group["params"]):
            self.optimizer.state[parameter] = {
                # A fused optimiser wants its count where the weights are.
                "step": torch.tensor(float(step), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        wanted = self._tensors()
        names = wanted.keys() | found.keys()
        different = [n for n in names if n not in wanted or found.get(n) != list(wanted[n].shape)]
        if different:
            raise WorkspaceError(
                f"{folder} is of another model ({min(different)} differs); delete it or train elsewhere"
            )
        try:
            # One after another: every process of a sharded run reads them all.
            with torch.no_grad():
                for name, value in stream_pieces(folder):
                    fill(wanted[name], value)
        except (OSError, ValueError, KeyError) as error:
            raise WorkspaceError(f"{folder}: damaged checkpoint ({error}); {_DELETE}") from error
        return notes

    def export(self, path: Path, *, write: bool) -> None:
        """The weights as they are, not averaged, in float16. Every process of a sharded training must call this."""
        values = {name: whole(value) for name, value in self.model.state_dict().items()}
        if not write:
            return
        halves = {k: (v.half() if v.is_floating_point() else v).cpu().contiguous() for k, v in values.items()}
        with replacing(path) as partial:
            save_file(halves, partial)
            make_ordinary(partial)

    def _parts(self) -> list[Tensor]:
        return [own_part(parameter.detach()) for parameter in self._parameters.values()]

    def _averaged_parts(self) -> list[Tensor]:
        return [own_part(self.average[name]) for name in self._parameters]

    def _tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint holds, by name."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors.update({f"average.{name}": value for name, value in self.average.items()})
        for name, parameter in self._parameters.items():
            for moment in ("exp_avg", "exp_avg_sq"):
                if moment in self.optimizer.state.get(parameter, {}):
                    tensors[f"{moment}.{name}"] = self.optimizer.state[parameter][moment]
        return tensors
