"""Training settings: TOML files, those that ship by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
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
    """One folder of samples in a phase, or people rendered as they are needed."""

    folder: str = "."  # below that of --data
    studio: bool = False  # render as [studio] says, and read no folder
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

    assets: str  # folder of the asset pack
    autoencoder: str | None = None  # folder of the model that encodes scenes for mmvdm
    clips: str | None = None  # folder of further motion
    skins: str | None = None  # folder of further skins, from `avatar data skins`
    size: int = 256  # pixels
    face_views: int = 0  # further cameras, which see the face only
    photos: int = 1  # references a person
    seed: int = 0


@dataclass(frozen=True)
class PhaseSettings:
    """A part of the training, up to the share `until` of its steps."""

    until: float = 1.0
    sources: tuple[SourceSettings, ...] = (SourceSettings(),)


@dataclass(frozen=True)
class TrainSettings:
    """model: arguments of the model's class; loss: keyword arguments of its loss; curriculum: what is shown when;
    studio: what rendered sources work with."""

    model: dict[str, Any]
    loss: dict[str, Any]
    train: TrainConfig
    curriculum: tuple[PhaseSettings, ...] = (PhaseSettings(),)
    studio: StudioTable | None = None


def load_settings(
    kind: ModelKind, config: str, *, model: Callable[..., Any], loss: Callable[..., Any]
) -> TrainSettings:
    """Read a preset (`mini`, `2b`) or a TOML file with the tables model, train, loss, curriculum and studio.

    model and loss: what takes the arguments of these tables.

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
    tables = {
        "model": _keywords(model),
        "loss": _keywords(loss),
        "train": {field.name for field in fields(TrainConfig)},
        "studio": {field.name for field in fields(StudioTable)},
    }
    _check(config, "the file", content, {*tables, "curriculum"})
    for name, allowed in tables.items():
        _check(config, f"[{name}]", content.get(name, {}), allowed)
    try:
        train = TrainConfig(**content.get("train", {}))
    except TypeError as error:
        raise UsageError(f"--config {config}: [train] needs steps, batch_size and learning_rate") from error
    phases = content.get("curriculum", [{}])
    if not isinstance(phases, list) or not phases:
        raise UsageError(f"--config {config}: write phases as [[curriculum]]")
    curriculum = tuple(_phase(config, phase) for phase in phases)
    shares = [phase.until for phase in curriculum]
    if sorted(set(shares)) != shares or shares[-1] != 1:
        raise UsageError(f"--config {config}: `until` of [[curriculum]] must rise to 1, it is {shares}")
    studio = content.get("studio")
    if any(source.studio for phase in curriculum for source in phase.sources) and "assets" not in (studio or {}):
        raise UsageError(
            f"--config {config}: a source with studio = true needs [studio] with `assets`, the pack's folder"
        )
    table = None if studio is None else StudioTable(**studio)
    return TrainSettings(content.get("model", {}), content.get("loss", {}), train, curriculum, table)


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
