"""What an avatar's file may hold. Files come from anywhere: what is not checked here would be drawn, or fail far from its cause."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

import torch
from torch import Tensor

from avatarcli.head.expressions import EXPRESSION_NAMES
from avatarcli.head.model import HeadModel
from avatarcli.multiview.framing import Framing

HEAD_MODEL = "avatarcli-head-1"

_REACH = 10.0  # metres: beyond any bust, whatever it wears
_SPANS = (0.05, _REACH)  # metres that a picture may show: from an eye to all there is
_UNBOUNDED = 1e6  # of numbers without a unit: far beyond what is trained, and their products stay finite
_SHORTEST_QUATERNION = 1e-3
_SHA256 = re.compile("[0-9a-f]{64}")


class _Rule(NamedTuple):
    """shape: sizes, or letters for sizes that must agree; low, high: what finite values may reach."""

    shape: tuple[str | int, ...]
    low: float
    high: float


_RULES = {
    "means": _Rule(("G", 3), -_REACH, _REACH),
    "binding": _Rule(("G",), 0, 2**31),  # the end is that of the doubled mesh, see `check_tensors`
    "quaternions": _Rule(("G", 4), -_UNBOUNDED, _UNBOUNDED),
    "log_scales": _Rule(("G", 3), -40.0, 0.0),  # up to a Gaussian as large as a metre; below, none is ever seen
    "opacity_logits": _Rule(("G",), -_UNBOUNDED, _UNBOUNDED),
    "sh": _Rule(("G", 1, 3), -_UNBOUNDED, _UNBOUNDED),
    "correctives.hidden_weight": _Rule(("h", len(EXPRESSION_NAMES)), -_UNBOUNDED, _UNBOUNDED),
    "correctives.hidden_bias": _Rule(("h",), -_UNBOUNDED, _UNBOUNDED),
    "correctives.output_weight": _Rule(("k", "h"), -_UNBOUNDED, _UNBOUNDED),
    "correctives.basis": _Rule(("G", "k", 3), -_REACH, _REACH),
    "head.neutral": _Rule(("N", 3), -_REACH, _REACH),
    "head.joints": _Rule(("J", 3), -_REACH, _REACH),
}


def check_tensors(tensors: dict[str, Tensor], model: HeadModel) -> None:
    """Raise ValueError unless these are the tensors of an avatar on the head model, with values that can be drawn."""
    if names := _RULES.keys() ^ tensors.keys():
        name = min(names)
        raise ValueError(f"{name} is missing" if name in _RULES else f"{name} does not belong there")
    sizes = {"N": model.vertex_count, "J": len(model.joint_names)}
    for name, rule in _RULES.items():
        value = tensors[name]
        if value.dtype == torch.bool or value.is_complex() or value.is_floating_point() == (name == "binding"):
            raise ValueError(f"{name} holds values of the kind {value.dtype}")
        wanted = [sizes.get(size, size) if isinstance(size, str) else size for size in rule.shape]
        if value.ndim != len(wanted) or any(
            isinstance(size, int) and size != found for size, found in zip(wanted, value.shape, strict=True)
        ):
            raise ValueError(f"{name} has shape {list(value.shape)}; want [{', '.join(map(str, wanted))}]")
        sizes |= {size: found for size, found in zip(rule.shape, value.shape, strict=True) if isinstance(size, str)}
        if sizes["G"] == 0:
            raise ValueError("there are no Gaussians")
        high = 2 * len(model.faces) - 1 if name == "binding" else rule.high
        _check_range(name, value, rule.low, high)
    if tensors["quaternions"].float().norm(dim=-1).min() < _SHORTEST_QUATERNION:
        raise ValueError("quaternions holds one without a direction")


def _check_range(name: str, value: Tensor, low: float, high: float) -> None:
    if value.numel() == 0:
        return
    least, most = float(value.min()), float(value.max())  # NaN if there is any
    if not (math.isfinite(least) and math.isfinite(most)):
        raise ValueError(f"{name} holds NaN or infinity")
    if least < low or most > high:
        raise ValueError(f"{name} ranges from {least:g} to {most:g}; want {low:g} to {high:g}")


def read_framing(text: str) -> Framing:
    """The framing of the metadata. Raises ValueError, KeyError, TypeError or OverflowError when it is none."""
    content = json.loads(text)
    x, y, z = (float(value) for value in content["target"])
    span = float(content["span"])
    if not all(abs(value) <= _REACH for value in (x, y, z)) or not _SPANS[0] <= span <= _SPANS[1]:
        raise ValueError(f"the framing looks at {x:g}, {y:g}, {z:g} over {span:g} m")
    return Framing((x, y, z), span)


def read_provenance(text: str) -> dict[str, str]:
    """The provenance of the metadata. Raises ValueError when it is none."""
    content: Any = json.loads(text)
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise ValueError("the provenance is not a table of texts")
    # It goes into the marks of origin of all that is drawn.
    if "photo_sha256" in content and not _SHA256.fullmatch(content["photo_sha256"]):
        raise ValueError("the provenance names no photo's SHA-256")
    return content
