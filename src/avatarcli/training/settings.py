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
class TrainSettings:
    """model: arguments of the model's class; loss: keyword arguments of its loss."""

    model: dict[str, Any]
    loss: dict[str, Any]
    train: TrainConfig


def load_settings(
    kind: ModelKind, config: str, *, model: Callable[..., Any], loss: Callable[..., Any]
) -> TrainSettings:
    """Read a preset (`mini`, `2b`) or a TOML file with the tables model, train and loss.

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
    }
    _check(config, "the file", content, set(tables))
    for name, allowed in tables.items():
        _check(config, f"[{name}]", content.get(name, {}), allowed)
    try:
        train = TrainConfig(**content.get("train", {}))
    except TypeError as error:
        raise UsageError(f"--config {config}: [train] needs steps, batch_size and learning_rate") from error
    return TrainSettings(content.get("model", {}), content.get("loss", {}), train)


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
