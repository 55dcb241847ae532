"""The training loop that both models share: AdamW, a flat and then falling learning rate, an average of the weights, resuming.

Run by `accelerate launch` (or torchrun) it trains on all its processes, with a whole model each (DistributedDataParallel) or with
one model spread over them; run plainly, on one device.
"""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from accelerate import Accelerator, PartialState
from torch import Tensor, nn

from avatarcli.errors import WorkspaceError
from avatarcli.progress import Progress
from avatarcli.training.pieces import piece_shapes, stream_pieces, write_pieces
from avatarcli.training.sharding import fill, own_part, shard, whole
from avatarcli.training.sources import Source, prefetched

_CHECKPOINT = "checkpoint"
_STATE = "state.json"

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. Every number a preset may set."""

    steps: int
    batch_size: int  # samples a process and step
    learning_rate: float
    warmup: int = 200  # steps over which the learning rate rises
    flat: float = 0.6  # share of the steps before it falls, along a cosine, to nothing
    weight_decay: float = 0.01
    beta2: float = 0.98
    gradient_clip: float = 1.0  # largest norm of a step's gradient
    ema_decay: float = 0.999
    mixed_precision: Literal["no", "bf16"] = "no"
    gradient_checkpointing: bool = False  # compute activations twice rather than keep them
    shard: bool = False  # spread weights and optimiser over the processes rather than keep all in each
    prefetch: int = 2  # batches made ahead, in a thread
    checkpoint_every: int = 500  # steps
    piece_mib: float = 0.0  # largest size of a checkpoint's files; 0 for no limit
    log_every: int = 20  # steps
    seed: int = 0


@dataclass(frozen=True)
class TrainResult:
    """losses: the loss of every step of this run, in this process; main_process: whether this one is to write files.

    The model of the other processes may be left without weights.
    """

    losses: list[float]
    main_process: bool


def train(
    model: nn.Module,
    source: Source[Batch],
    loss_of: Callable[[nn.Module, Batch], Tensor],
    config: TrainConfig,
    out: Path,
    progress: Progress,
) -> TrainResult:
    """Train `model` in place and leave it on the CPU with its averaged weights.

    Checkpoints are kept in the folder `out`; one found there is continued.

    source: makes the batch of a step, on any device, in a thread of its own; loss_of: its loss, which draws from torch's global
    random numbers. These are seeded anew at every step, so that a run that was stopped goes on as if it had not been.

    Raises:
        WorkspaceError: the checkpoint is another model's or damaged.
    """
    out.mkdir(parents=True, exist_ok=True)
    accelerator = _accelerator(config, out)
    sharded = config.shard and accelerator.num_processes > 1
    if sharded:
        # Sharding changes a model's class: the caller's own comes back to life when its weights are gathered.
        module = copy.deepcopy(model).to(accelerator.device).train()
        nn.Module.to(model, "meta")
        shard(module, bf16=config.mixed_precision == "bf16")
    else:
        module = model.to(accelerator.device).train()
    optimizer = torch.optim.AdamW(
        _parameter_groups(module, config.weight_decay), lr=config.learning_rate, betas=(0.9, config.beta2)
    )
    average = {name: value.detach().clone() for name, value in module.state_dict().items()}
    start = _resume(out / _CHECKPOINT, module, optimizer, average, config)
    wrapped = module if sharded else accelerator.prepare_model(module)
    losses: list[float] = []
    with (
        progress.task("train", config.steps) as advance,
        prefetched(source, range(start, config.steps), depth=config.prefetch) as batches,
    ):
        advance(start)
        for step, batch in enumerate(batches, start):
            torch.manual_seed(step_seed(config.seed, step, accelerator.process_index))
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * learning_rate_factor(config, step)
            with accelerator.autocast():
                loss = loss_of(wrapped, batch)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(module.parameters(), config.gradient_clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            # A young average follows fast: the first weights are worth nothing.
            _follow(average, module, min(config.ema_decay, (step + 1) / (step + 10)))
            losses.append(float(loss.detach()))
            if (step + 1) % config.log_every == 0:
                accelerator.log({"loss": losses[-1], "learning_rate": group["lr"]}, step=step + 1)
            done = step + 1 == config.steps
            if done or (step + 1) % config.checkpoint_every == 0:
                tensors = _tensors(module, optimizer, average)
                if sharded:
                    tensors = {name: whole(tensor).cpu() for name, tensor in tensors.items()}
                if accelerator.is_main_process:
                    _save(out / _CHECKPOINT, step + 1, tensors, config)
            advance(1)
    average = {name: whole(value).cpu() for name, value in average.items()}
    accelerator.end_training()
    model.load_state_dict(average, assign=sharded)
    model.cpu().eval()
    return TrainResult(losses, accelerator.is_main_process)


def training_device() -> torch.device:
    """Where batches are wanted: this process' GPU, or the CPU."""
    return (
        torch.device("cuda", PartialState().local_process_index) if torch.cuda.is_available() else torch.device("cpu")
    )


