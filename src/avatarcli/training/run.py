"""What `avatar train` does: settings and samples in, a folder with a model out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache, partial
from inspect import signature
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder, with_normalised_hint
from avatarcli.diffusion.checkpoints import fill_from, load_model, load_transformer, save_int8
from avatarcli.diffusion.schedule import make_scheduler
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import UsageError
from avatarcli.progress import Progress, SilentProgress
from avatarcli.settings import Layer
from avatarcli.training.agreement import Process, training_device, training_state
from avatarcli.training.autoencoder import VideoBatch, autoencoder_loss
from avatarcli.training.clock import Clock
from avatarcli.training.data import SampleFolder, draw_scenes, draw_videos
from avatarcli.training.decoder import decoder_loss
from avatarcli.training.diffusion import MultiViewBatch, diffusion_loss
from avatarcli.training.loop import TrainConfig, step_seed, train
from avatarcli.training.pool.imagined import ImaginedPeople
from avatarcli.training.pool.pool import Pool
from avatarcli.training.settings import PhaseSettings, SourceSettings, TrainSettings, load_settings
from avatarcli.training.sources import Curriculum, Phase, Source
from avatarcli.training.studio_source import StudioBatches
from avatarcli.weights.lpips import Lpips
from avatarcli.weights.models import AUTOENCODER_FOLDERS, TRANSFORMER_FOLDER, autoencoder_folder, find_model

MODEL_FOLDER = "model"
INT8_FOLDER = "model-int8"
_MIXING = ("tail", "trunk", "split")  # the decoder's parts that mix frames, and what stands beside them
WEIGHTS_FOLDER = "weights"  # the transformer and its autoencoder, int8, as `--weights` takes them

Batch = TypeVar("Batch")
Module = TypeVar("Module", bound=nn.Module)
Draw = Callable[[torch.Generator], Batch]


def train_autoencoder(
    data: Path | None, out: Path, config: str, progress: Progress, *, changes: Sequence[Layer] = ()
) -> None:
    """Train the small autoencoder on a folder of videos (see `draw_videos`) and write it to `out`.

    Raises:
        UsageError: settings or samples cannot be used.
        WorkspaceError: `out` holds another model's checkpoint.
    """
    settings = load_settings("autoencoder", config, model=SmallVideoAutoencoder, loss=autoencoder_loss, changes=changes)
    clock = Clock(settings.train.steps, settings.train.minutes)
    studio = cache(lambda: _open_studio(settings))
    source = _curriculum(data, settings, clock, _read_videos, lambda count, wanted: studio().videos(count, wanted))
    torch.manual_seed(settings.train.seed)
    model = SmallVideoAutoencoder(**settings.model)
    loss = partial(autoencoder_loss, **settings.loss)
    result = train(model, source, loss, settings.train, out, progress, clock=clock)
    _write(model, out, settings.train, result.main_process)


def train_decoder(out: Path, config: str, start: Path, progress: Progress, *, changes: Sequence[Layer] = ()) -> None:
    """Train the decoder of a whole model's small autoencoder alone, on what its transformer imagines, and write the model to `out`.

    start: the model's folder. The layers that mix frames stay as they are, for all is trained on single pictures.

    Raises:
        UsageError: settings or samples cannot be used.
        WeightsError: `start`, or what judges pictures, cannot be loaded.
        WorkspaceError: `out` holds another model's checkpoint, or the render processes do not work.
    """
    settings = load_settings("decoder", config, model=with_normalised_hint, loss=decoder_loss, changes=changes)
    folder = autoencoder_folder(start)
    process = _process(settings)
    clock = Clock(settings.train.steps, settings.train.minutes)
    before = load_model(SmallVideoAutoencoder, folder)
    torch.manual_seed(settings.train.seed)
    model = with_normalised_hint(load_model(SmallVideoAutoencoder, folder))
    for name, part in model.decoder.named_children():
        if name in _MIXING:
            part.requires_grad_(False)
        else:
            _channels_last(part)
    perceptual = settings.loss.get("perceptual", signature(decoder_loss).parameters["perceptual"].default)
    network = _channels_last(Lpips("vgg")).to(process.device) if perceptual else None
    transformer = load_transformer(start / TRANSFORMER_FOLDER)
    of_first = progress if process.rank == 0 else SilentProgress()
    with ImaginedPeople(
        settings.studio, settings.pool, transformer, before, folder, out, process, of_first, network
    ) as people:
        curriculum = _curriculum(None, settings, clock, None, people.source)
        result = train(
            model.decoder,
            curriculum,
            partial(decoder_loss, network=network, **settings.loss),
            settings.train,
            out,
            progress,
            clock=clock,
            companion=people,
            describe=partial(_describe, settings, curriculum, settings.curriculum),
        )
    if result.main_process:
        save_int8(model, out / WEIGHTS_FOLDER / AUTOENCODER_FOLDERS[0])
        shutil.copytree(start / TRANSFORMER_FOLDER, out / WEIGHTS_FOLDER / TRANSFORMER_FOLDER, dirs_exist_ok=True)


def train_mmvdm(
    data: Path | None,
    out: Path,
    config: str,
    start: Path | None,
    progress: Progress,
    *,
    changes: Sequence[Layer] = (),
) -> None:
    """Train the diffusion model on encoded scenes (see `draw_scenes`) and on people rendered meanwhile, and write it to `out`.

    start: weights to start from, by default random ones: a CogVideoX transformer folder, a folder of a model of ours, or a file of
    weights for the [model] of the settings. changes: other settings than `config` has.

    Raises:
        UsageError: settings or samples cannot be used.
        WeightsError: `start` or the autoencoder cannot be loaded.
        WorkspaceError: `out` holds another model's checkpoint, or the render processes do not work.
    """
    settings = load_settings("mmvdm", config, model=MultiViewVideoTransformer, loss=diffusion_loss, changes=changes)
    torch.manual_seed(settings.train.seed)
    model = _transformer(settings, config, start)
    if settings.train.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    loss = partial(diffusion_loss, scheduler=make_scheduler(), **settings.loss)
    process = _process(settings)
    clock = Clock(settings.train.steps, settings.train.minutes)
    with ExitStack() as stack:

        @cache
        def pool() -> Pool:
            assert settings.studio is not None  # as the settings were checked
            own = settings.studio.autoencoder
            autoencoder = Path(own) if own else autoencoder_folder(find_model(None))
            dtype = torch.bfloat16 if settings.train.mixed_precision == "bf16" else torch.float32
            of_first = progress if process.rank == 0 else SilentProgress()
            opened = Pool(settings.studio, settings.pool, autoencoder, out, process, of_first, dtype=dtype)
            return stack.enter_context(opened)

        def draw(count: int, wanted: SourceSettings) -> Source[MultiViewBatch]:
            return pool().source(count, wanted)

        curriculum = _curriculum(data, settings, clock, _read_scenes, draw)
        phases = _phases(data, settings)
        pooled = any(source.studio or source.real for phase in phases for source in phase.sources)
        if pooled and settings.train.shard:
            raise UsageError(f"--config {config}: rendered people work with whole models only: set shard = false")
        result = train(
            model,
            curriculum,
            loss,
            settings.train,
            out,
            progress,
            clock=clock,
            companion=pool() if pooled else None,
            describe=partial(_describe, settings, curriculum, phases),
        )
    _write(model, out, settings.train, result.main_process)
    if pooled and result.main_process:
        save_int8(model, out / WEIGHTS_FOLDER / TRANSFORMER_FOLDER)
        shutil.copytree(pool().autoencoder_folder, out / WEIGHTS_FOLDER / AUTOENCODER_FOLDERS[0], dirs_exist_ok=True)


def _transformer(settings: TrainSettings, config: str, start: Path | None) -> MultiViewVideoTransformer:
    """The model to train, with its first weights."""
    if not settings.model:
        if start is None or start.is_file():
            raise UsageError(f"the settings {config} start from a trained model: name its folder with --init")
        return load_transformer(start)
    model = MultiViewVideoTransformer(**settings.model)
    if start is not None:
        fill_from(model, start)
    return model


def _open_studio(settings: TrainSettings) -> StudioBatches:
    assert settings.studio is not None  # as the settings were checked
    return StudioBatches(settings.studio, _process(settings))


def _process(settings: TrainSettings) -> Process:
    state = training_state()
    return Process(state.process_index, state.num_processes, settings.train.seed, training_device())


def _phases(data: Path | None, settings: TrainSettings) -> tuple[PhaseSettings, ...]:
    """Those of the settings. A folder with samples of its own is the only source there is."""
    return (PhaseSettings(),) if data is not None and any(data.glob("*.safetensors")) else settings.curriculum


def _curriculum(
    data: Path | None,
    settings: TrainSettings,
    clock: Clock,
    read: Callable[[SampleFolder, int, SourceSettings], Draw[Batch]] | None,
    render: Callable[[int, SourceSettings], Source[Batch]],
) -> Curriculum[Batch]:
    """The phases of the settings on the folders below `data` and on who is rendered."""
    process = _process(settings)

    def source(wanted: SourceSettings) -> Source[Batch]:
        count = wanted.batch_size or settings.train.batch_size
        if wanted.studio or wanted.real:
            return render(count, wanted)
        if read is None:
            raise UsageError(
                "a decoder is trained on rendered and real people only: set `studio` or `real` of its sources"
            )
        if data is None:
            raise UsageError("name the folder of samples with --data")
        draw = read(SampleFolder(data / wanted.folder), count, wanted)
        return lambda step: draw(torch.Generator().manual_seed(step_seed(process.seed, step, process.rank)))

    phases = _phases(data, settings)
    opened = [Phase(p.until, [(source(wanted), wanted.weight) for wanted in p.sources]) for p in phases]
    return Curriculum(opened, clock.share, settings.train.seed)


def _describe(
    settings: TrainSettings, curriculum: Curriculum[Batch], phases: Sequence[PhaseSettings], step: int
) -> tuple[str, int]:
    """What a step's batch is of, and how many samples."""
    phase, chosen = curriculum.choose(step)
    wanted = phases[phase].sources[chosen]
    in_motion = wanted.latents is not None and wanted.latents[1] > 1
    rendered = "clips" if in_motion else "studio"
    kind = "real" if wanted.real else rendered if wanted.studio else wanted.folder
    return kind, wanted.batch_size or settings.train.batch_size


def _read_videos(folder: SampleFolder, count: int, wanted: SourceSettings) -> Draw[VideoBatch]:
    return partial(draw_videos, folder, count, training_device())


def _read_scenes(folder: SampleFolder, count: int, wanted: SourceSettings) -> Draw[MultiViewBatch]:
    return partial(draw_scenes, folder, count, training_device(), views=wanted.views, latents=wanted.latents)


def _channels_last(module: Module) -> Module:
    """The same module, whose convolutions are then faster on a GPU."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def _write(
    model: SmallVideoAutoencoder | MultiViewVideoTransformer, out: Path, config: TrainConfig, main_process: bool
) -> None:
    """The averaged weights as diffusers writes them, and as int8."""
    if not main_process:
        return
    limit = f"{config.piece_mib}MB" if config.piece_mib else "10GB"
    model.save_pretrained(out / MODEL_FOLDER, max_shard_size=limit)
    save_int8(model, out / INT8_FOLDER)
