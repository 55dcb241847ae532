"""Pictures and what the transformer imagines of them, for the training of a decoder: rendered before it, kept, and drawn often."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.schedule import LatentScene, denoise, make_scheduler
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import WorkspaceError
from avatarcli.files import write_json
from avatarcli.pictures import write_png
from avatarcli.progress import Progress
from avatarcli.studio.assets import check_complete
from avatarcli.studio.encoding import EncodedSample
from avatarcli.studio.sample import StudioSample, as_bytes
from avatarcli.training.agreement import Process, combined
from avatarcli.training.companion import Companion
from avatarcli.training.decoder import DecoderBatch, decoder_batch, without_hint
from avatarcli.training.loop import step_seed
from avatarcli.training.pool.encoding import encode
from avatarcli.training.pool.held_out import HELD_OUT_FOLDER, SCORES_FILE, row
from avatarcli.training.pool.processes import GpuSharing, Renderers, start_renderers
from avatarcli.training.pool.real import in_other_colors, real_files
from avatarcli.training.pool.renderer import HELD_OUT_SUFFIX, Orders
from avatarcli.training.pool.store import LatentStore
from avatarcli.training.settings import PoolTable, SourceSettings, StudioTable
from avatarcli.training.sources import Source
from avatarcli.weights.lpips import Lpips

_STEPS = 5  # of denoising, as many as in use
# How noisy truths are made before the transformer repairs them in one step, and how many steps, at least and at most, they are
# drawn anew by: detail is lost or wrong, nothing is moved far.
_LEVELS, _AGAIN = (200, 800), (2, 3)
# How often latents are the truth's own, repaired, drawn anew, and imagined; the most noise that is added to the truth's own.
_TRUE, _REPAIRED, _REDRAWN, _IMAGINED = range(4)
_SHARES, _NOISE = (0.1, 0.35, 0.35, 0.2), 0.25
_TOGETHER = 16  # people imagined at a time
_DECODED = 32  # pictures decoded at a time
_PAUSE, _SAY_EVERY, _PATIENCE = 0.1, 15.0, 240.0  # seconds
_ON_SHEET = 4  # people
_FRONT = 0.5  # share of a view's person that the photo must show for the view to be scored as one from the front
_MEASURES = ("inside", "inside without hint", "outside", "LPIPS", "LPIPS without hint")
_GREY = 0.92  # behind people whom a network compares


class PictureStore:
    """Single views of many people on one device: bytes of pictures, float16 latents. A full store gives up its oldest views.

    For each view: `truth` [4, S, S] and `hint` [5, S, S]; `latents` [4, 16, s, s]: the truth's own, repaired, drawn anew, imagined;
    `plain` [4, S, S]: what the decoder made of the imagined ones without a hint before the training.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        self._capacity, self._device = capacity, device
        self._kept: dict[str, Tensor] = {}
        self.added = 0

    def __len__(self) -> int:
        return min(self.added, self._capacity)

    def add(self, views: Mapping[str, Tensor]) -> None:
        """Keep some views, as tensors with their number first."""
        count = len(views["truth"])
        if not self._kept:
            self._kept = {
                name: torch.empty(self._capacity, *value.shape[1:], dtype=value.dtype, device=self._device)
                for name, value in views.items()
            }
        places = (torch.arange(count) + self.added) % self._capacity
        for name, value in views.items():
            self._kept[name][places.to(self._device)] = value.to(self._device)
        self.added += count

    def draw(self, count: int, generator: torch.Generator) -> DecoderBatch:
        """A batch of random views."""
        chosen = torch.randint(len(self), (count,), generator=generator).to(self._device)
        kind = torch.multinomial(torch.tensor(_SHARES), count, replacement=True, generator=generator)
        truth, hint, plain = (self._kept[name][chosen].float() / 255 for name in ("truth", "hint", "plain"))
        latents = self._kept["latents"][chosen, kind.to(self._device)].float()
        disturbance = _NOISE * torch.rand(count, 1, 1, 1, generator=generator) * (kind == _TRUE).view(-1, 1, 1, 1)
        noise = torch.randn(latents.shape, generator=generator) * disturbance
        return decoder_batch(latents + noise.to(latents), hint, truth, plain, kind == _IMAGINED, generator)


