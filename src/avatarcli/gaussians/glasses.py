"""Glasses: where the photo shows them, and where before the eyes their Gaussians start.

The head model knows none. Painted on the face they would blink with it, so rims, and lenses that are dark, stand on a sheet
of their own before the eyes, which goes with the skull; the skin behind them is skin. A bare face must not get any: what is in
doubt is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from avatarcli.gaussians.initialise import SurfaceSamples
from avatarcli.gaussians.rig import Rig
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import sample_image
from avatarcli.head.model import PARTS, PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.reproject.skin_texture import PhotoView

# The sheet, where opticians place lenses (and where the generator learnt to see them): metres before the front of the eyes, how it
# leans, how it bows around the face (1/m); metres that it keeps off the skin, and within which skin counts.
_AHEAD, _TILT, _BOW = 0.012, math.tan(math.radians(7)), 1.6
_CLEARANCE, _NEAR = 0.002, 0.004
_WIDE, _UP, _DOWN = 0.072, 0.034, 0.036  # metres from the middle between the eyes: farther off there are no glasses
_STEP = 0.0005  # metres between the points of the sheet that are looked at
# Every how many of them is a start: inside a dark lens; at edges, rims and reflections, where they overlap.
_COARSE, _FINE = 3, 2
# Metres of a lens's edge; of the skin's light, by which the inside may differ from its surroundings.
_EDGE, _PLAIN = 0.001, 0.1
# Dark lenses: light beside the skin's below which a point is dark, metres around the middle of an eye, and how much is dark there.
# Bare eyes have up to 0.37 and those in thick rims 0.5, those behind dark lenses 0.85 and more.
_DARK, _AROUND, _SHARE = 0.42, 0.011, 0.7
# Metres between two layers of a dark lens: lids shine through one, and the fit would paint its reflections on them.
_LAYER = 0.0008
# Rims: lines up to so wide (metres), so far from the middle of an eye, that are darker than what is beside them by so much of the
# skin's light, on the way below the eye. The eyes of bare faces have up to 0.19 there, thin metal rims 0.28 and more.
_WIDTH, _BLUR = 0.006, 0.0004
_NEAREST, _FARTHEST, _FLAT = 0.013, 0.034, 0.8
_CONTRAST = 0.24
_PART = 0.3  # of that contrast has what is part of the rims
# Rims of more contrast may be wider than a line: all that is nearer to their own darkness than to the skin is part of them then.
_STRONG = 0.5
# Directions around an eye; steps outwards from one to the next, and what one costs.
_ANGLES, _BEND, _BENDING = 120, 2, 0.01
_BELOW = -0.3  # sine of the directions that pass below the eye, where no brow is
_BESIDE = 0.0025  # metres beside the middle of a rim that may belong to it
# Metres: bridge and temples lie this far in and out, and at these heights.
_BRIDGE, _TEMPLE, _LEVEL = 0.02, 0.05, (-0.012, 0.022)

REACH_OF_GLASSES = 0.0015  # metres: how far they may move in the fit; narrow rims would fall apart into dots

Grid = npt.NDArray[Any]


@dataclass(frozen=True)
class Glasses:
    """What stands before the eyes of a head at rest, as starts of Gaussians."""

    starts: SurfaceSamples

    def before(self, camera: Camera) -> Tensor:
        """Where a camera sees the glasses, or a little beside them [H, W] (bool)."""
        pixels, depth = camera.project(self.starts.points)
        column, row = pixels.long().unbind(-1)
        seen = (depth > 0) & (row >= 0) & (row < camera.height) & (column >= 0) & (column < camera.width)
        picture = torch.zeros(camera.height, camera.width)
        picture[row[seen], column[seen]] = 1.0
        spacing = float(self.starts.spacing.amax() * camera.K[0, 0] / depth.median())
        reach = 1 + math.ceil(spacing / 2)
        return functional.max_pool2d(picture[None], 2 * reach + 1, stride=1, padding=reach)[0] > 0


def find_glasses(head: PersonalHead, photo: PhotoView, parameters: HeadParameters) -> Glasses | None:
    """The glasses of a photo that was taken of a head with these parameters (one frame); None where there are none."""
    sheet, eyes = _sheet(head)
    points = sheet.view(-1, 3)
    model = head.model
    skin = (model.face_part == PARTS.index("skin")).nonzero()[:, 0]
    # All of it is carried by one triangle of the still face, the one behind its middle: glasses are stiff.
    centres = head.neutral[model.faces[skin]].mean(1)
    carrier = len(model.faces) + skin[(centres - points.mean(0)).norm(dim=-1).argmin()]
    motion = Rig.create(head, carrier[None]).motion(parameters)
    pixels, _ = photo.camera.project(points @ motion.affine[0].T + motion.shift[0])
    colors = sample_image(photo.image, pixels).view(sheet.shape)
    light = (colors.mean(-1) / photo.skin_color.mean().clamp(min=0.05)).numpy()
    dark = _dark_lenses(light, eyes)
    worn = _rims(light, eyes) if dark is None else dark
    if worn is None:
        return None
    plain = np.abs(light - ndimage.uniform_filter(light, round(_WIDTH / _STEP))) < _PLAIN
    plain &= ndimage.distance_transform_edt(worn) > _EDGE / _STEP
    spacing = torch.zeros(light.shape)
    for every, where in ((_COARSE, worn & plain), (_FINE, worn & ~plain)):
        spacing[::every, ::every][torch.from_numpy(where[::every, ::every])] = _COARSE * _STEP
    chosen = spacing > 0
    count = int(chosen.sum())
    normal = functional.normalize(torch.tensor([0.0, -_TILT, 1.0]), dim=0)
    starts = SurfaceSamples(
        points=sheet[chosen],
        normals=normal.expand(count, 3),
        tangents=torch.tensor([1.0, 0.0, 0.0]).expand(count, 3),
        spacing=spacing[chosen],
        colors=colors[chosen],
        opacity=torch.full((count,), 0.95),
        binding=carrier.expand(count),
    )
    if dark is not None:
        behind = starts._replace(points=starts.points - _LAYER * normal)
        starts = SurfaceSamples(*(torch.cat(both) for both in zip(starts, behind, strict=True)))
    return Glasses(starts)


def _sheet(head: PersonalHead) -> tuple[Tensor, Grid]:
    """Points [R, C, 3] before the eyes of the head at rest, from upper right to lower left; the eyes there [2, 2] (x, y)."""
    model = head.model
    eyes = head.joints[[model.joint_names.index(name) for name in ("eye_r", "eye_l")]]
    level, front = eyes[:, 1].mean(), head.neutral[model.in_regions("eye"), 2].amax()
    across, up = torch.arange(-_WIDE, _WIDE, _STEP), torch.arange(_UP, -_DOWN, -_STEP)
    x, y = torch.meshgrid(across, up, indexing="xy")
    z = front + _AHEAD + y * _TILT - _BOW * x.square()
    # Where brows, nose and cheeks stand out farther, glasses rest on them.
    skin = head.neutral[model.faces[model.face_part == PARTS.index("skin")].unique()]
    skin = skin[(skin[:, 2] > 0) & ((skin[:, 1] - level).abs() < _DOWN + _NEAR)]
    places = torch.stack([x, y + level], dim=-1)
    _, near = cKDTree(skin[:, :2].numpy()).query(places.view(-1, 2).numpy(), k=8, distance_upper_bound=_NEAR)
    heights = torch.cat([skin[:, 2], skin.new_tensor([-1.0])])[torch.from_numpy(near)].amax(1)
    points = torch.cat([places, torch.maximum(z, heights.view(z.shape) + _CLEARANCE)[..., None]], dim=-1)
    return points, torch.stack([(eyes[:, 0] + _WIDE) / _STEP, torch.full((2,), _UP / _STEP)], dim=-1).numpy()


def _dark_lenses(light: Grid, eyes: Grid) -> Grid | None:
    """The points [R, C] (bool) of dark lenses and of what hangs together with them; None where the eyes are not dark.

    light [R, C]: beside the skin's; eyes [2, 2] (x, y).
    """
    row, column = np.mgrid[: light.shape[0], : light.shape[1]]
    dark = light < _DARK
    pieces, _ = ndimage.label(dark)
    lenses = np.zeros_like(dark)
    for x, y in eyes:
        around = (column - x) ** 2 + (row - y) ** 2 < (_AROUND / _STEP) ** 2
        if dark[around].mean() < _SHARE:
            return None
        lenses |= pieces == np.bincount(pieces[around & dark]).argmax()
    # Reflections in the lenses belong to them.
    return np.asarray(ndimage.binary_fill_holes(lenses))


def _rims(light: Grid, eyes: Grid) -> Grid | None:
    """The points [R, C] (bool) of the rims, the bridge and the temples of clear glasses; None where no rim runs below the eyes.

    light [R, C]: beside the skin's; eyes [2, 2] (x, y).
    """
    smooth = ndimage.gaussian_filter(light, _BLUR / _STEP)
    width = round(_WIDTH / _STEP)
    line = ndimage.grey_closing(smooth, size=(width, width)) - smooth
    rims = np.zeros(line.shape, bool)
    contrasts = []
    for eye in eyes:
        x, y, contrast = _way_around(line, eye)
        contrasts.append(contrast)
        rims[y.round().astype(int).clip(0, len(rims) - 1), x.round().astype(int).clip(0, rims.shape[1] - 1)] = True
    if min(contrasts) < _CONTRAST:
        return None
    near = ndimage.distance_transform_edt(~rims) <= _BESIDE / _STEP
    row, column = np.mgrid[: line.shape[0], : line.shape[1]]
    across, up = abs(column * _STEP - _WIDE), _UP - row * _STEP
    level = (up > _LEVEL[0]) & (up < _LEVEL[1])
    bridge, temples = level & (across < _BRIDGE), level & (across > _TEMPLE)
    fine = line > _PART * min(contrasts)
    frame = fine & (near | bridge | temples)
    if min(contrasts) > _STRONG:
        frame |= (smooth < (1 + np.median(smooth[fine & near])) / 2) & (near | bridge)
    pieces, _ = ndimage.label(frame)
    return np.asarray(np.isin(pieces, np.unique(pieces[frame & near])) & (pieces > 0))


def _way_around(line: Grid, eye: Grid) -> tuple[Grid, Grid, float]:
    """The darkest closed way around an eye (x, y), x and y [A], and the mean of `line` [R, C] on its part below the eye.

    Found by dynamic programming over directions, twice around, of which the second turn counts.
    """
    radius = np.arange(_NEAREST, _FARTHEST, _STEP) / _STEP
    angle = np.arange(_ANGLES) / _ANGLES * 2 * np.pi
    x = eye[0] + np.cos(angle)[:, None] * radius
    y = eye[1] + _BESIDE / _STEP - _FLAT * np.sin(angle)[:, None] * radius
    value = ndimage.map_coordinates(line, [y, x], order=1, mode="constant")
    bends = range(-_BEND, _BEND + 1)
    total, steps = np.zeros(len(radius)), []
    for direction in [*range(_ANGLES), *range(_ANGLES)]:
        padded = np.pad(total, _BEND, constant_values=-np.inf)
        came = np.stack([padded[_BEND + bend :][: len(radius)] - _BENDING * abs(bend) for bend in bends])
        steps.append(came.argmax(0) - _BEND)
        total = came.max(0) + value[direction]
    place = int(total.argmax())
    way = np.zeros(_ANGLES, int)
    for turn in reversed(range(_ANGLES, 2 * _ANGLES)):
        way[turn - _ANGLES] = place
        place += int(steps[turn][place])
    chosen = np.arange(_ANGLES), way
    return x[chosen], y[chosen], float(value[chosen][np.sin(angle) < _BELOW].mean())
