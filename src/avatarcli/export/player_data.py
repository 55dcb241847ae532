"""The avatar as the HTML player reads it: a JSON header and packed arrays, quantised, deflated and in base64."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avatarcli.clips.clip import Clip
from avatarcli.gaussians import _raster_rules as rules
from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.head.expressions import BLINKS, EXPRESSION_NAMES, NAMED_EXPRESSIONS
from avatarcli.head.model import NECK_SHARE
from avatarcli.head.shutting import LONGEST
from avatarcli.multiview.framing import DISTANCE

Array = npt.NDArray[Any]
_JOINTS = ("neck01", "neck02", "neck03", "head")


def pack_player_data(avatar: Avatar, clips: Mapping[str, Clip], about: Mapping[str, str]) -> str:
    """Text for the page: base64 of zlib's deflate of [length of the header u32][header, JSON][arrays].

    about: strings that the page shows and carries. The player's `decodeAvatar` is the inverse.
    """
    packer = _Packer()
    _pack_mesh(packer, avatar)
    _pack_gaussians(packer, avatar)
    for index, clip in enumerate(clips.values()):
        _pack_clip(packer, index, clip)
    header = {
        "about": dict(about),
        "names": EXPRESSION_NAMES,
        "faces": {name: weights for name, weights in NAMED_EXPRESSIONS.items() if weights},
        "framing": {"target": avatar.framing.target, "span": avatar.framing.span, "distance": DISTANCE},
        "blinks": {"expressions": BLINKS, "longest": LONGEST},
        "neckShare": [NECK_SHARE.get(name, 0.0) for name in _JOINTS],
        "clips": [{"name": name, "fps": clip.fps, "frames": len(clip)} for name, clip in clips.items()],
        "rules": {
            "near": rules.NEAR_PLANE,
            "eps2d": rules.EPS_2D,
            "alphaMax": rules.ALPHA_MAX,
            "alphaMin": rules.ALPHA_MIN,
            "margin": rules.FIELD_OF_VIEW_MARGIN,
        },
        "arrays": packer.table,
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    content = len(text).to_bytes(4, "little") + text + packer.content()
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii")


class _Packer:
    """Arrays one after another, each at a multiple of 4 bytes, and the table that finds them again."""

    def __init__(self) -> None:
        self.table: dict[str, dict[str, Any]] = {}
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, name: str, values: Tensor | Array, dtype: str) -> None:
        """Store as it is: dtype is numpy's, such as u2."""
        array = np.asarray(values.detach().cpu().numpy() if isinstance(values, Tensor) else values)
        self._append(name, array.astype("<" + dtype), dtype, {})

    def quantise(self, name: str, values: Tensor | Array, dtype: str) -> None:
        """Store in all steps of an unsigned integer between the least and the largest value."""
        array = np.asarray(values.detach().cpu().numpy() if isinstance(values, Tensor) else values, np.float64)
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        scale = (high - low) / np.iinfo(dtype).max or 1.0
        self._append(name, np.rint((array - low) / scale).astype("<" + dtype), dtype, {"scale": scale, "offset": low})

    def content(self) -> bytes:
        return b"".join(self._parts)

    def _append(self, name: str, array: Array, dtype: str, decoding: dict[str, float]) -> None:
        data = array.tobytes()
        data += b"\0" * (-len(data) % 4)
        self.table[name] = {"type": dtype, "shape": list(array.shape), "start": self._size, **decoding}
        self._parts.append(data)
        self._size += len(data)


def _pack_mesh(packer: _Packer, avatar: Avatar) -> None:
    """The vertices that carry Gaussians and what moves them; rows of unused vertices are left out."""
    head, model = avatar.head, avatar.head.model
    corners = avatar.rig().corners
    still = corners >= model.vertex_count
    used, rows = torch.unique(corners % model.vertex_count, return_inverse=True)
    packer.add("corners", rows + still * len(used), "u2")
    packer.add("neutral", head.neutral[used], "f4")
    packer.quantise("skinning", model.skinning[used], "u2")
    packer.quantise("coverSkinning", model.cover_skinning[used], "u2")
    eyes = torch.zeros(model.vertex_count)
    for index, name in enumerate(("eye_l", "eye_r"), start=1):
        eyes[model.part(name)] = index
    packer.add("eye", eyes[used], "u1")
    names = [*_JOINTS, "eye_l", "eye_r"]
    packer.add("joints", head.joints[[model.joint_names.index(name) for name in names]], "f4")
    basis = head.expression_basis[:, used]
    moved = [row.abs().amax(-1).nonzero()[:, 0] for row in basis]
    packer.add("expressionStart", np.cumsum([0, *map(len, moved)]), "u4")
    packer.add("expressionVertex", torch.cat(moved), "u2")
    packer.quantise("expressionDelta", torch.cat([row[at] for row, at in zip(basis, moved, strict=True)]), "u2")
    blinks = head.blinks
    carrying = torch.isin(blinks.rows, used)
    packer.add("blinkVertex", torch.searchsorted(used, blinks.rows[carrying]), "u2")
    packer.quantise("blinkWay", blinks.way[:, carrying], "u2")
    packer.quantise("blinkSpared", blinks.spared[..., carrying], "u1")


def _pack_gaussians(packer: _Packer, avatar: Avatar) -> None:
    packer.add("carrier", avatar.rig().carrier, "u2")
    packer.quantise("means", avatar.means, "u2")
    packer.quantise("quaternions", torch.nn.functional.normalize(avatar.quaternions, dim=-1), "u2")
    packer.quantise("logScales", avatar.log_scales, "u2")
    packer.quantise("opacities", avatar.opacity_logits.sigmoid(), "u1")
    packer.quantise("colors", (0.5 + SH_C0 * avatar.sh[:, 0]).clamp(min=0), "u1")
    correctives = avatar.correctives
    packer.add("hiddenWeight", correctives.hidden_weight, "f4")
    packer.add("hiddenBias", correctives.hidden_bias, "f4")
    packer.add("outputWeight", correctives.output_weight, "f4")
    packer.quantise("basis", correctives.basis, "u2")


def _pack_clip(packer: _Packer, index: int, clip: Clip) -> None:
    parameters = clip.parameters()
    prefix = f"clip{index}."
    packer.quantise(prefix + "expression", parameters.expression, "u1")
    packer.quantise(prefix + "gaze", parameters.gaze, "u2")
    packer.quantise(prefix + "neck", parameters.neck, "u2")
    packer.quantise(prefix + "translation", parameters.head_pose[:, :3, 3], "u2")
