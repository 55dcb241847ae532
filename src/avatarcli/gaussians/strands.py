"""Strands for hair that no photo shows.

The imagined views are blurred there and contradict each other, so a fit of them leaves a smooth cap. Here such hair is combed:
its Gaussians become long and thin along the way the hair falls, and their colors get the detail that the photo's own hair has,
carried there patch by patch and on along the strands, and near it the tone of that hair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.gaussians.fit_state import Follows
from avatarcli.gaussians.hair import HairPhoto, find_hair, splat_log_colors
from avatarcli.gaussians.hair_tones import tone_beside
from avatarcli.gaussians.rasterize import rasterize
from avatarcli.geometry.colors import from_log_colors, without_light
from avatarcli.geometry.fill import blur, ramp
from avatarcli.geometry.mesh import sample_image, vertex_normals
from avatarcli.geometry.rotations import matrix_to_quaternion, quaternion_to_matrix
from avatarcli.geometry.space import neighbours

# The photo's authority from which hair is wholly its own, and up to which it is wholly combed: between them both mix.
_UNSEEN = (0.2, 0.9)
_AT_HOME = (0.5, 0.8)  # share of hair around a Gaussian: at hair's edges strands would stick out over skin and clothes
_COMBED = 0.1  # share of combing from which the views may not change a Gaussian any more
# Square metres of it in the photo from which the photo may still change a combed Gaussian. Less of it shines through others: a fit
# would give it any color.
_SHOWN = 4e-6
_NEAREST = 6  # starts whose normals and authority a Gaussian takes on
# Metres: blur of the fit's own colors, whose fine part is the views' contradictions, and blur below which lies the photo's detail.
_SMOOTH = 0.006
# Gaussians over which colors and directions are smoothed, and over which detail goes on along strands.
_AROUND, _ALONG = 32, 128
_WHORL = (0.0, 0.87, -0.5)  # direction of the crown's whorl from the middle of the scalp
_FALL = (0.05, 0.12)  # metres from the whorl: from growing away from it to hanging down
_BACK = 0.3  # of hanging hair: it falls a little backwards off the face
# Share of that guess beside what the photo's strands say around them; how far (metres) and how often that is passed on.
_GUESS, _PASS, _ROUNDS = 0.05, 0.012, 3
_SEES = 0.3  # authority from which a pixel's strands are those of a Gaussian there
# Patches of the photo's hair: metres between their middles, their reach in these, and of how many each Gaussian takes a share.
_PATCH, _REACH, _SHARES = 0.012, 1.6, 6
_BEST = 0.6  # quantile: patches are cut where so much of the photo's hair has less hair around it
# The middle of a splat is brighter than what it adds to a picture, where some lie over each other: so detail is exaggerated.
_GAIN = 1.05
_MOST = 1.0  # logarithm: detail beyond this is a highlight of one place or a slip of the labels
_CHROMA = 0.5  # of the detail's color: the photo's noise is in it
# A strand's length to its width, in curls and in straight hair; how plain the strands' directions are in photos of both; metres
# (standard deviation).
_ASPECT, _PLAIN = (2.0, 10.0), (0.4, 0.6)
_LONGEST = 0.012
# Metres above the scalp, of cropped hair and of hair that may be as long as any; how much of a strand's length, and of the detail,
# cropped hair has.
_CROPPED, _SHORT, _PLAINER = (0.008, 0.025), 0.6, 0.3
_END, _AT_END = 2.0, 8  # standard deviations to a strand's end, and of how many Gaussians there most must be hair
# Of the way from hair's tint to the clothes': what is farther on it is mixed with these; and how far apart, as logarithms, both are
# at least.
_MIXED, _TINTED = (0.15, 0.4), 1.0
_SPACING = 0.01  # metres between the scalp's vertices
# Detail goes on along strands: metres across one (standard deviation) over which it is averaged, and along it by so much more as
# strands are longer than wide. A share of the lost contrast comes back: with all of it strands become broad bands.
_STRAND, _REGAINED = 0.0015, 0.5
_EDGE = 1.0  # pixels: blur before strands' directions are measured


@dataclass(frozen=True)
class HairSurface:
    """Where the fit started: points, normals [P, 3], opacity [P], and of each photo its authority over each point [N, P], see
    `photo_authority`; the frontal photo comes first."""

    points: Tensor
    normals: Tensor
    opacity: Tensor
    authority: Tensor

    @classmethod
    def of(cls, start: Avatar, authority: Tensor) -> HairSurface:
        """The surface of an avatar's flat discs. authority [N, P]."""
        normals = quaternion_to_matrix(start.quaternions)[..., 2]
        return cls(start.means, normals, start.opacity_logits.sigmoid(), authority)

    def at(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """At points [G, 3] their normals [G, 3], the frontal photo's authority [G], and that of all photos [G]."""
        _, near = neighbours(self.points, points, _NEAREST)
        weight = self.opacity[near]
        normals = functional.normalize((weight[..., None] * self.normals[near]).sum(1), dim=-1)
        authority = (weight * self.authority[:, near]).sum(-1) / weight.sum(-1)
        return normals, authority[0], authority.amax(0)


def comb(avatar: Avatar, photo: HairPhoto, surface: HairSurface, *, seed: int, device: str) -> tuple[Avatar, Tensor]:
    """The avatar (on the CPU) with strands where its photos do not see hair, and which pictures each Gaussian `Follows` [G].

    device: where it is drawn; see `rasterize`.
    """
    normals, frontal, authority = surface.at(avatar.means)
    hair, at_home = find_hair(avatar, photo, frontal)
    follows = torch.full((avatar.count,), int(Follows.ALL))
    share = (1 - ramp(authority[hair], *_UNSEEN)) * ramp(at_home, *_AT_HOME)
    if not (share > 0).any():
        return avatar, follows
    points, normals, logs = avatar.means[hair], normals[hair], splat_log_colors(avatar)[hair]
    around = _Around.of(points, _AROUND)
    posed = avatar.splats(avatar.rig(), photo.parameters).means[hair]
    pixels, depth = photo.camera.project(posed)
    grain = _Grain.of(photo, float(photo.camera.K[0, 0] / depth.median()))
    seen = frontal[hair] * (frontal[hair] > _SEES)
    guess = _fall(avatar, points, normals)
    flow = _flow(guess, normals, around, grain.directions(photo, posed, pixels, guess, normals, seen))
    solid = avatar.opacity_logits[hair].sigmoid()
    smooth = around.mean(_without_cloth(points, logs, photo), _SMOOTH, solid)
    shown = sample_image(photo.hair[..., None], pixels)[:, 0]
    smooth = smooth + tone_beside(points, smooth, solid * (1 - share) * shown, solid * share)
    across = torch.linalg.cross(normals, flow)
    carried = grain.carried(points, flow, across, torch.Generator().manual_seed(seed))
    cropped = 1 - ramp(around.mean(_height(avatar, points), _PASS)[:, 0], *_CROPPED)
    aspect = 1 + (grain.aspect - 1) * (1 - (1 - _SHORT) * cropped)
    detail = _Around.of(points, _ALONG).along(points, carried, flow, across, aspect)
    wanted = smooth + _GAIN * (1 - (1 - _PLAINER) * cropped)[:, None] * detail
    colors = from_log_colors(torch.lerp(logs, wanted, share[:, None]))
    quaternions, log_scales, sh = avatar.quaternions.clone(), avatar.log_scales.clone(), avatar.sh.clone()
    sh[hair] = ((colors - 0.5) / SH_C0)[:, None]
    turned = share > 0
    frame = torch.stack([flow, torch.linalg.cross(normals, flow), normals], dim=-1)
    quaternions[hair[turned]] = matrix_to_quaternion(frame)[turned]
    stretch = share * aspect.log()
    stretch = stretch * _stays(avatar.means, hair, flow, _long(log_scales[hair], stretch)[:, 0].exp())
    log_scales[hair[turned]] = _long(log_scales[hair], stretch)[turned]
    combed = replace(avatar, quaternions=quaternions, log_scales=log_scales, sh=sh)
    shown = _shown(combed, photo, device)[hair] > _SHOWN * grain.scale**2
    follows[hair] = torch.where(share < _COMBED, Follows.ALL, torch.where(shown, Follows.PHOTOS, Follows.NONE))
    return combed, follows


def _without_cloth(points: Tensor, logs: Tensor, photo: HairPhoto) -> Tensor:
    """Colors [P, 3] (`log_colors`) of hair at points [P, 3]; where the views mixed it with clothes below, those of hair near by.

    Only clothes of another tint are known from hair in the shade.
    """
    if photo.worn is None:
        return logs
    way = without_light(photo.worn - photo.middle)
    if way.norm() < _TINTED:
        return logs
    mixed = ramp(without_light(logs - photo.middle) @ way / way.dot(way), *_MIXED)
    pure = mixed == 0
    if pure.sum() < _AROUND:
        return logs
    _, near = neighbours(points[pure], points, _NEAREST)
    return torch.lerp(logs, logs[pure][near].mean(1), mixed[:, None])


def _shown(avatar: Avatar, photo: HairPhoto, device: str) -> Tensor:
    """How many of the photo's pixels each Gaussian [G] fills."""
    splats = avatar.splats(avatar.rig(), photo.parameters)
    with torch.enable_grad():
        colors = torch.zeros(avatar.count, 1, requires_grad=True)
        rasterize(*splats._replace(colors=colors), photo.camera, device=device).color.sum().backward()
    assert colors.grad is not None
    return colors.grad[:, 0]


def _stays(means: Tensor, hair: Tensor, flow: Tensor, length: Tensor) -> Tensor:
    """How far [P] strands of these lengths (standard deviations [P]) may be so long: not where an end lies over skin or clothes.

    means [G, 3]: of all Gaussians; hair [P]: which are hair; flow [P, 3].
    """
    is_hair = torch.zeros(len(means))
    is_hair[hair] = 1
    reach = _END * length[:, None] * flow
    ends = torch.stack([means[hair] - reach, means[hair] + reach], dim=1)
    _, near = neighbours(means, ends.view(-1, 3), _AT_END)
    return ramp(is_hair[near].mean(1).view(-1, 2).amin(1), *_AT_HOME)


def _long(log_scales: Tensor, aspect: Tensor) -> Tensor:
    """Log scales [P, 3] of strands that cover as much as before: along, across, and through the surface.

    aspect [P]: logarithm of the length to the width.
    """
    thin, middle, long = log_scales.sort(dim=-1).values.unbind(-1)
    size, stretch = 0.5 * (middle + long), 0.5 * aspect
    stretch = stretch.minimum((math.log(_LONGEST) - size).clamp(min=0))
    return torch.stack([size + stretch, size - stretch, thin], dim=-1)


@dataclass(frozen=True)
class _Around:
    """The nearest of some points to each of them: index [P, K], distance [P, K] in metres."""

    index: Tensor
    distance: Tensor

    @classmethod
    def of(cls, points: Tensor, count: int) -> _Around:
        distance, index = neighbours(points, points, count)
        return cls(index, distance)

    def mean(self, values: Tensor, sigma: float, weight: Tensor | None = None) -> Tensor:
        """Gaussian means [P, C] of values [P, C], by weights [P]."""
        near = torch.exp(-0.5 * (self.distance / sigma).square())
        if weight is not None:
            near = near * weight[self.index]
        return (near[..., None] * values[self.index]).sum(1) / near.sum(1, keepdim=True).clamp(min=1e-6)

    def along(self, points: Tensor, values: Tensor, flow: Tensor, across: Tensor, aspect: Tensor) -> Tensor:
        """Values [P, C] at points [P, 3] that go on along strands: their means along the flow [P, 3] rather than across [P, 3].

        aspect [P]: how much farther.
        """
        offset = points[self.index] - points[:, None]
        reach = _STRAND * torch.stack([aspect, torch.ones_like(aspect)], dim=-1)[:, None]
        near = (-0.5 * (offset @ torch.stack([flow, across], dim=-1) / reach).square().sum(-1)).exp()
        means = (near[..., None] * values[self.index]).sum(1) / near.sum(1, keepdim=True)
        spread = (part.std(0, unbiased=False).clamp(min=1e-6) for part in (values, means))
        return means * torch.div(*spread) ** _REGAINED


def _along(vectors: Tensor, normals: Tensor) -> Tensor:
    """Unit vectors [P, 3] in the surface that has these normals [P, 3]."""
    return functional.normalize(vectors - (vectors * normals).sum(-1, keepdim=True) * normals, dim=-1)


def _height(avatar: Avatar, points: Tensor) -> Tensor:
    """Metres [P, 1] by which points [P, 3] stand off the scalp."""
    head, scalp = avatar.head, avatar.head.model.in_regions("scalp")
    vertices, normals = head.neutral[scalp], vertex_normals(head.neutral, head.model.faces)[scalp]
    nearest = neighbours(vertices, points, 1)[1][:, 0]
    off, normal = points - vertices[nearest], normals[nearest]
    # Beside the scalp hair hangs: what counts there is how far off it is.
    above = (off * normal).sum(-1, keepdim=True)
    beside = (off - above * normal).norm(dim=-1, keepdim=True)
    return above.abs() + (beside - _SPACING).clamp(min=0)


def _fall(avatar: Avatar, points: Tensor, normals: Tensor) -> Tensor:
    """How hair falls [P, 3] that nothing is known of: away from the whorl, farther off down."""
    head = avatar.head
    scalp = head.neutral[head.model.in_regions("scalp")]
    middle = scalp.mean(0)
    whorl = scalp[((scalp - middle) @ scalp.new_tensor(_WHORL)).argmax()]
    away = points - whorl
    hanging = ramp(away.norm(dim=-1), *_FALL)[:, None]
    before = (points[:, 2:] > middle[2]).float()
    down = torch.cat([torch.zeros_like(before), -torch.ones_like(before), -_BACK * before], dim=-1)
    return _along(torch.lerp(functional.normalize(away, dim=-1), down, hanging), normals)


def _flow(guess: Tensor, normals: Tensor, around: _Around, shown: Tensor) -> Tensor:
    """Directions [P, 3] of hair in its surface: as the photo shows them, passed on to what lies around, else as guessed.

    shown [P, 3]: directions without sign, the longer the surer. Tensors of them are averaged, which know no sign either.
    """
    tensors = (shown[:, :, None] * shown[:, None] + _GUESS * guess[:, :, None] * guess[:, None]).view(-1, 9)
    for _ in range(_ROUNDS):
        tensors = torch.lerp(tensors, around.mean(tensors, _PASS), 0.7)
    axes = torch.linalg.eigh(tensors.view(-1, 3, 3)).eigenvectors[..., 2]
    flow = _along(axes, normals)
    return torch.where((flow * guess).sum(-1, keepdim=True) < 0, -flow, flow)


@dataclass(frozen=True)
class _Grain:
    """The photo's hair as a texture: detail [H, W, 3], its logarithms without what is coarse; sure [H, W]: 1 well inside the hair;
    axes [H, W, 2]: the strands' directions in the picture; clear [H, W]: in [0, 1], how plain these are; scale: pixels a metre.
    """

    detail: Tensor
    sure: Tensor
    axes: Tensor
    clear: Tensor
    scale: float

    @classmethod
    def of(cls, photo: HairPhoto, scale: float) -> _Grain:
        sure = (blur(photo.hair[..., None], 1.0)[..., 0] > 0.9).float()
        sigma = _SMOOTH * scale
        layers = blur(torch.cat([photo.logs * sure[..., None], sure[..., None]], dim=-1), sigma)
        detail = photo.logs - layers[..., :3] / layers[..., 3:].clamp(min=1e-3)
        grey = detail.mean(-1, keepdim=True)
        detail = torch.lerp(grey, detail, _CHROMA).clamp(-_MOST, _MOST) * sure[..., None]
        # The structure tensor (Bigün and Granlund 1987): strands run across the direction in which brightness changes most.
        down, right = torch.gradient(blur(photo.logs.mean(-1, keepdim=True), _EDGE)[..., 0])
        tensor = torch.stack([right * right, right * down, down * down], dim=-1) * sure[..., None]
        xx, xy, yy = blur(tensor, photo.camera.width / 100).unbind(-1)
        angle = 0.5 * torch.atan2(2 * xy, xx - yy) + math.pi / 2
        clear = ((xx - yy).square() + 4 * xy.square()).sqrt() / (xx + yy).clamp(min=1e-9)
        return cls(detail, sure, torch.stack([angle.cos(), angle.sin()], dim=-1), clear, scale)

    @property
    def aspect(self) -> Tensor:
        """Length to width of strands []: less where they run in all directions, as curls do."""
        plain = (self.clear * self.sure).sum() / self.sure.sum().clamp(min=1)
        return _ASPECT[0] + (_ASPECT[1] - _ASPECT[0]) * ramp(plain, *_PLAIN)

    def directions(
        self, photo: HairPhoto, posed: Tensor, pixels: Tensor, guess: Tensor, normals: Tensor, seen: Tensor
    ) -> Tensor:
        """The strands' directions [P, 3] in the surface at Gaussians, at rest, as long as they are sure.

        posed [P, 3]: the Gaussians in the photo's world, pixels [P, 2]: where the photo shows them, seen [P]: how far it does.
        """
        # Angles are doubled, for directions have no sign.
        x, y = self.axes.unbind(-1)
        layers = torch.stack([x * x - y * y, 2 * x * y, self.clear * self.sure], dim=-1)
        cos, sin, clear = sample_image(layers, pixels).unbind(-1)
        angle = 0.5 * torch.atan2(sin, cos)
        basis = torch.stack([guess, torch.linalg.cross(normals, guess)], dim=-1)
        turn = photo.parameters.head_pose[0, :3, :3]
        step = 1e-3  # metres
        ends = [photo.camera.project(posed + step * basis[..., k] @ turn.T)[0] - pixels for k in range(2)]
        (a, c), (b, d) = (end.unbind(-1) for end in ends)  # two metric directions in pixels: the columns of a matrix
        determinant = a * d - b * c
        cos, sin = angle.cos(), angle.sin()
        # Its adjugate is its inverse but for the length, and finite where the surface is seen from its edge.
        in_surface = torch.stack([d * cos - b * sin, a * sin - c * cos], dim=-1) * determinant.sign()[:, None]
        directions = functional.normalize((basis * in_surface[:, None]).sum(-1), dim=-1)
        return directions * (seen * clear).clamp(0, 1).sqrt()[:, None]

    def carried(self, points: Tensor, flow: Tensor, across: Tensor, generator: torch.Generator) -> Tensor:
        """Detail [P, 3] at Gaussians: the mean of some patches of the photo's hair that are laid over them along the flow.

        The mean is scaled so that it keeps the patches' variance (Heitz and Neyret, *High-Performance By-Example Noise*, 2018).
        """
        cells = torch.unique((points / _PATCH).floor().long(), dim=0, return_inverse=True)[1]
        first = torch.full((int(cells.amax()) + 1,), len(points))
        middles = first.scatter_reduce(0, cells, torch.arange(len(points)), "amin")
        inside = blur(self.sure[..., None], 0.6 * _PATCH * self.scale)[..., 0] * self.sure
        best = inside >= inside[self.sure > 0].quantile(_BEST)
        row, column = (best & (self.sure > 0)).nonzero().unbind(-1)
        chosen = torch.randint(len(row), (len(middles),), generator=generator)
        source = torch.stack([column[chosen], row[chosen]], dim=-1) + 0.5
        down = self.axes[row[chosen], column[chosen]]
        down = torch.where(down[:, 1:] < 0, -down, down)
        right = torch.stack([-down[:, 1], down[:, 0]], dim=-1)
        distance, near = neighbours(points[middles], points, _SHARES)
        offset = points[:, None] - points[middles][near]
        along, aside = ((offset * axis[middles][near]).sum(-1, keepdim=True) for axis in (flow, across))
        pixels = source[near] + self.scale * (along * down[near] + aside * right[near])
        layers = torch.cat([self.detail, self.sure[..., None]], dim=-1)
        found = sample_image(layers, pixels.view(-1, 2)).view(*near.shape, 4)
        fade = (1 - (distance / (_REACH * _PATCH)).square()).clamp(min=0).square()
        weight = fade * found[..., 3]
        spread = weight.square().sum(1, keepdim=True).sqrt().clamp(min=1e-3)
        total = (weight[..., None] * found[..., :3]).sum(1) / spread
        return total * ramp(weight.sum(1, keepdim=True), 0.02, 0.2)
