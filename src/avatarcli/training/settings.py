"""Training settings: TOML files, those that ship by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from avatarcli.errors import UsageError
from avatarcli.settings import Count, Layer, Positive, Share, build, check_names, merged, read_layer
from avatarcli.training.loop import TrainConfig

ModelKind = Literal["autoencoder", "decoder", "mmvdm"]
_Range = Annotated[tuple[Count, Count] | None, Meta(extra={"allowed": "a whole number from 1 on, or [fewest, most]"})]


@dataclass(frozen=True)
class SourceSettings:
    """One folder of samples in a phase, or people who are rendered as [studio] says."""

    folder: str = "."  # below that of --data
    # Rendered people; for mmvdm and the decoder those of [pool]: in clips where `latents` are more than one, else in stills.
    studio: bool = False
    real: bool = False  # the real people of [pool]
    weight: Positive = 1.0  # how often it is drawn from, beside the others
    batch_size: Count | None = None  # default: that of [train]
    views: _Range = None  # fewest and most views of a sample, a random number of random ones; default: all
    latents: _Range = None  # fewest and most latents of a view, a random number from the first on; default: all

    def __post_init__(self) -> None:
        for name in ("views", "latents"):
            low, high = getattr(self, name) or (1, 1)
            if low > high:
                raise ValueError(f"{name} = [{low}, {high}]: the fewest are more than the most")


@dataclass(frozen=True)
class StudioTable:
    """[studio]: what sources that render work with."""

    assets: str = ""  # folder of the asset pack
    autoencoder: str | None = None  # folder of the model that encodes scenes for mmvdm; default: the one that ships
    clips: str | None = None  # folder of further motion
    skins: str | None = None  # folder of further skins, from `avatar data skins`
    size: Count = 256  # pixels
    face_views: int = 0  # further cameras, which see the face only
    photos: Count = 1  # references per person
    seed: int = 0


@dataclass(frozen=True)
class PoolTable:
    """[pool]: how rendered people are kept for mmvdm and the decoder. Numbers are for each GPU (each training process).

    A turn renders for `render_minutes`, then there is training, until `turns` equal parts of it are done.
    """

    renderers: Count = 4  # processes that render
    render_minutes: float = 5.0  # of a turn; it ends early when all who are kept have been replaced in it
    turns: Count = 1
    beside: Share = 0.0  # share of their time in which renderers work beside the training
    stills: Count = 8000  # people kept as single pictures, 1.8 MB each with ten views
    clips: Count = 500  # people kept in motion, 7 MB each with six views of nine frames
    views: Count = 8  # of a still, without face views
    clip_views: Count = 4
    clip_frames: Count = 9
    motion: Share = 0.06  # share of the people who are rendered in motion
    toned: Share = 0.6  # share of the people whose colors are changed
    first: int = 0  # number of the first person; earlier ones were seen by another training
    held_out: int = 8  # people to judge by, the first ones; never trained on. All GPUs together share them
    real: str | None = None  # folder of real people, a file of pictures each
    real_variants: Count = 4  # times that each is kept, in other colors
    real_held_out: int = 8  # the last ones of the folder, by name; never trained on


@dataclass(frozen=True)
class PhaseSettings:
    """A part of the training, up to the share `until` of its steps."""

    until: Share = 1.0
    sources: tuple[SourceSettings, ...] = (SourceSettings(),)


@dataclass(frozen=True)
class TrainSettings:
    """model: arguments of the model's class; loss: keyword arguments of its loss; curriculum: what is shown when;
    studio, pool: what rendered sources work with, and how they are kept."""

    train: TrainConfig
    model: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    curriculum: tuple[PhaseSettings, ...] = (PhaseSettings(),)
    studio: StudioTable | None = None
    pool: PoolTable = field(default_factory=PoolTable)


def load_settings(
    kind: ModelKind,
    config: str,
    *,
    model: Callable[..., Any],
    loss: Callable[..., Any],
    changes: Sequence[Layer] = (),
) -> TrainSettings:
    """Read a preset (`mini`, `studio`, `2b`) or a TOML file with the tables model, train, loss, curriculum, studio and pool.

    model and loss: what takes the arguments of these tables; changes: other values, later ones before earlier ones.

    Raises:
        UsageError: there is no such preset or file, or it holds what nothing takes.
    """
    presets = files("avatarcli.training") / "presets"
    preset, file = presets / f"{kind}-{config}.toml", Path(config)
    if not preset.is_file() and not file.is_file():
        names = sorted(p.name.removeprefix(f"{kind}-")[:-5] for p in presets.iterdir() if p.name.startswith(f"{kind}-"))
        raise UsageError(f"--config {config}: no such file; presets of {kind}: {', '.join(names)}")
    source = read_layer(preset if preset.is_file() else file, f"--config {config}")
    layers = [_with_ranges(layer) for layer in (source, *changes)]
    for layer in layers:
        for table, function in (("model", model), ("loss", loss)):
            if isinstance(arguments := layer.values.get(table), dict):
                check_names(layer.origin, f"{table}.", arguments, _keywords(function))
    settings = build(TrainSettings, [Layer("", {"train": {}}), *layers])
    shares = [phase.until for phase in settings.curriculum]
    if sorted(set(shares)) != shares or shares[-1:] != [1]:
        raise UsageError(f"{source.origin}: `until` of [[curriculum]] must rise to 1, it is {shares}")
    if not all(phase.sources for phase in settings.curriculum):
        raise UsageError(f"{source.origin}: a phase of [[curriculum]] needs sources")
    wanted = [item for phase in settings.curriculum for item in phase.sources]
    if any(item.studio for item in wanted) and not (settings.studio and settings.studio.assets):
        raise UsageError(
            f"{source.origin}: it renders people: name the asset pack's folder with --assets, or as `assets` of [studio]"
        )
    if any(item.real for item in wanted) and settings.pool.real is None:
        return _without_real(source.origin, settings)
    return settings


def _without_real(origin: str, settings: TrainSettings) -> TrainSettings:
    """Without real people the others are all there is."""
    curriculum = tuple(replace(p, sources=tuple(s for s in p.sources if not s.real)) for p in settings.curriculum)
    if not all(phase.sources for phase in curriculum):
        raise UsageError(f"{origin}: name the folder of real people with --real, or as `real` of [pool]")
    return replace(settings, curriculum=curriculum)


def _with_ranges(layer: Layer) -> Layer:
    """A single number of views or latents is the fewest and the most."""
    phases = layer.values.get("curriculum")
    if not isinstance(phases, list):
        return layer

    def ranged(value: Any) -> Any:
        if isinstance(value, list):
            return [ranged(item) for item in value]
        if not isinstance(value, dict):
            return value
        single = {name: [value[name]] * 2 for name in ("views", "latents") if isinstance(value.get(name), int)}
        return {**value, **single}

    listed = [
        merged(p, {"sources": ranged(p["sources"])}) if isinstance(p, dict) and "sources" in p else p for p in phases
    ]
    return replace(layer, values={**layer.values, "curriculum": listed})


def _keywords(function: Callable[..., Any]) -> set[str]:
    parameters = signature(function).parameters.values()
    return {p.name for p in parameters if p.default is not Parameter.empty}
