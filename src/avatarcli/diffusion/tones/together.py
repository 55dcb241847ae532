"""Tones that views share. Each is imagined and corrected by itself; an avatar has one color at each place, and what its views
disagree about shows as blotches. What they agree about may still be wrong: they make clothes darker and darker behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.diffusion.tones.around import Around
from avatarcli.diffusion.tones.coarse import COARSE, MOST, wide_blur, with_change
from avatarcli.diffusion.tones.matching import bare_skin
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.colors import log_colors
from avatarcli.geometry.fill import blur, halved, pull_push, ramp
from avatarcli.geometry.mesh import MeshRaster, rasterize_mesh, sample_image, vertex_normals, visible_points
from avatarcli.reproject.shell import COLUMNS, DEPTH_TOLERANCE, Shell
from avatarcli.reproject.skin_texture import PhotoView

_FACING = (0.4, 0.8)  # cosines: a view that sees a surface more obliquely has no say, more squarely all of it
_WHOLE = (0.7, 0.95)  # alpha, likewise: at an outline background shines through
_ANCHOR = 3.0  # views that the photo counts for
_ALIKE = 0.5  # a logarithm: what is farther from the mean shows something else
_FINER, _MIXED = 4.0, 5.0  # tones so many times finer tell where a coarse one is a mixture: where both differ by 1 / 10
_LIGHTER = 2.0  # per unit of logarithm that a view counts more than a darker one: what is imagined drifts into the dark
_ROUNDS = 3  # after them views come hardly nearer, for only smooth changes are made
_PROPER = 2  # rounds that find a mean of what is alike
_SMOOTH = 0.075  # of the picture's width: finer changes than this would tint a shirt beside a tie that another view shows elsewhere
_HARDLY = 0.1  # of the surroundings: changes fade where less than this is shared
# Clothes behind, against those in front at the same height: a logarithm by which they may be darker, the share of the rest that is
# made good, and the most that it may be.
_SHADE, _LIFTED, _MOST_LIFTED = 0.1, 0.8, 0.8
_FRONT = 0.2  # cosine: directions less than 78° from straight ahead are in front
_ASIDE = 0.45  # sine: nearer to straight ahead than 27° shirts and ties are seen, which no back has
_ROWS = 12  # of 3 mm, above and below: cells of the same height
_FEW_CELLS = 60  # fewer tell no tone
_SOFT = 1.5  # deviation, in cells, of the blur that ends clothes softly at bare skin
_CELLS = 10.0  # deviation of the blur that makes a change of clothes smooth, in cells of the shell


class _Look(NamedTuple):
    """How a picture shows the shell's N vertices: logs [N, 3]: its coarse tones there; weight [N]: how far it has a say; pixels
    [N, 2]; raster: the shell as it sees it."""

    logs: Tensor
    weight: Tensor
    pixels: Tensor
    raster: MeshRaster


def agreed(pictures: Sequence[Tensor], cameras: Camera, around: Around, photo: PhotoView) -> list[Tensor]:
    """Premultiplied RGBA pictures [H, W, 4] of a head at rest, one a camera [V], in tones that they share.

    At each place of the shell all that see it are brought near to their mean, by changes that are smooth in each picture. The
    photo has a say; where it sees a place squarely, the pictures have its tones already and stay as they are. Then clothes behind
    are made as light as in front.
    """
    if not len(pictures):
        return []
    shell = around.shell
    size = pictures[0].shape[1] // 2
    small, normals = cameras.resized(size, size), vertex_normals(shell.vertices, shell.faces)
    looks = [
        _look(halved(picture), small[view], shell, normals, COARSE * size) for view, picture in enumerate(pictures)
    ]
    alpha = photo.matte * photo.inside
    shown = torch.cat([photo.image * alpha[..., None], alpha[..., None]], dim=-1)
    # As coarse as in the views, in metres.
    finer = float(photo.camera.K[0, 0] / small.K[0, 0, 0])
    fixed = _look(shown, photo.camera, shell, normals, COARSE * size * finer)
    own = torch.stack([look.logs for look in looks])
    weights = torch.stack([*(look.weight for look in looks), _ANCHOR * fixed.weight])
    unseen = 1 - fixed.weight[:, None]
    changes = [torch.zeros(size, size, 3) for _ in looks]
    for _ in range(_ROUNDS):
        found = [sample_image(change, look.pixels) for change, look in zip(changes, looks, strict=True)]
        logs = own + torch.stack(found)
        mean = _mean(torch.cat([logs, fixed.logs[None]]), weights)
        for view, look in enumerate(looks):
            missing = mean - logs[view]
            weight = look.weight[:, None] * _correctable(missing) * unseen
            spread = look.raster.interpolate(torch.cat([missing * weight, weight], dim=-1), shell.faces)
            layers = wide_blur(spread, _SMOOTH * size)
            changes[view] = (changes[view] + layers[..., :3] / (layers[..., 3:] + _HARDLY)).clamp(-MOST, MOST)
    lift = _lift(mean, weights.sum(0), around, photo.skin_color)[:, None] * unseen
    for view, look in enumerate(looks):
        changes[view] = changes[view] + pull_push(
            look.raster.interpolate(lift, shell.faces), look.raster.covered.float()
        )
    return [with_change(picture, change) for picture, change in zip(pictures, changes, strict=True)]


def _look(picture: Tensor, camera: Camera, shell: Shell, normals: Tensor, sigma: float) -> _Look:
    """A premultiplied RGBA picture [H, W, 4]; sigma: pixels, how coarse its tones are."""
    raster = rasterize_mesh(shell.vertices, shell.faces, camera)
    pixels, facing, visible = visible_points(shell.vertices, normals, camera, raster.depth, tolerance=DEPTH_TOLERANCE)
    logs, fine = (_tones(picture, width) for width in (sigma, sigma / _FINER))
    told = sample_image(torch.cat([logs, fine, picture[..., 3:]], dim=-1), pixels)
    weight = visible * ramp(facing, *_FACING) * ramp(told[:, 6], *_WHOLE)
    # Beside the border of two things the coarse tone is no one's.
    weight = weight * _correctable(_MIXED * (told[:, 3:6] - told[:, :3]))[:, 0]
    return _Look(told[:, :3], weight, pixels, raster)


def _tones(picture: Tensor, sigma: float) -> Tensor:
    """Logarithms [H, W, 3] of a premultiplied RGBA picture's colors [H, W, 4], blurred by sigma pixels."""
    layers = wide_blur(picture, sigma)
    return log_colors(layers[..., :3] / layers[..., 3:].clamp(min=1e-3))