def learning_rate_factor(config: TrainConfig, step: int) -> float:
    """The share of the full learning rate at a step."""
    rise = min(1.0, (step + 1) / max(config.warmup, 1))
    fall = max(0.0, (step / config.steps - config.flat) / max(1 - config.flat, 1e-9))
    return rise * 0.5 * (1 + math.cos(math.pi * fall))


def _accelerator(config: TrainConfig, out: Path) -> Accelerator:
    logger = "tensorboard" if find_spec("tensorboard") else None
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        log_with=logger,
        project_dir=out,
        cpu=not torch.cuda.is_available(),
    )
    if logger:
        accelerator.init_trackers("log", config={k: v for k, v in asdict(config).items() if v is not None})
    return accelerator


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Biases, scales and tables are not pulled to zero."""
    matrices = [p for p in model.parameters() if p.ndim > 1 and p.requires_grad]
    vectors = [p for p in model.parameters() if p.ndim <= 1 and p.requires_grad]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def step_seed(seed: int, step: int, process: int) -> int:
    return (seed * 1_000_003 + step) * 4099 + process


@torch.no_grad()
def _follow(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    parameters = dict(model.named_parameters())
    names = list(parameters)
    ours, theirs = ([own_part(tensors[n].detach()) for n in names] for tensors in (average, parameters))
    torch._foreach_lerp_(ours, theirs, 1 - decay)
    # Buffers are statistics, averaged already.
    for name, value in model.named_buffers():
        if name in average:
            average[name].copy_(value)


def _save(folder: Path, step: int, tensors: dict[str, Tensor], config: TrainConfig) -> None:
    """Replace the checkpoint. A kill at any moment leaves the old one or the new one."""
    fresh, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir()
    write_pieces(tensors, fresh, piece_bytes=int(config.piece_mib * 2**20) or None)
    (fresh / _STATE).write_text(json.dumps({"step": step, "config": asdict(config)}, indent=1))
    if folder.exists():
        os.replace(folder, old)
    os.replace(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)


def _resume(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor], config: TrainConfig
) -> int:
    """Put a checkpoint's state in place; the number of steps it has done, 0 when there is none."""
    if not folder.exists():
        # A kill between the two renames of `_save`.
        old = folder.with_name(f".{folder.name}.old")
        if not old.exists():
            return 0
        os.replace(old, folder)
    try:
        step = int(json.loads((folder / _STATE).read_text())["step"])
        found = piece_shapes(folder)
    except (OSError, ValueError, KeyError) as error:
        raise WorkspaceError(f"{folder}: damaged checkpoint ({error}); delete it to start over") from error
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        optimizer.state[parameter] = {
            "step": torch.tensor(float(step)),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    wanted = _tensors(model, optimizer, average)
    different = [n for n in wanted.keys() | found.keys() if n not in wanted or found.get(n) != list(wanted[n].shape)]
    if different:
        raise WorkspaceError(f"{folder} is of another model ({min(different)} differs); delete it or train elsewhere")
    try:
        # One after another: every process of a sharded run reads them all.
        with torch.no_grad():
            for name, value in stream_pieces(folder):
                fill(wanted[name], value)
    except (OSError, ValueError, KeyError) as error:
        raise WorkspaceError(f"{folder}: damaged checkpoint ({error}); delete it to start over") from error
    return min(step, config.steps)


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor]) -> dict[str, Tensor]:
    """All that a checkpoint holds, by name. The tensors are the live ones."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors.update({f"average.{name}": value for name, value in average.items()})
    for name, parameter in model.named_parameters():
        for moment in ("exp_avg", "exp_avg_sq"):
            if moment in optimizer.state.get(parameter, {}):
                tensors[f"{moment}.{name}"] = optimizer.state[parameter][moment]
    return tensors
