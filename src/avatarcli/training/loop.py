"""The training loop that both models share: AdamW, a flat and then falling learning rate, an average of the weights, resuming.

Run by `accelerate launch` (or torchrun) it trains on all its processes, with a whole model each (DistributedDataParallel) or with
one model spread over them; run plainly, on one device.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from avatarcli.errors import UsageError
from avatarcli.progress import Progress, SilentProgress
from avatarcli.settings import Count, Positive, Share
from avatarcli.training.clock import Clock
from avatarcli.training.companion import Companion
from avatarcli.training.journal import Journal
from avatarcli.training.sharding import shard, whole
from avatarcli.training.sources import Source, prefetched
from avatarcli.training.state import TrainingState
from avatarcli.training.stopwatch import Stopwatch

_CHECKPOINT = "checkpoint"
FLAT_FILE = "flat.safetensors"
_PARTS = 1000  # of the progress bar

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. Every number a preset may set."""

    batch_size: Count  # samples per process and step
    learning_rate: Positive
    steps: int = 0  # how long, or
    minutes: float = 0.0  # how long by the clock, rendering aside
    warmup: int = 200  # steps over which the learning rate rises
    flat: Share = 0.6  # share of the training before it falls, along a cosine, to nothing
    weight_decay: float = 0.01
    beta2: Share = 0.98
    gradient_clip: Positive = 1.0  # largest norm of a step's gradient
    ema_decay: Share = 0.999
    mixed_precision: Literal["no", "bf16"] = "no"
    gradient_checkpointing: bool = False  # compute activations twice rather than keep them
    compile: bool = False  # the model's blocks, which takes half a minute a shape of batch and gains a third
    shard: bool = False  # spread weights and optimiser over the processes rather than keep all in each
    prefetch: int = 2  # batches made ahead, in a thread
    checkpoint_every: Count = 500  # steps
    checkpoint_minutes: float = 0.0  # of training; these count instead, if given
    judge_minutes: float = 2.0  # between looks at held-out people, where there are any
    piece_mib: float = 0.0  # largest size of a checkpoint's files; 0 for no limit
    log_every: Count = 20  # steps
    say_every: float = 15.0  # seconds between lines on the terminal
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.steps > 0) == (self.minutes > 0):
            raise UsageError(f"[train] needs steps or minutes, one of them: {self.steps} and {self.minutes} are given")


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
    *,
    clock: Clock | None = None,
    companion: Companion[Batch] | None = None,
    describe: Callable[[int], tuple[str, int]] | None = None,
) -> TrainResult:
    """Train `model` in place and leave it on the CPU with its averaged weights.

    Checkpoints are kept in the folder `out`; one found there is continued. The weights before the learning rate falls, from
    which a later training can go on, are kept there as `flat.safetensors`.

    source: makes the batch of a step, on any device, in a thread of its own; loss_of: its loss, which draws from torch's global
    random numbers. These are seeded anew at every step, so that a run of so many steps that was stopped goes on as if it had not
    been. clock: the training's own, where the source looks at it too; companion: what goes along; describe: what a step's batch
    is of, and how many samples.

    Raises:
        WorkspaceError: the checkpoint is another model's or damaged.
    """
    out.mkdir(parents=True, exist_ok=True)
    accelerator = _accelerator(config, out)
    main = accelerator.is_main_process
    progress = progress if main else SilentProgress()
    clock = clock or Clock(config.steps, config.minutes)
    companion = companion or Companion()
    trainee = _Trainee(model, loss_of, config, accelerator)
    found = trainee.state.resume(out / _CHECKPOINT)
    companion.begin(found.get("companion", {}))
    trainee.prepare(companion.rehearsal)
    watch = Stopwatch(accelerator.device)
    journal = Journal(watch, lambda values, step: accelerator.log(values, step=step), progress)
    done = start = int(found.get("step", 0))
    share = 0.0
    saves, judgements = _Intervals(config.checkpoint_minutes), _Intervals(config.judge_minutes, at_once=True)

    def save(step: int) -> None:
        notes = {"step": step, "minutes": clock.minutes, "companion": companion.state(), "config": asdict(config)}
        trainee.state.save(out / _CHECKPOINT, notes, piece_bytes=int(config.piece_mib * 2**20) or None, write=main)

    def steps() -> Iterator[int]:
        for step in clock.steps(start, minutes=float(found.get("minutes", 0.0))):
            with clock.paused():
                companion.before_step(clock.share(step))
            yield step

    with (
        progress.task("train", _PARTS) as advance,
        prefetched(source, steps(), depth=config.prefetch) as batches,
    ):
        for step, batch in enumerate(batches, start):
            before, share = share, clock.share(step)
            advance(int(share * _PARTS) - int(before * _PARTS))
            with clock.paused():
                if before < config.flat <= share and step > start:
                    trainee.state.export(out / FLAT_FILE, write=main)
                if judgements.due(clock.agreed_minutes(step)):
                    with trainee.averaged() as module:
                        journal.judged(companion.judge(module), step)
            learning_rate = config.learning_rate * learning_rate_factor(config, step, share)
            with watch.running():
                loss = trainee.step(batch, step, learning_rate)
            done = step + 1
            journal.note(*(describe(step) if describe else ("all", config.batch_size)), loss)
            if done % config.log_every == 0:
                journal.log(done, learning_rate)
            journal.say(done, share, config.say_every, companion.report)
            timely = saves.due(clock.agreed_minutes(step))
            if timely if config.checkpoint_minutes else done % config.checkpoint_every == 0:
                with clock.paused():
                    save(done)
    if done > start:
        save(done)
    journal.fetch()
    with trainee.averaged() as module:
        companion.conclude(module)
    trainee.hand_over(model)
    return TrainResult(journal.losses, main)