class ImaginedPeople(Companion[DecoderBatch]):
    """People of the studio and real ones, of one training process; as a context manager it ends what it started.

    transformer: what imagines them, on the process's device; autoencoder: as it was before the training, there too, from
    `autoencoder_folder`. out: the training's folder, which keeps the held-out people. network: says how different pictures look.

    Raises:
        AssetsError: the asset pack is not whole.
        UsageError: a real person's file cannot be used.
    """

    def __init__(
        self,
        studio: StudioTable | None,
        pool: PoolTable,
        transformer: MultiViewVideoTransformer,
        autoencoder: SmallVideoAutoencoder,
        autoencoder_folder: Path,
        out: Path,
        process: Process,
        progress: Progress,
        network: Lpips | None = None,
    ) -> None:
        self._network = network
        self._studio, self._table, self._process, self._progress = studio, pool, process, progress
        self._imagination = Imagination(transformer, autoencoder, process.device)
        self._folder, self._out = autoencoder_folder, out
        if studio is not None:
            check_complete(Path(studio.assets))
        real = real_files(pool)
        held = pool.real_held_out if real else 0
        self._real, self._judged_real = real[: len(real) - held], real[len(real) - held :]
        self._kinds: set[str] = set()
        self._stores: dict[str, PictureStore] = {}
        self._held_out: dict[str, list[dict[str, Tensor]]] = {}
        self._gathered = False
        self._first = pool.first + pool.held_out
        self._people = self._rendered = 0
        self._renderers: Renderers | None = None
        self._sharing: GpuSharing | None = None

    def __enter__(self) -> ImaginedPeople:
        return self

    def __exit__(self, *reason: object) -> None:
        self._end_rendering()

    def source(self, count: int, wanted: SourceSettings) -> Source[DecoderBatch]:
        """Batches of `count` views of rendered people, or of real ones."""
        kind = "real" if wanted.real else "studio"
        self._kinds.add(kind)

        def draw(step: int) -> DecoderBatch:
            generator = torch.Generator().manual_seed(step_seed(self._process.seed, step, self._process.rank))
            return self._stores[kind].draw(count, generator)

        return draw

    def begin(self, state: Mapping[str, Any]) -> None:
        self._first = max(self._first, int(state.get("first", 0)))
        if self._studio is not None and "studio" in self._kinds:
            orders = Orders.of(
                self._studio,
                self._table,
                self._process,
                autoencoder=self._folder,
                held_out_folder=self._out / HELD_OUT_FOLDER,
                first=self._first,
                motion=0.0,
                pictures=True,
            )
            self._renderers, self._sharing = start_renderers(orders, self._process)

    def before_step(self, share: float) -> None:
        if self._gathered:
            return
        self._gathered = True
        if "real" in self._kinds:
            self._gather_real()
        if self._renderers is not None:
            self._gather_rendered(self._renderers)
        self._end_rendering()
        held_out = {"studio": self._held_out_files() if "studio" in self._kinds else [], "real": self._judged_real}
        for name, files in held_out.items():
            self._held_out[name] = [self._judged(StudioSample.load(path), number) for number, path in enumerate(files)]

    def judge(self, model: nn.Module) -> dict[str, float]:
        """Mean absolute errors: inside the warp of views from the front, with the hint and without it; outside the warp. With a
        network also how different from the truth imagined views from the front look to it, with the hint and without: the errors do
        not tell detail that lies a pixel off from detail that is missing."""
        found = {}
        for name, people in self._held_out.items():
            sums = torch.zeros(len(_MEASURES), 2, dtype=torch.float64)
            for person in people:
                sums += decoder_errors(model, person, self._process.device, self._network)
            of_all = combined(sums, "sum")
            for measure, (total, count) in zip(_MEASURES, of_all.tolist(), strict=True):
                if count:
                    found[f"{name} {measure}"] = total / count
        return found

    def conclude(self, model: nn.Module) -> None:
        """Writes the scores, and sheets of the held-out people: truth, decoded without the hint, and with it."""
        scores = self.judge(model)
        if self._process.rank or not scores:
            return
        write_json(self._out / SCORES_FILE, scores)
        for name, people in self._held_out.items():
            rows = []
            for person in people[:_ON_SHEET]:
                rows += [row(person["truth"].float() / 255)]
                rows += [row(_decoded(model, person, self._process.device, shown=s).cpu()) for s in (False, True)]
            if rows:
                write_png(self._out / f"held-out-{name}.png", torch.cat(rows, dim=-2).permute(1, 2, 0))

    def report(self) -> str:
        return f"{self._people} people, " + ", ".join(f"{len(s)} {name} views" for name, s in self._stores.items())

    def state(self) -> dict[str, Any]:
        return {"first": self._first}

    def _end_rendering(self) -> None:
        for started in (self._renderers, self._sharing):
            if started is not None:
                started.end()
        self._renderers = self._sharing = None

    def _gather_real(self) -> None:
        for sample in in_other_colors(self._real, self._table.real_variants, self._process.device):
            if "real" not in self._stores:
                people = len(self._real) * self._table.real_variants
                self._stores["real"] = PictureStore(
                    people * sample.hint[:, :, 0, 0, 0, 0].numel(), self._process.device
                )
            records = list(encode(sample, self._imagination.autoencoder))
            pictures = [(sample.video[:, 0], hint[:, 0]) for hint in sample.hint]
            self._keep("real", records, pictures)

    def _gather_rendered(self, renderers: Renderers) -> None:
        """Take and imagine people until the time is over and there is somebody, the held-out ones too."""
        assert self._studio is not None  # as the settings were checked
        views = (self._table.views + self._studio.face_views) * self._studio.photos
        self._stores["studio"] = PictureStore(self._table.stills * views, self._process.device)
        start = said = time.monotonic()
        waiting: list[tuple[EncodedSample, tuple[Tensor, Tensor]]] = []
        while not self._is_over(start):
            files = renderers.files()
            for path in files:
                tensors = load_file(path)
                pictures = tensors.pop("video")[:, 0], tensors.pop("hint")[:, 0]
                waiting.append((EncodedSample(**tensors), pictures))
                self._first = max(self._first, int(path.name.split("_")[1]) + 1)
                path.unlink()
            if not files:
                renderers.check()
                time.sleep(_PAUSE)
            if len(waiting) >= _TOGETHER or (waiting and not self._rendered):
                self._rendered += len(waiting)
                self._keep("studio", *map(list, zip(*waiting, strict=True)))
                waiting.clear()
            if time.monotonic() - start > self._table.render_minutes * 60 + _PATIENCE:
                raise WorkspaceError(
                    f"rendering makes no progress ({self.report()}): {renderers.last_words() or 'no reason is known'}; "
                    "with too little memory, take fewer renderers or keep fewer people in [pool]"
                )
            if time.monotonic() - said > _SAY_EVERY:
                said = time.monotonic()
                self._progress.info(f"rendering for {(said - start) / 60:.1f} minutes: {self.report()}")

    def _is_over(self, start: float) -> bool:
        if not self._rendered or not all(path.exists() for path in self._held_out_files()):
            return False
        return self._rendered >= self._table.stills or time.monotonic() - start >= self._table.render_minutes * 60

    def _held_out_files(self) -> list[Path]:
        """Of this process."""
        numbers = range(self._process.rank, self._table.held_out, self._process.world)
        return [self._out / HELD_OUT_FOLDER / f"{number:04d}{HELD_OUT_SUFFIX}" for number in numbers]

    def _keep(self, kind: str, records: Sequence[EncodedSample], pictures: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Imagine people of one number of views, and keep their views. pictures: true views [V, 4, S, S] and hints [V, 5, S, S]."""
        for first in range(0, len(records), _TOGETHER):
            some = slice(first, first + _TOGETHER)
            generator = torch.Generator().manual_seed(step_seed(self._process.seed, self._people, self._process.rank))
            truth, hint = (torch.cat(part).to(self._process.device) for part in zip(*pictures[some], strict=True))
            self._stores[kind].add({"truth": truth, "hint": hint} | self._imagination.of(records[some], generator))
            self._people += len(records[some])

    def _judged(self, sample: StudioSample, number: int) -> dict[str, Tensor]:
        """A held-out person's views with the first photo given, on the CPU."""
        generator = torch.Generator().manual_seed(number)
        record = next(encode(sample.to(self._process.device), self._imagination.autoencoder))
        imagined = self._imagination.of([record], generator)
        return {"truth": sample.video[:, 0], "hint": sample.hint[0, :, 0], **{k: v.cpu() for k, v in imagined.items()}}


class Imagination:
    """The two models as they were before the training."""

    def __init__(
        self, transformer: MultiViewVideoTransformer, autoencoder: SmallVideoAutoencoder, device: torch.device
    ) -> None:
        self._transformer = transformer.to(device).requires_grad_(False).eval()
        self.autoencoder = autoencoder.to(device).requires_grad_(False).eval()
        self._device = device
        self._scheduler = make_scheduler()

    @torch.inference_mode()
    def of(self, records: Sequence[EncodedSample], generator: torch.Generator) -> dict[str, Tensor]:
        """`latents` and `plain` (see PictureStore) of all views of people, stills of one number of views."""
        store = LatentStore(len(records), self._device)
        for record in records:
            store.add(record)
        batch = store.everything()
        scene = batch.scene(torch.zeros(batch.latents.shape[:3], dtype=torch.bool))
        noise = torch.randn(scene.latents.shape, generator=generator).to(self._device)
        level = torch.randint(*_LEVELS, (len(records),), generator=generator).to(self._device)
        with torch.autocast("cuda", torch.bfloat16, enabled=self._device.type == "cuda"):
            imagined = denoise(self._transformer, scene, noise, steps=_STEPS)
            repaired = self._repaired(scene, noise, level)
            again = int(torch.randint(_AGAIN[0], _AGAIN[1] + 1, (), generator=generator))
            redrawn = denoise(self._transformer, scene, noise, steps=_STEPS, again=again)
        kinds = [scene.latents, repaired, redrawn, imagined]
        latents = torch.stack([kind[:, 1:].flatten(0, 1) for kind in kinds], dim=1)
        plain = [self.autoencoder.decode(part[:, None])[:, 0] for part in latents[:, _IMAGINED].float().split(_DECODED)]
        return {"latents": latents.half(), "plain": as_bytes(torch.cat(plain))}

    def _repaired(self, scene: LatentScene, noise: Tensor, level: Tensor) -> Tensor:
        """What the transformer takes the latents for, when it sees them at noise levels [B]: their mean, so without fine detail."""
        noisy = self._scheduler.add_noise(scene.latents, noise, level)
        given = scene.given[:, :, None, None, None]
        timestep = torch.where(scene.given, 0, level[:, None])
        x = torch.where(given, scene.latents, noisy)
        velocity = self._transformer(x, timestep, scene.time_index, scene.given, scene.conditioning)
        signal = self._scheduler.alphas_cumprod.to(noisy)[level].view(-1, 1, 1, 1, 1)
        return signal.sqrt() * noisy - (1 - signal).sqrt() * velocity.float()


@torch.no_grad()
def _decoded(
    decoder: nn.Module, person: Mapping[str, Tensor], device: torch.device, *, shown: bool, kind: int = _IMAGINED
) -> Tensor:
    """A held-out person's views [V, 4, S, S] from latents of a kind, with the hint shown or without."""
    latents = person["latents"][:, kind, None].float().to(device)
    hint = person["hint"][:, None].float().to(device) / 255
    return decoder(latents, hint if shown else without_hint(latents, hint.shape[-1]))[:, 0].float().clamp(0, 1)


def decoder_errors(
    decoder: nn.Module, person: Mapping[str, Tensor], device: torch.device, network: Lpips | None = None
) -> Tensor:
    """Sums of what _MEASURES names, and what they are of [5, 2].

    Absolute errors inside the warp, with the hint and without, are of views from the front that were drawn anew; those outside of
    imagined views, against the decoder as it was. Without a network there are no distances.
    """
    truth, hint, plain = (person[name].float().to(device) / 255 for name in ("truth", "hint", "plain"))
    seen, there = (hint[:, 3:4] > 0.5).float(), (truth[:, 3:4] > 0.5).float()
    is_front = seen.sum((1, 2, 3)) > _FRONT * there.sum((1, 2, 3))
    front = is_front.float().view(-1, 1, 1, 1)
    blind, full = (_decoded(decoder, person, device, shown=shown, kind=_REDRAWN) for shown in (False, True))
    imagined = _decoded(decoder, person, device, shown=True)
    away = 1 - functional.max_pool2d(seen, 33, 1, 16)
    sums = [
        (((made - wanted).abs().mean(1, keepdim=True) * mask).sum(), mask.sum())
        for made, wanted, mask in ((full, truth, front * seen), (blind, truth, front * seen), (imagined, plain, away))
    ]
    for shown in (imagined, _decoded(decoder, person, device, shown=False)):
        far = truth.new_zeros(())
        if network is not None and bool(is_front.any()):
            far = network.distances(*(p[is_front, :3] + (1 - p[is_front, 3:]) * _GREY for p in (shown, truth))).sum()
        sums.append((far, is_front.sum() if network is not None else far))
    return torch.tensor([[float(total), float(count)] for total, count in sums], dtype=torch.float64)
