"""What `avatar train` does: settings and samples in, a folder with a model out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import PartialState

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.checkpoints import load_transformer, save_int8
from avatarcli.diffusion.schedule import make_scheduler
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import UsageError
from avatarcli.progress import Progress
from avatarcli.training.autoencoder import VideoBatch, autoencoder_loss
from avatarcli.training.data import SampleFolder, draw_scenes, draw_videos
from avatarcli.training.diffusion import MultiViewBatch, diffusion_loss
from avatarcli.training.loop import TrainConfig, step_seed, train, training_device
from avatarcli.training.settings import PhaseSettings, SourceSettings, TrainSettings, load_settings
from avatarcli.training.sources import Curriculum, Phase, Source
from avatarcli.training.studio_source import Process, StudioBatches

MODEL_FOLDER = "model"
INT8_FOLDER = "model-int8"

Batch = TypeVar("Batch")
Draw = Callable[[torch.Generator], Batch]


def train_autoencoder(data: Path | None, out: Path, config: str, progress: Progress) -> None:
    """Train the small autoencoder on a folder of videos (see `draw_videos`) and write it to `out`.

    Raises:
        UsageError: settings or samples cannot be used.
        WorkspaceError: `out` holds another model's checkpoint.
    """
    settings = load_settings("autoencoder", config, model=SmallVideoAutoencoder, loss=autoencoder_loss)
    source = _curriculum(data, settings, _read_videos, StudioBatches.videos)
    torch.manual_seed(settings.train.seed)
    model = SmallVideoAutoencoder(**settings.model)
    result = train(model, source, partial(autoencoder_loss, **settings.loss), settings.train, out, progress)
    _write(model, out, settings.train, result.main_process)


def train_mmvdm(data: Path | None, out: Path, config: str, base: Path | None, progress: Progress) -> None:
    """Train the diffusion model on a folder of encoded scenes (see `draw_scenes`) and write it to `out`.

    base: a CogVideoX transformer folder, or a model of ours, to start from; default random weights.

    Raises:
        UsageError: settings or samples cannot be used.
        WeightsError: `base` cannot be loaded.
        WorkspaceError: `out` holds another model's checkpoint.
    """
    settings = load_settings("mmvdm", config, model=MultiViewVideoTransformer, loss=diffusion_loss)
    if base is not None and settings.model:
        raise UsageError(f"--base {base} fixes the architecture: remove [model] from the settings {config}")
    if base is None and not settings.model:
        raise UsageError(f"the settings {config} start from a trained model: name its folder with --base")
    source = _curriculum(data, settings, _read_scenes, StudioBatches.scenes)
    torch.manual_seed(settings.train.seed)
    model = MultiViewVideoTransformer(**settings.model) if base is None else load_transformer(base)
    if settings.train.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    loss = partial(diffusion_loss, scheduler=make_scheduler(), **settings.loss)
    result = train(model, source, loss, settings.train, out, progress)
    _write(model, out, settings.train, result.main_process)


def _curriculum(
    data: Path | None,
    settings: TrainSettings,
    read: Callable[[SampleFolder, int, SourceSettings], Draw[Batch]],
    render: Callable[[StudioBatches, int, SourceSettings], Source[Batch]],
) -> Curriculum[Batch]:
    """The phases of the settings on the folders below `data`. A folder with samples of its own is the only source there is."""
    phases = settings.curriculum
    if data is not None and any(data.glob("*.safetensors")):
        phases = (PhaseSettings(),)
    state = PartialState()
    process = Process(state.process_index, state.num_processes, settings.train.seed, training_device())
    studio = cache(lambda: _open_studio(settings, process))

    def source(wanted: SourceSettings) -> Source[Batch]:
        count = wanted.batch_size or settings.train.batch_size
        if wanted.studio:
            return render(studio(), count, wanted)
        if data is None:
            raise UsageError("name the folder of samples with --data")
        draw = read(SampleFolder(data / wanted.folder), count, wanted)
        return lambda step: draw(torch.Generator().manual_seed(step_seed(process.seed, step, process.rank)))

    opened = [Phase(p.until, [(source(wanted), wanted.weight) for wanted in p.sources]) for p in phases]
    return Curriculum(opened, settings.train.steps, settings.train.seed)


def _open_studio(settings: TrainSettings, process: Process) -> StudioBatches:
    assert settings.studio is not None  # as the settings were checked
    return StudioBatches(settings.studio, process)


def _read_videos(folder: SampleFolder, count: int, wanted: SourceSettings) -> Draw[VideoBatch]:
    return partial(draw_videos, folder, count, training_device())


def _read_scenes(folder: SampleFolder, count: int, wanted: SourceSettings) -> Draw[MultiViewBatch]:
    return partial(draw_scenes, folder, count, training_device(), views=wanted.views, latents=wanted.latents)


def _write(
    model: SmallVideoAutoencoder | MultiViewVideoTransformer, out: Path, config: TrainConfig, main_process: bool
) -> None:
    """The averaged weights as diffusers writes them, and as int8."""
    if not main_process:
        return
    limit = f"{config.piece_mib}MB" if config.piece_mib else "10GB"
    model.save_pretrained(out / MODEL_FOLDER, max_shard_size=limit)
    save_int8(model, out / INT8_FOLDER)
