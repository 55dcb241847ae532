"""The smooth shape of shoulders and what is worn there, as all views together tell it.

Each view imagines another back: tails of hair, capes, lapels that stick out. What they have in common is a hull with fins, and a
fit to their outlines frays. Cloth has a smooth outline: what is thin goes, the rest is smoothed, and all of the fit keeps to that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter
from torch import Tensor
from torch.nn import functional

from avatarcli.gaussians.pictures import TrainingPicture
from avatarcli.gaussians.rig import lengths
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.fill import blur, pull_push, ramp, resized
from avatarcli.geometry.mesh import sample_image
from avatarcli.geometry.rotations import quaternion_to_matrix
from avatarcli.multiview.framing import DISTANCE, Framing

_COARSE = 2  # cells of the hull along the side of one of the bust's, which is smooth anyhow
# Metres: half as thick is a fin; and the deviation of the blur that takes the rest's edges and steps.
_FIN, _SMOOTH = 0.02, 0.012
# Metres below its top in which the smooth shape takes over; by which the top is higher a metre behind the chin, as collars are;
# and that the grid reaches beyond the chin.
_FADE, _RISING, _ABOVE = 0.03, 0.25, 0.08
_ABOVE_EDGE = 0.025  # metres above the pictures' lower edge from which on all of them show a bust
_WHOLE = 0.95  # of what all pictures show to the sides: there, none of them ends yet
# Metres from a photo's outline at which it says nothing; by half of that, at most, it moves the surface.
_AT_OUTLINE = 0.03
_STEP = 0.016  # metres between looks along a ray: much less than a bust is thick
_PIXELS = 4  # of a picture along the side of one of the outline's
_OUTSIDE = 0.003  # metres that an axis of a Gaussian, as far as it is seen, may stand out
_SEEN = 2.0  # deviations from its middle as far as which a Gaussian is seen
# Share of an axis that one hold leaves at least, for others follow; and the logarithm of a length (metres) that stays in any case.
_STILL, _SHORT = 0.25, math.log(0.0015)
_MOVE = 0.004  # metres that one hold moves at most what stands out
_CLEAN = 0.9  # alpha from which a view's pixel has the color of cloth, and not of what is behind it
_SOFT = 0.004  # metres across an outline from all to nothing: two pixels of a view


@dataclass(frozen=True)
class Bust:
    """depth [X, Y, Z]: metres inside of the surface (below 0: outside) at the cells of a grid; origin [3]: metres, its first cell;
    cell: metres; top [3]: the place of the chin, below which it counts, and behind which collars rise."""

    depth: Tensor
    origin: Tensor
    cell: float
    top: Tensor

    @classmethod
    def of(
        cls,
        inside: npt.NDArray[Any],
        origin: Tensor,
        cell: float,
        *,
        chin: Tensor,
        framing: Framing,
        photo: TrainingPicture | None = None,
    ) -> Bust:
        """The shape of a carved grid [X, Y, Z] (see `Hull`) below the chin [3] (metres).

        It is taken from what all pictures of this framing show, a little within their sides and above their lower edge; what they
        cut off goes on as it is there. photo: has the last word about the outline that it shows.
        """
        counts = np.array(inside.shape)
        counts[1] = min((float(chin[1]) + _ABOVE - float(origin[1])) / cell, counts[1])
        counts //= _COARSE
        part = inside[tuple(slice(count * _COARSE) for count in counts)]
        blocks = part.reshape(*(length for count in counts for length in (count, _COARSE)))
        size, first = cell * _COARSE, origin + cell * (_COARSE - 1) / 2
        # All cameras look at one axis, so what all of them see is round.
        reach = DISTANCE * math.sin(math.atan(framing.span / 2 / DISTANCE))
        edge = framing.target[1] - framing.span / 2
        filled = _continued(blocks.mean((1, 3, 5)), first, size, _WHOLE * reach, edge + _ABOVE_EDGE)
        # Its own edges are no end of the shape, so that no ball fails to fit in there.
        margin = round(_FIN / size) + 1
        depth = _without_fins(_depth(np.pad(filled, margin, mode="edge")) * size, size)
        depth = gaussian_filter(depth.astype(np.float32), _SMOOTH / size, mode="nearest")
        depth = np.ascontiguousarray(depth[(slice(margin, -margin),) * 3])
        shape = cls(torch.from_numpy(depth), first, size, chin)
        if photo is not None:
            shape = shape._as_shown(photo)
        x, z = (first[k] + size * torch.arange(counts[k]) for k in (0, 2))
        return replace(shape, depth=shape.depth.minimum((reach - torch.hypot(x[:, None], z))[:, None]))

    def _as_shown(self, photo: TrainingPicture) -> Bust:
        """The shape with the outline that a photo shows, unless they are wholly different."""
        # As the photo's camera sees the head's own frame.
        camera = replace(photo.camera, world_to_camera=photo.camera.world_to_camera @ photo.parameters.head_pose[0])
        pixel = float(camera.project(self.top[None])[1] / camera.K[0, 0])
        known = photo.trust > 0.5
        if not known.any():
            return self
        nearest = distance_transform_edt(~known.numpy(), return_distances=False, return_indices=True)
        shown = torch.from_numpy(_depth(photo.alpha.numpy()[tuple(nearest)]) * pixel).float()
        ours, _ = self._along(camera)
        near = known * (1 - ramp(torch.minimum(ours.abs(), shown.abs()), _AT_OUTLINE / 2, _AT_OUTLINE))
        off = (shown - ours).clamp(-_AT_OUTLINE / 2, _AT_OUTLINE / 2)
        # Beyond the photo's border it goes on as it is there. Deep inside, an outline says nothing.
        off = blur(pull_push(off[..., None], near), _SMOOTH / pixel)[..., 0]
        off = off * (1 - ramp(ours.abs(), _AT_OUTLINE / 2, _AT_OUTLINE))
        points = self.origin + self.cell * torch.cartesian_prod(*(torch.arange(count) for count in self.depth.shape))
        more = sample_image(off[..., None], camera.project(points)[0])[:, 0]
        return replace(self, depth=self.depth + more.view(self.depth.shape))

    def to(self, device: torch.device | str) -> Bust:
        return replace(self, depth=self.depth.to(device), origin=self.origin.to(device), top=self.top.to(device))

    @cached_property
    def _last(self) -> Tensor:
        """The grid's last cell [3]. Kept, for a GPU would have to finish all its work before it is sent."""
        return self.origin.new_tensor(self.depth.shape) - 1

    def share(self, points: Tensor) -> Tensor:
        """How far the smooth shape counts at points [..., 3], in [0, 1]."""
        from_chin = points - self.top
        return 1 - ramp(from_chin[..., 1] + _RISING * from_chin[..., 2].clamp(max=0), -_FADE, 0.0)

    def depth_at(self, points: Tensor) -> Tensor:
        """Metres [...] that points [..., 3] lie inside."""
        # grid_sample wants the last axis first.
        places = ((points - self.origin) / (self.cell * self._last) * 2 - 1).flip(-1)
        found = functional.grid_sample(
            self.depth[None, None], places.reshape(1, 1, 1, -1, 3), align_corners=True, padding_mode="border"
        )
        return found.view(points.shape[:-1])

    def shaped(self, inside: npt.NDArray[Any], origin: Tensor, cell: float) -> npt.NDArray[Any]:
        """The carved grid with the smooth shape in its lower part."""
        rows = round(float(self.origin[1] - origin[1]) / cell + self.depth.shape[1] * self.cell / cell)
        part = inside[:, : min(rows, inside.shape[1])]
        axes = [origin[k] + cell * torch.arange(count) for k, count in enumerate(part.shape)]
        points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        # As steep as a step that is blurred by one cell.
        smooth = (0.5 + 0.4 * self.depth_at(points) / cell).clamp(0, 1)
        whole = inside.copy()
        whole[:, : part.shape[1]] = torch.lerp(torch.from_numpy(part), smooth, self.share(points)).numpy()
        return whole

    def outlined(self, picture: Tensor, camera: Camera) -> Tensor:
        """A premultiplied RGBA view [H, W, 4] of the head's frame that has the outline of the smooth shape below its top.

        What that adds takes the colors beside it.
        """
        first = self._first_row(camera)
        part, window = picture[first:], camera.cropped(0, first, camera.width, camera.height - first)
        if window.height < _PIXELS:
            return picture
        depth, share = self._along(window)
        was = part[..., 3]
        alpha = torch.lerp(was, (0.5 + depth / _SOFT).clamp(0, 1), share)
        color = part[..., :3] * (alpha / was.clamp(min=1e-6)).clamp(max=1)[..., None]
        cloth = ((was > _CLEAN) & (depth > 0)).float()
        if cloth.any():
            beside = pull_push(part[..., :3] / was.clamp(min=_CLEAN)[..., None], cloth)
            color = color + (alpha - was).clamp(min=0)[..., None] * beside
        return torch.cat([picture[:first], torch.cat([color, alpha[..., None]], dim=-1)])

    def _first_row(self, camera: Camera) -> int:
        """The first row in which a camera may see what lies below the top."""
        last = self.origin + self.cell * (torch.tensor(self.depth.shape) - 1)
        corners = torch.cartesian_prod(*torch.stack([self.origin, last], dim=-1))
        corners[:, 1] = self.top[1] + _RISING * (self.top[2] - corners[:, 2]).clamp(min=0)
        return int(camera.project(corners)[0][:, 1].amin().clamp(0, camera.height))

    def _along(self, camera: Camera) -> tuple[Tensor, Tensor]:
        """How deep the ray of each pixel comes [H, W] (metres), and how far the smooth shape counts there [H, W]."""
        coarse = camera.resized(camera.width // _PIXELS, max(camera.height // _PIXELS, 1))
        middle = self.origin + self.cell * (torch.tensor(self.depth.shape) - 1) / 2
        reach = float((middle - self.origin).norm())
        distance = float((middle - camera.centre).norm())
        steps = torch.arange(distance - reach, distance + reach, _STEP)
        points = camera.centre + steps[:, None, None, None] * coarse.rays()
        depth, deepest = self.depth_at(points).max(0)
        deepest = points.gather(0, deepest[None, ..., None].expand(1, *deepest.shape, 3))[0]
        layers = resized(torch.stack([depth, self.share(deepest)], dim=-1), camera.height, camera.width)
        return layers[..., 0], layers[..., 1]

    @torch.no_grad()
    def hold(self, means: Tensor, quaternions: Tensor, log_scales: Tensor, chosen: Tensor) -> None:
        """Bring chosen Gaussians [K] (indices) back, in place, that lie outside of the shape or stand out of it.

        Those that stand out move in; shortened is only what yet stands out then: on a curved surface or beside an edge Gaussians
        would become too short to close it.
        means [G, 3] metres, quaternions [G, 4] wxyz, log_scales [G, 3] of metres.
        """
        depth = self.depth_at(means[chosen])
        outside = (depth < -_OUTSIDE).nonzero()[:, 0]
        left = chosen[outside]
        means[left] -= depth[outside, None] * self._inward(means[left])
        out = chosen[(self._outermost(means[chosen], quaternions[chosen], log_scales[chosen]) < -_OUTSIDE).any(-1)]
        ends = means[out, None] + self._ends(quaternions[out], log_scales[out])
        excess = (-_OUTSIDE - self.depth_at(ends)).clamp(min=0)[..., None]
        # Of two opposite ends both may stand out; then these shifts add up across the surface and cancel along it.
        shift = (excess * self._inward(ends)).sum(1) / (excess > 0).sum(1).clamp(min=1)
        means[out] += shift * (_MOVE / lengths(shift).clamp(min=_MOVE))[:, None]
        places, scales = means[out], log_scales[out]
        outermost = self._outermost(places, quaternions[out], scales)
        # What the axis uses up of the depth, and how much of that is there.
        depth = self.depth_at(places)[:, None]
        share = (depth + _OUTSIDE).clamp(min=0) / (depth - outermost).clamp(min=1e-6)
        shorter = (scales + share.clamp(_STILL, 1).log()).maximum(scales.clamp(max=_SHORT))
        log_scales[out] = torch.where(outermost < -_OUTSIDE, shorter, scales)

    def _inward(self, points: Tensor) -> Tensor:
        """The unit directions [..., 3] in which it gets deeper at points [..., 3]."""
        aside = self.cell * torch.eye(3, device=points.device)
        deeper = self.depth_at(points[..., None, :] + aside) - self.depth_at(points[..., None, :] - aside)
        return functional.normalize(deeper, dim=-1)

    def _outermost(self, means: Tensor, quaternions: Tensor, log_scales: Tensor) -> Tensor:
        """Metres [K, 3] that the outer end of each axis of K Gaussians lies inside."""
        ends = means[:, None] + self._ends(quaternions, log_scales)
        return self.depth_at(ends).unflatten(1, (2, 3)).amin(1)

    @staticmethod
    def _ends(quaternions: Tensor, log_scales: Tensor) -> Tensor:
        """From their middles to both ends of each axis [K, 6, 3] of K Gaussians, in metres."""
        axes = quaternion_to_matrix(quaternions).mT * (_SEEN * log_scales.exp())[..., None]
        return torch.cat([axes, -axes], dim=1)


def _continued(filled: npt.NDArray[Any], first: Tensor, size: float, reach: float, edge: float) -> npt.NDArray[Any]:
    """A grid [X, Y, Z] that goes on as it is farther than `reach` from the upright axis, and below the height `edge`.

    first [3]: its first cell; size: of cells; all in metres.
    """
    rows = np.arange(filled.shape[1])
    rows = rows.clip(min(max(round((edge - float(first[1])) / size), 0), len(rows) - 1))
    x, z = (float(first[k]) + size * np.arange(filled.shape[k]) for k in (0, 2))
    nearer = np.minimum(reach / np.hypot(x[:, None], z).clip(size), 1)
    column, aside = (
        np.rint((nearer * at - float(first[k])) / size).astype(int).clip(0, filled.shape[k] - 1)
        for k, at in ((0, x[:, None]), (2, z))
    )
    return filled[column[:, None], rows[:, None], aside[:, None]]


def _depth(filled: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Cells inside of the surface of a grid [X, Y, Z] that says how far each of its cells is filled."""
    solid = filled > 0.5
    if solid.all() or not solid.any():
        return np.where(solid, 1.0, -1.0) * max(filled.shape)
    depth = np.zeros(filled.shape)
    for part, sign in ((solid, 1), (~solid, -1)):
        distance, nearest = distance_transform_edt(part, return_indices=True)
        # How much the nearest cell of the other kind is filled tells where in it the surface runs.
        depth += part * (sign * distance + filled[tuple(nearest)] - 0.5)
    return depth


def _without_fins(depth: npt.NDArray[Any], size: float) -> npt.NDArray[Any]:
    """The depth of what is left of a shape when every place goes into which no ball fits. size: metres along a cell's side."""
    thick = depth > _FIN
    if not thick.any():
        return depth
    distance, nearest = distance_transform_edt(~thick, return_indices=True)
    return np.where(thick, depth, depth[tuple(nearest)] - size * distance)