class _Trainee(Generic[Batch]):
    """A model in training: on its device or spread over those of all processes, with its optimiser and averaged weights."""

    def __init__(
        self,
        model: nn.Module,
        loss_of: Callable[[nn.Module, Batch], Tensor],
        config: TrainConfig,
        accelerator: Accelerator,
    ) -> None:
        self._loss_of, self._config, self._accelerator = loss_of, config, accelerator
        self._sharded = config.shard and accelerator.num_processes > 1
        if self._sharded:
            # Sharding changes a model's class: the caller's own comes back to life when its weights are gathered.
            self._module = copy.deepcopy(model).to(accelerator.device).train()
            nn.Module.to(model, "meta")
            shard(self._module, bf16=config.mixed_precision == "bf16")
        else:
            self._module = model.to(accelerator.device).train()
        self._computes = self._module
        self._optimizer = _optimizer(self._module, config)
        self.state = TrainingState(self._module, self._optimizer)

    def prepare(self, rehearsal: Callable[[], Iterable[Batch]]) -> None:
        """Make ready for the first step. rehearsal: a batch of each shape, asked for if the model is to be compiled for them."""
        if self._config.compile:
            compile_blocks(self._module)
        if not self._sharded:
            self._computes = self._accelerator.prepare_model(self._module)
        for batch in rehearsal() if self._config.compile else ():
            self._differentiate(batch)
            self._optimizer.zero_grad(set_to_none=True)

    def step(self, batch: Batch, step: int, learning_rate: float) -> Tensor:
        """Learn from a batch; returns its loss, a single number on the device."""
        torch.manual_seed(step_seed(self._config.seed, step, self._accelerator.process_index))
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        loss = self._differentiate(batch)
        self._accelerator.clip_grad_norm_(self._module.parameters(), self._config.gradient_clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        # A young average follows fast: the first weights are worth nothing.
        self.state.follow(min(self._config.ema_decay, (step + 1) / (step + 10)))
        return loss

    def _differentiate(self, batch: Batch) -> Tensor:
        with self._accelerator.autocast():
            loss = self._loss_of(self._computes, batch)
        self._accelerator.backward(loss)
        return loss

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """The model with its averaged weights, to be judged: nothing is compiled for that."""
        with self.state.averaged(), torch.compiler.set_stance("force_eager"), self._accelerator.autocast():
            yield self._module

    def hand_over(self, model: nn.Module) -> None:
        """End the training and give the averaged weights to the caller's model, on the CPU."""
        average = {name: whole(value).cpu() for name, value in self.state.average.items()}
        self._accelerator.end_training()
        model.load_state_dict(average, assign=self._sharded)
        model.cpu().eval()


def learning_rate_factor(config: TrainConfig, step: int, share: float) -> float:
    """The share of the full learning rate at a step, before which a share of the training was done."""
    rise = min(1.0, (step + 1) / max(config.warmup, 1))
    fall = max(0.0, (share - config.flat) / max(1 - config.flat, 1e-9))
    return rise * 0.5 * (1 + math.cos(math.pi * min(fall, 1.0)))


def step_seed(seed: int, step: int, process: int) -> int:
    return (seed * 1_000_003 + step) * 4099 + process


def compile_blocks(model: nn.Module) -> None:
    """Compile the repeated blocks of a model in place, which leaves the names of its parameters as they are."""
    names = getattr(model, "_no_split_modules", None) or ()
    # One a block and shape, and a batch of every source has a shape of its own.
    torch._dynamo.config.recompile_limit = 64
    for module in model.modules():
        if type(module).__name__ in names:
            module.compile(dynamic=False)


class _Intervals:
    """Says when another interval of so many minutes is over; never, of 0. at_once: also when it is first asked."""

    def __init__(self, minutes: float, *, at_once: bool = False) -> None:
        self._minutes = minutes
        self._last: float | None = -math.inf if at_once else None

    def due(self, now: float) -> bool:
        if self._last is None:
            self._last = now
        over = self._minutes > 0 and now - self._last >= self._minutes
        if over:
            self._last = now
        return over


def _accelerator(config: TrainConfig, out: Path) -> Accelerator:
    logger = "tensorboard" if find_spec("tensorboard") else None
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        log_with=logger,
        project_dir=out,
        cpu=not torch.cuda.is_available(),
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )
    if logger:
        accelerator.init_trackers("log", config={k: v for k, v in asdict(config).items() if v is not None})
    return accelerator


def _optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    parameters = list(model.parameters())
    return torch.optim.AdamW(
        _parameter_groups(model, config.weight_decay),
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        # Spread parameters take the plain way: fused kernels on them have not been tried.
        fused=all(p.is_cuda and not isinstance(p, DTensor) for p in parameters) or None,
    )


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Biases, scales and tables are not pulled to zero."""
    matrices = [p for p in model.parameters() if p.ndim > 1 and p.requires_grad]
    vectors = [p for p in model.parameters() if p.ndim <= 1 and p.requires_grad]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
