"""Training settings: TOML files, those that ship by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Literal

from avatarcli.errors import UsageError
from avatarcli.training.loop import TrainConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ModelKind = Literal["autoencoder", "mmvdm"]


@dataclass(frozen=True)
class SourceSettings:
    """One folder of samples in a phase, or people who are rendered as [studio] says."""

    folder: str = "."  # below that of --data
    studio: bool = (
        False  # rendered people; for mmvdm from the pool: in clips where `latents` are more than one, else in stills
    )
    real: bool = False  # the real people of [pool]
    weight: float = 1.0  # how often it is drawn from, beside the others
    batch_size: int | None = None  # default: that of [train]
    views: tuple[int, int] | None = (
        None  # fewest and most views of a sample, a random number of random ones; default: all
    )
    latents: tuple[int, int] | None = (
        None  # fewest and most latents of a view, a random number from the first on; default: all
    )


@dataclass(frozen=True)
class StudioTable:
    """[studio]: what sources that render work with."""

    assets: str = ""  # folder of the asset pack
    autoencoder: str | None = None  # folder of the model that encodes scenes for mmvdm; default: the one that ships
    clips: str | None = None  # folder of further motion
    skins: str | None = None  # folder of further skins, from `avatar data skins`
    size: int = 256  # pixels
    face_views: int = 0  # further cameras, which see the face only
    photos: int = 1  # references a person
    seed: int = 0


@dataclass(frozen=True)
class PoolTable:
    """[pool]: how rendered people are kept for mmvdm. Numbers are for each GPU (each training process).

    A turn renders for `render_minutes`, then there is training, until `turns` equal parts of it are done.
    """

    renderers: int = 4  # processes that render
    render_minutes: float = 5.0  # of a turn; it ends early when all who are kept have been replaced in it
    turns: int = 1
    beside: float = 0.0  # share of their time in which renderers work beside the training
    stills: int = 8000  # people kept as single pictures, 1.8 MB each with ten views
    clips: int = 500  # people kept in motion, 7 MB each with six views of nine frames
    views: int = 8  # of a still, without face views
    clip_views: int = 4
    clip_frames: int = 9
    motion: float = 0.06  # share of the people who are rendered in motion
    toned: float = 0.6  # share of the people whose colours are changed
    first: int = 0  # number of the first person; earlier ones were seen by another training
    held_out: int = 8  # people to judge by, the first ones; never trained on. All GPUs together share them
    real: str | None = None  # folder of real people, a file of pictures each
    real_variants: int = 4  # times that each is kept, in other colours
    real_held_out: int = 8  # the last ones of the folder, by name; never trained on


@dataclass(frozen=True)
class PhaseSettings:
    """A part of the training, up to the share `until` of its steps."""

    until: float = 1.0
    sources: tuple[SourceSettings, ...] = (SourceSettings(),)


@dataclass(frozen=True)
class TrainSettings:
    """model: arguments of the model's class; loss: keyword arguments of its loss; curriculum: what is shown when;
    studio, pool: what rendered sources work with, and how they are kept."""

    model: dict[str, Any]
    loss: dict[str, Any]
    train: TrainConfig
    curriculum: tuple[PhaseSettings, ...] = (PhaseSettings(),)
    studio: StudioTable | None = None
    pool: PoolTable = PoolTable()


def load_settings(
    kind: ModelKind,
    config: str,
    *,
    model: Callable[..., Any],
    loss: Callable[..., Any],
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> TrainSettings:
    """Read a preset (`mini`, `studio`, `2b`) or a TOML file with the tables model, train, loss, curriculum, studio and pool.

    model and loss: what takes the arguments of these tables; changes: values for settings of tables, instead of those there.

    Raises:
        UsageError: there is no such preset or file, or it holds what nothing takes.
    """
    presets = files("avatarcli.training") / "presets"
    preset = presets / f"{kind}-{config}.toml"
    source = preset if preset.is_file() else Path(config)
    try:
        content = tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        names = sorted(p.name.removeprefix(f"{kind}-")[:-5] for p in presets.iterdir() if p.name.startswith(f"{kind}-"))
        raise UsageError(f"--config {config}: no such file; presets of {kind}: {', '.join(names)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {config}: not TOML ({error})") from error
    for name, values in (changes or {}).items():
        content[name] = {**content.get(name, {}), **values}
    tables = {
        "model": _keywords(model),
        "loss": _keywords(loss),
        "train": {field.name for field in fields(TrainConfig)},
        "studio": {field.name for field in fields(StudioTable)},
        "pool": {field.name for field in fields(PoolTable)},
    }
    _check(config, "the file", content, {*tables, "curriculum"})
    for name, allowed in tables.items():
        _check(config, f"[{name}]", content.get(name, {}), allowed)
    try:
        train = TrainConfig(**content.get("train", {}))
    except TypeError as error:
        raise UsageError(
            f"--config {config}: [train] needs steps, batch_size and learning_rate (or minutes instead of steps)"
        ) from error
    phases = content.get("curriculum", [{}])
    if not isinstance(phases, list) or not phases:
        raise UsageError(f"--config {config}: write phases as [[curriculum]]")
    curriculum = tuple(_phase(config, phase) for phase in phases)
    shares = [phase.until for phase in curriculum]
    if sorted(set(shares)) != shares or shares[-1] != 1:
        raise UsageError(f"--config {config}: `until` of [[curriculum]] must rise to 1, it is {shares}")
    sources = [source for phase in curriculum for source in phase.sources]
    studio = StudioTable(**content["studio"]) if "studio" in content else None
    if any(source.studio for source in sources) and not (studio and studio.assets):
        raise UsageError(
            f"--config {config}: it renders people: name the asset pack's folder with --assets, or as `assets` of [studio]"
        )
    pool = PoolTable(**content.get("pool", {}))
    if any(source.real for source in sources) and pool.real is None:
        # Without real people the others are all there is.
        curriculum = tuple(replace(p, sources=tuple(s for s in p.sources if not s.real)) for p in curriculum)
        if not all(phase.sources for phase in curriculum):
            raise UsageError(f"--config {config}: name the folder of real people with --real, or as `real` of [pool]")
    _check_pool(config, pool)
    return TrainSettings(content.get("model", {}), content.get("loss", {}), train, curriculum, studio, pool)


def _check_pool(config: str, pool: PoolTable) -> None:
    least = {"renderers": 1, "turns": 1, "stills": 1, "clips": 1, "real_variants": 1}
    for name, bound in least.items():
        if getattr(pool, name) < bound:
            raise UsageError(f"--config {config}: {name} of [pool] is {getattr(pool, name)}, wanted at least {bound}")
    for name in ("beside", "motion", "toned"):
        if not 0 <= getattr(pool, name) <= 1:
            raise UsageError(
                f"--config {config}: {name} of [pool] is {getattr(pool, name)}, wanted a share from 0 to 1"
            )


def _phase(config: str, content: Mapping[str, Any]) -> PhaseSettings:
    _check(config, "[[curriculum]]", content, {field.name for field in fields(PhaseSettings)})
    sources = []
    for source in content.get("sources", [{}]):
        _check(config, "a source", source, {field.name for field in fields(SourceSettings)})
        ranges = {name: _range(config, name, source[name]) for name in ("views", "latents") if name in source}
        sources.append(SourceSettings(**{**source, **ranges}))
    if not sources or not all(source.weight > 0 for source in sources):
        raise UsageError(f"--config {config}: a phase of [[curriculum]] needs sources with weights above 0")
    return PhaseSettings(content.get("until", 1.0), tuple(sources))


def _range(config: str, name: str, value: Any) -> tuple[int, int]:
    """A number, or the fewest and the most."""
    low, high = value if isinstance(value, list) and len(value) == 2 else (value, value)
    if not (isinstance(low, int) and isinstance(high, int) and 1 <= low <= high):
        raise UsageError(f"--config {config}: {name} = {value} is no number of {name}, nor [fewest, most]")
    return low, high


def _keywords(function: Callable[..., Any]) -> set[str]:
    parameters = signature(function).parameters.values()
    return {p.name for p in parameters if p.default is not Parameter.empty}


def _check(config: str, where: str, table: Mapping[str, Any], allowed: set[str]) -> None:
    if not isinstance(table, dict):
        raise UsageError(f"--config {config}: {where} is not a table")
    unknown = sorted(table.keys() - allowed)
    if unknown:
        raise UsageError(
            f"--config {config}: {where} has no setting {unknown[0]}; there are {', '.join(sorted(allowed))}"
        )
