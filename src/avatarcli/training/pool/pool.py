"""The people that a training of the diffusion model sees: rendered beside it or in turns with it, kept as latents, drawn often."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.checkpoints import load_model
from avatarcli.diffusion.packing import latent_count
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import UsageError, WorkspaceError
from avatarcli.files import write_json
from avatarcli.progress import Progress
from avatarcli.studio.assets import check_complete
from avatarcli.studio.encoding import EncodedSample
from avatarcli.studio.sample import StudioSample
from avatarcli.training.agreement import Process, agreed
from avatarcli.training.companion import Companion
from avatarcli.training.diffusion import MultiViewBatch
from avatarcli.training.loop import step_seed
from avatarcli.training.pool.encoding import encode
from avatarcli.training.pool.held_out import HELD_OUT_FOLDER, SCORES_FILE, HeldOut, mean_losses, mean_psnr
from avatarcli.training.pool.processes import GpuSharing, Renderers, start_renderers
from avatarcli.training.pool.real import in_other_colors, real_files
from avatarcli.training.pool.renderer import CLIP, HELD_OUT_SUFFIX, STILL, Orders
from avatarcli.training.pool.store import LatentStore
from avatarcli.training.settings import PoolTable, SourceSettings, StudioTable
from avatarcli.training.sources import Source

REAL = "real"
_LOOK_EVERY = 16  # steps between looks for new people while renderers work beside the training
_PAUSE = 0.1  # seconds between looks in a turn of rendering
_PATIENCE = 240.0  # seconds that a turn may last beyond its time while nobody of some kind is there yet
_SAY_EVERY = 15.0  # seconds between lines in a turn


class Pool(Companion[MultiViewBatch]):
    """Of one training process; as a context manager it ends what it started.

    out: the training's folder, which keeps the held-out people. dtype: of the conditioning in batches.

    Raises:
        AssetsError: the asset pack is not whole.
        WeightsError: the autoencoder cannot be loaded.
        UsageError: a real person's file cannot be used.
    """

    def __init__(
        self,
        studio: StudioTable,
        pool: PoolTable,
        autoencoder: Path,
        out: Path,
        process: Process,
        progress: Progress,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._studio, self._table, self._process, self._progress = studio, pool, process, progress
        self.autoencoder_folder, self._out, self._dtype = autoencoder, out, dtype
        check_complete(Path(studio.assets))
        self._autoencoder = load_model(SmallVideoAutoencoder, autoencoder).to(process.device).requires_grad_(False)
        self._stores = {STILL: self._store(pool.stills), CLIP: self._store(pool.clips)}
        self._sources: list[tuple[int, SourceSettings]] = []
        real = real_files(pool)
        kept, judged = real[: len(real) - pool.real_held_out], real[len(real) - pool.real_held_out :]
        if pool.real is not None:
            self._stores[REAL] = self._fill_real(kept)
        self._judged_real = judged[process.rank :: process.world]
        self._next = pool.first + pool.held_out  # the first number that nobody has been shown
        self._turns = 0
        self._steps = 0
        self._turn_began = 0.0
        self._renderers: Renderers | None = None
        self._sharing: GpuSharing | None = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_rendering()

    def source(self, count: int, wanted: SourceSettings) -> Source[MultiViewBatch]:
        """Batches of `count` people, with as many views and latents as a source's settings say."""
        self._sources.append((count, wanted))
        store = self._stores[self.kind(wanted)]

        def draw(step: int) -> MultiViewBatch:
            generator = torch.Generator().manual_seed(step_seed(self._process.seed, step, self._process.rank))
            views, latents = (_between(limits, generator) for limits in self._limits(wanted))
            return store.draw(count, generator, views=views, latents=latents)

        return draw

    def kind(self, wanted: SourceSettings) -> str:
        """Of which people a source draws."""
        if wanted.real:
            return REAL
        return CLIP if self._limits(wanted)[1][1] > 1 else STILL

    def begin(self, state: Mapping[str, Any]) -> None:
        self._next = max(self._next, int(state.get("next", 0)))
        self._turns = int(state.get("turns", 0))
        self._start_rendering()

    def rehearsal(self) -> Iterator[MultiViewBatch]:
        """Empty batches of the sizes that the sources draw."""
        shapes: set[tuple[int, int, int]] = set()
        for samples, wanted in self._sources:
            views_limits, latents_limits = self._limits(wanted)
            shapes.update((samples, v, t) for v in {*views_limits} for t in {*latents_limits})
        for count, views, latents in sorted(shapes):
            self._take()
            self._progress.info(f"compiling for {count} samples of {views} views and {latents} latents")
            side = self._studio.size // 8
            zeros = {
                name: torch.zeros(count, *shape, side, side, device=self._process.device, dtype=dtype)
                for name, shape, dtype in (
                    ("photo", (16,), torch.float32), ("photo_conditioning", (220,), self._dtype),
                    ("latents", (views, latents, 16), torch.float32),
                    ("conditioning", (views, latents, 220), self._dtype), ("weight", (views, latents, 1), torch.float32),
                )
            }  # fmt: skip
            yield MultiViewBatch(**{**zeros, "weight": zeros["weight"] + 1})

    def before_step(self, share: float) -> None:
        turns = self._table.turns
        # Of a training that goes on, the people are gone: they are rendered anew before its first step.
        if not self._steps or (self._turns < turns and share >= self._turns / turns):
            self._turns = max(self._turns, int(share * turns)) + 1
            self._turn()
            last = self._turns >= turns
            if last and not self._table.beside:
                self._end_rendering()
        elif self._renderers is not None and self._table.beside and self._steps % _LOOK_EVERY == 0:
            self._take()
        self._steps += 1

    def judge(self, model: nn.Module) -> dict[str, float]:
        return mean_losses(self._held_out, model) if self._held_out else {}

    def conclude(self, model: nn.Module) -> None:
        """Writes the scores and contact sheets of the held-out people."""
        if not self._held_out:
            return
        assert isinstance(model, MultiViewVideoTransformer)  # what a pool is for
        losses = mean_losses(self._held_out, model)
        scores = mean_psnr(self._held_out, model)
        if self._process.rank:
            return
        for name, group in self._held_out.items():
            group.sheet(model, self._out / f"held-out-{name}.png")
            for bucket, (decibels, views) in scores.get(name, {}).items():
                self._progress.info(f"held out, {name}, {bucket}: {decibels:.2f} dB ({views} views)")
        content = {"loss": losses, "psnr": {n: {b: v for b, (v, _) in found.items()} for n, found in scores.items()}}
        write_json(self._out / SCORES_FILE, content)

    def report(self) -> str:
        stores = ", ".join(f"{len(store)} {name}" for name, store in self._stores.items())
        seen = sum(self._stores[name].added for name in (STILL, CLIP))
        return f"{seen} people seen, {stores} kept here"

    def state(self) -> dict[str, Any]:
        return {"next": int(agreed(self._next, "most")), "turns": self._turns}

    def _store(self, capacity: int) -> LatentStore:
        return LatentStore(capacity, self._process.device, self._dtype)

    def _limits(self, wanted: SourceSettings) -> tuple[tuple[int, int], tuple[int, int]]:
        """Fewest and most views and latents of a source's batches, as far as its people have them."""
        table, faces = self._table, self._studio.face_views
        latents = wanted.latents or (1, 1)
        most = latent_count(table.clip_frames) if latents[1] > 1 and not wanted.real else 1
        if wanted.real:
            there = self._stores[REAL].views
        else:
            there = faces + (table.clip_views if most > 1 else table.views)
        low, high = wanted.views or (there, there)
        return (min(low, there), min(high, there)), (min(latents[0], most), min(latents[1], most))

    def _fill_real(self, files: list[Path]) -> LatentStore:
        """Everybody of the files with every photo, first as they are, then in other colors."""
        people = in_other_colors(files, self._table.real_variants, self._process.device)
        records = [record for sample in people for record in encode(sample, self._autoencoder)]
        if not records:
            raise UsageError(f"{self._table.real} holds nobody to train on beside those who are held out")
        store = self._store(len(records))
        for record in records:
            store.add(record)
        return store

    @cached_property
    def _held_out(self) -> dict[str, HeldOut]:
        """Of this process. Every process has the same groups, if with nobody in them."""
        rank, world = self._process.rank, self._process.world
        groups = {}
        if self._table.held_out:
            groups["studio"] = [self._held_out_file(number) for number in range(rank, self._table.held_out, world)]
        if self._table.real is not None and self._table.real_held_out:
            groups["real"] = self._judged_real
        return {
            name: HeldOut(
                [StudioSample.load(path) for path in files],
                self._autoencoder,
                self._process.device,
                self._studio.face_views if name == "studio" else 0,
                self._dtype,
            )
            for name, files in groups.items()
        }

    def _held_out_file(self, number: int) -> Path:
        return self._out / HELD_OUT_FOLDER / f"{number:04d}{HELD_OUT_SUFFIX}"

    def _start_rendering(self) -> None:
        table, studio, process = self._table, self._studio, self._process
        orders = Orders.of(
            studio,
            table,
            process,
            autoencoder=self.autoencoder_folder,
            held_out_folder=self._out / HELD_OUT_FOLDER,
            first=self._next,
            motion=table.motion if any(self.kind(wanted) == CLIP for _, wanted in self._sources) else 0.0,
        )
        self._renderers, self._sharing = start_renderers(orders, process)
        self._turn_began = time.monotonic()

    def _end_rendering(self) -> None:
        if self._renderers is not None:
            self._renderers.end()
            self._renderers = None
        if self._sharing is not None:
            self._sharing.end()
            self._sharing = None

    def _turn(self) -> None:
        """Render at full speed, until the turn's time is over and there is somebody of every kind."""
        assert self._renderers is not None  # the last turn is what ends them
        if self._steps:  # the first turn began when the renderers were started: what is compiled is compiled beside it
            self._renderers.throttle(1.0)
            self._turn_began = time.monotonic()
        before = {kind: self._stores[kind].added if self._steps else 0 for kind in (STILL, CLIP)}
        start, said = self._turn_began, time.monotonic()
        if self._process.device.type == "cuda":
            torch.cuda.empty_cache()  # what was compiled was tried out: renderers can use that memory now
        over = False
        while not over:
            busy_until = time.monotonic() + 1.0
            while time.monotonic() < busy_until and not self._is_over(before, start):
                if not self._take():
                    self._renderers.check()
                    time.sleep(_PAUSE)
            over = bool(agreed(self._is_over(before, start), "least"))
            if not over and time.monotonic() - start > self._table.render_minutes * 60 + _PATIENCE:
                raise WorkspaceError(
                    f"rendering makes no progress ({self.report()}): {self._renderers.last_words() or 'no reason is known'}; "
                    "with too little memory, take fewer renderers or keep fewer people in [pool]"
                )
            if time.monotonic() - said > _SAY_EVERY:
                said = time.monotonic()
                self._progress.info(f"rendering for {(said - start) / 60:.1f} minutes: {self.report()}")
        self._renderers.throttle(self._table.beside)
        self._progress.info(f"rendered for {(time.monotonic() - start) / 60:.1f} minutes: {self.report()}")

    def _is_over(self, before: Mapping[str, int], start: float) -> bool:
        wanted = [CLIP] if any(self.kind(wanted) == CLIP for _, wanted in self._sources) else []
        wanted += [STILL] if any(self.kind(wanted) == STILL for _, wanted in self._sources) else []
        if not all(len(self._stores[kind]) for kind in wanted) or not all(
            self._held_out_file(number).exists()
            for number in range(self._process.rank, self._table.held_out, self._process.world)
        ):
            return False
        renewed = all(self._stores[kind].added - before[kind] >= self._stores[kind].capacity for kind in wanted)
        return renewed or time.monotonic() - start >= self._table.render_minutes * 60

    def _take(self) -> int:
        """Bring in those who wait; how many."""
        assert self._renderers is not None
        files = self._renderers.files()
        for path in files:
            kind, number = path.name.split("_")[:2]
            self._stores[kind].add(EncodedSample(**load_file(path)))
            path.unlink()
            self._next = max(self._next, int(number) + 1)
        return len(files)


def _between(limits: tuple[int, int], generator: torch.Generator) -> int:
    return int(torch.randint(limits[0], limits[1] + 1, (), generator=generator))
