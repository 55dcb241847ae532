"""Where a fit starts, as those look at it who prepare the fit's pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from avatarcli.gaussians.avatar import Avatar, Splats
from avatarcli.gaussians.clothes import dressed
from avatarcli.gaussians.rasterize import Rasterized, rasterize
from avatarcli.gaussians.rig import Rig
from avatarcli.geometry.cameras import Camera
from avatarcli.head.parameters import HeadParameters

FAINT = 0.05  # alpha below which a picture of it tells nothing


@dataclass(frozen=True)
class Start:
    """An avatar before its fit. Pictures are prepared on the CPU: there it is, and all that is asked of it and answered.

    device: where it is drawn, as the fit will be. Before a fit on a GPU nobody has to wait for the CPU's kernels, which take many
    seconds to compile.
    """

    avatar: Avatar
    device: str
    # Most pictures show the head at rest, and all views the same few expressions.
    _posed: dict[bytes, Splats] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def rig(self) -> Rig:
        return self.avatar.rig()

    @cached_property
    def dressed(self) -> Tensor:
        """Which Gaussians [G] (bool) are carried by neck and shoulders."""
        return dressed(self.avatar.head, self.avatar.binding)

    def splats(self, parameters: HeadParameters) -> Splats:
        """The Gaussians of one frame (the first) of head parameters, in the world. Not to be written to: they are kept."""
        tensors = parameters.expression, parameters.gaze, parameters.neck, parameters.head_pose
        key = b"".join(tensor[0].numpy().tobytes() for tensor in tensors)
        if key not in self._posed:
            self._posed[key] = self.avatar.splats(self.rig, parameters)
        return self._posed[key]

    def draw(self, parameters: HeadParameters, camera: Camera, colors: Tensor | None = None) -> Rasterized:
        """A picture of one frame (the first) of head parameters. colors [G, C]: others than its own; see `rasterize`."""
        splats = self.splats(parameters)
        if colors is not None:
            splats = splats._replace(colors=colors)
        return rasterize(*splats, camera, device=self.device)

    def depth(self, parameters: HeadParameters, camera: Camera) -> Tensor:
        """Metres [H, W] to the first thing that a camera sees of it."""
        _, depth = camera.project(self.splats(parameters).means)
        drawn = self.draw(parameters, camera, depth[:, None])
        return drawn.color[..., 0] / drawn.alpha.clamp(min=FAINT)
