"""What `avatar train` does: settings and samples in, a folder with a model out."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.checkpoints import load_cogvideox_transformer, load_model, save_int8
from avatarcli.diffusion.schedule import make_scheduler
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import UsageError
from avatarcli.progress import Progress
from avatarcli.training.autoencoder import autoencoder_loss
from avatarcli.training.data import SampleFolder, draw_scenes, draw_videos
from avatarcli.training.diffusion import diffusion_loss
from avatarcli.training.loop import TrainConfig, train, training_device
from avatarcli.training.settings import load_settings

MODEL_FOLDER = "model"
INT8_FOLDER = "model-int8"


def train_autoencoder(data: Path, out: Path, config: str, progress: Progress) -> None:
    """Train the small autoencoder on a folder of videos (see `draw_videos`) and write it to `out`.

    Raises:
        UsageError: settings or samples cannot be used.
        WorkspaceError: `out` holds another model's checkpoint.
    """
    settings = load_settings("autoencoder", config, model=SmallVideoAutoencoder, loss=autoencoder_loss)
    folder = SampleFolder(data)
    torch.manual_seed(settings.train.seed)
    model = SmallVideoAutoencoder(**settings.model)
    source = partial(draw_videos, folder, settings.train.batch_size, training_device())
    result = train(model, source, partial(autoencoder_loss, **settings.loss), settings.train, out, progress)
    _write(model, out, settings.train, result.main_process)


def train_mmvdm(data: Path, out: Path, config: str, base: Path | None, progress: Progress) -> None:
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
    folder = SampleFolder(data)
    torch.manual_seed(settings.train.seed)
    model = MultiViewVideoTransformer(**settings.model) if base is None else _load_base(base)
    if settings.train.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    source = partial(draw_scenes, folder, settings.train.batch_size, training_device())
    loss = partial(diffusion_loss, scheduler=make_scheduler(), **settings.loss)
    result = train(model, source, loss, settings.train, out, progress)
    _write(model, out, settings.train, result.main_process)


def _load_base(folder: Path) -> MultiViewVideoTransformer:
    config = folder / "config.json"
    if config.is_file() and MultiViewVideoTransformer.__name__ in config.read_text(encoding="utf-8"):
        return load_model(MultiViewVideoTransformer, folder)
    return load_cogvideox_transformer(folder)


def _write(
    model: SmallVideoAutoencoder | MultiViewVideoTransformer, out: Path, config: TrainConfig, main_process: bool
) -> None:
    """The averaged weights as diffusers writes them, and as int8."""
    if not main_process:
        return
    limit = f"{config.piece_mib}MB" if config.piece_mib else "10GB"
    model.save_pretrained(out / MODEL_FOLDER, max_shard_size=limit)
    save_int8(model, out / INT8_FOLDER)