def _lift(logs: Tensor, told: Tensor, around: Around, skin: Tensor) -> Tensor:
    """By how much [N] clothes behind must be lighter to be as light as those in front, as logarithms.

    logs [N, 3]: the tones that the views agree about on the shell's vertices; told [N]: how well they are known; skin [3]: the
    color of the person's.
    """
    grid = (around.shell.rows, COLUMNS)
    light = logs.mean(-1).view(grid)
    bare = blur(bare_skin(logs, around.neck, around.cloth, skin).view(*grid, 1), _SOFT)[..., 0]
    worn = (around.dressed * (1 - around.hanging)).view(grid) * (1 - bare)
    known = (worn > 0.5) & (told.view(grid) > 0)
    across, ahead = around.shell.directions[:, 0].view(grid), around.shell.directions[:, 2].view(grid)
    front = known & (ahead > _FRONT)
    telling = front & (across.abs() > _ASIDE)
    lift = torch.zeros(grid)
    for row in known.any(1).nonzero()[:, 0].tolist():
        near = slice(max(row - _ROWS, 0), row + _ROWS + 1)
        shown = light[near][telling[near]]
        if len(shown) >= _FEW_CELLS:
            missing = shown.median() - _SHADE - light[row]
            lift[row] = (known[row] & ~front[row]) * (_LIFTED * missing).clamp(0, _MOST_LIFTED)
    # Columns go round.
    margin = round(3 * _CELLS)
    layers = torch.stack([lift, (known & ~front).float()], dim=-1)
    round_about = functional.pad(layers.permute(2, 0, 1)[None], (margin, margin, 0, 0), mode="circular")
    total, share = blur(round_about[0].permute(1, 2, 0), _CELLS)[:, margin:-margin].unbind(-1)
    return (worn * total / share.clamp(min=0.5)).reshape(-1)


def _mean(logs: Tensor, weights: Tensor) -> Tensor:
    """Means [N, 3] over views of logarithms [V, N, 3] with weights [V, N]; of what is alike, and rather of what is lighter."""
    # It starts at what most others are like. The middle of hair and cloth is neither, and both would be drawn to it.
    support = torch.stack([(weights * _alike(logs - own)[..., 0]).sum(0) for own in logs])
    chosen = support.where(weights > 0, -1.0).argmax(0)
    mean = logs.gather(0, chosen[None, :, None].expand(1, -1, 3))[0]
    for _ in range(_PROPER):
        away = logs - mean
        share = weights[..., None] * _alike(away) * (_LIGHTER * away.mean(-1, keepdim=True).clamp(-1, 1)).exp()
        total = share.sum(0)
        mean = torch.where(total > 1e-3, (logs * share).sum(0) / total.clamp(min=1e-6), mean)
    return mean


def _correctable(missing: Tensor) -> Tensor:
    """How likely [N, 1] what differs by so much [N, 3] is the same in another tone: its light may be far off, its tint less so.

    Clothes that hair hangs on in other views must not be changed into hair: smooth changes would reach the hair beside them.
    """
    light = missing.mean(-1, keepdim=True)
    return _alike(missing - light / 2)


def _alike(away: Tensor) -> Tensor:
    """How likely [..., 1] what differs by so much [..., 3] shows the same."""
    return torch.exp(-(away.norm(dim=-1, keepdim=True) / _ALIKE).square())
