"""The avatar: rigged Gaussians with expression-dependent correctives, and its file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from avatarcli.errors import WorkspaceError
from avatarcli.gaussians.avatar_check import HEAD_MODEL, check_tensors, read_framing, read_provenance
from avatarcli.gaussians.rasterize import Rasterized, rasterize
from avatarcli.gaussians.rig import Motion, Rig
from avatarcli.geometry.cameras import Camera
from avatarcli.head.model import HeadModel, PersonalHead, load_head_model
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing

FORMAT_VERSION = "1"
SH_C0 = 0.28209479177387814  # value of the constant spherical harmonic: color = 0.5 + SH_C0 · coefficient


class Splats(NamedTuple):
    """Gaussians in the world, as the rasterisers take them: means [G, 3], quaternions [G, 4], scales [G, 3] (metres), opacities
    [G] in (0, 1), colors [G, 3]."""

    means: Tensor
    quaternions: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor


@dataclass(frozen=True)
class Correctives:
    """Small offsets that depend on the expression: a tiny network turns it into k coefficients, every Gaussian blends k
    directions of its own.

    hidden_weight [h, 52], hidden_bias [h], output_weight [k, h]; basis [G, k, 3] metres.
    """

    hidden_weight: Tensor
    hidden_bias: Tensor
    output_weight: Tensor
    basis: Tensor

    def coefficients(self, expression: Tensor) -> Tensor:
        """Coefficients [k] of one expression [52]; zero for the face at rest."""

        def network(x: Tensor) -> Tensor:
            return self.output_weight @ torch.tanh(self.hidden_weight @ x + self.hidden_bias)

        return torch.tanh(network(expression) - network(torch.zeros_like(expression)))

    def offsets(self, expression: Tensor) -> Tensor:
        """Offsets [G, 3] in metres, at rest orientation."""
        return torch.einsum("gkc,k->gc", self.basis, self.coefficients(expression))


@dataclass(frozen=True)
class Avatar:
    """One person. All Gaussians are stored at rest, in the head model's frame.

    head: the person's mesh; binding [G]: carrying triangles, see `Rig.create`; means [G, 3] metres; quaternions [G, 4] wxyz;
    log_scales [G, 3] (of metres); opacity_logits [G]; sh [G, 1, 3]: color coefficients of degree 0.
    """

    head: PersonalHead
    binding: Tensor
    means: Tensor
    quaternions: Tensor
    log_scales: Tensor
    opacity_logits: Tensor
    sh: Tensor
    correctives: Correctives
    framing: Framing
    provenance: dict[str, str]

    @property
    def count(self) -> int:
        return self.means.shape[0]

    def rig(self) -> Rig:
        return Rig.create(self.head, self.binding)

    def splats(self, rig: Rig, parameters: HeadParameters) -> Splats:
        """The Gaussians of one frame (the first) of head parameters, in the world."""
        return self._moved(rig.motion(parameters), parameters.expression[0])

    def _moved(self, motion: Motion, expression: Tensor) -> Splats:
        means = self.means + self.correctives.offsets(expression)
        placed = motion.place(means, self.quaternions, self.log_scales.exp())
        return Splats(*placed, self.opacity_logits.sigmoid(), (0.5 + SH_C0 * self.sh[:, 0]).clamp(min=0))

    def render(
        self, rig: Rig, parameters: HeadParameters, camera: Camera, background: Tensor | None = None
    ) -> Rasterized:
        """A picture of one frame (the first) of head parameters; see `rasterize`."""
        return rasterize(*self.splats(rig, parameters), camera, background)

    def film(
        self, rig: Rig, parameters: HeadParameters, cameras: Camera, background: Tensor | None = None
    ) -> Iterator[Rasterized]:
        """Pictures of all frames of head parameters, each from its own camera."""
        for index, motion in enumerate(rig.motions(parameters)):
            yield rasterize(*self._moved(motion, parameters.expression[index]), cameras[index], background)

    def part(self, chosen: Tensor) -> Avatar:
        """The avatar of some of its Gaussians, chosen [G] bool."""
        basis = self.correctives.basis[chosen]
        names = ("binding", "means", "quaternions", "log_scales", "opacity_logits", "sh")
        rows = {name: getattr(self, name)[chosen] for name in names}
        return replace(self, correctives=replace(self.correctives, basis=basis), **rows)

    def to(self, device: torch.device | str) -> Avatar:
        moved = {key: value.to(device) for key, value in self._tensors().items()}
        return _assemble(moved, self.head.to(device), self.framing, self.provenance)

    def _tensors(self) -> dict[str, Tensor]:
        c = self.correctives
        return {
            "binding": self.binding,
            "means": self.means,
            "quaternions": self.quaternions,
            "log_scales": self.log_scales,
            "opacity_logits": self.opacity_logits,
            "sh": self.sh,
            "correctives.hidden_weight": c.hidden_weight,
            "correctives.hidden_bias": c.hidden_bias,
            "correctives.output_weight": c.output_weight,
            "correctives.basis": c.basis,
        }

    def save(self, path: Path) -> None:
        """Write `avatar.safetensors`: tensors, and JSON metadata that says what they are and where they come from."""
        tensors = {**self._tensors(), "head.neutral": self.head.neutral, "head.joints": self.head.joints}
        # Half precision keeps offsets of a head to a hundredth of a millimetre; positions themselves stay in float32.
        for key in ("correctives.basis", "sh", "quaternions", "log_scales"):
            tensors[key] = tensors[key].half()
        tensors["binding"] = tensors["binding"].int()
        metadata = {
            "format": "avatarcli.avatar",
            "format_version": FORMAT_VERSION,
            "head_model": HEAD_MODEL,
            "gaussians": str(self.count),
            "sh_degree": "0",
            "framing": json.dumps({"target": self.framing.target, "span": self.framing.span}),
            "provenance": json.dumps(self.provenance, sort_keys=True),
        }
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, path, metadata)

    @classmethod
    def load(cls, path: Path, model: HeadModel | None = None) -> Avatar:
        """Read an avatar. Raises WorkspaceError when the file is missing, damaged or of another format."""
        try:
            with safe_open(str(path), framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != "avatarcli.avatar" or metadata.get("format_version") != FORMAT_VERSION:
                    raise WorkspaceError(
                        f"{path}: not an avatar of format {FORMAT_VERSION}; run `avatar distill --force`"
                    )
                data = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - safe_open is not a mapping
            if metadata["head_model"] != HEAD_MODEL:
                raise ValueError(f"it is made for another head model, {metadata['head_model']}")
            model = model or load_head_model()
            check_tensors(data, model)
            tensors = {key: value.float() if value.is_floating_point() else value.long() for key, value in data.items()}
            head = PersonalHead.at_rest(model, tensors.pop("head.neutral"), tensors.pop("head.joints"))
            framing, provenance = read_framing(metadata["framing"]), read_provenance(metadata["provenance"])
            avatar = _assemble(tensors, head, framing, provenance)
            if not avatar.rig().inverse_edges.isfinite().all():
                raise ValueError("triangles of the head have no area")
            return avatar
        # RuntimeError: also what torch raises for triangles without area, and Python for JSON nested too deeply.
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise WorkspaceError(f"{path}: cannot read the avatar ({error}); run `avatar distill --force`") from error


def _assemble(tensors: dict[str, Tensor], head: PersonalHead, framing: Framing, provenance: dict[str, str]) -> Avatar:
    """An avatar from tensors named as in its file."""
    prefix = "correctives."
    inner = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    outer = {key: value for key, value in tensors.items() if not key.startswith(prefix)}
    return Avatar(head, **outer, correctives=Correctives(**inner), framing=framing, provenance=provenance)
