"""Light that reaches the vertices of a posed mesh: sky and point lights, with what stands in their way.

All of it is worked out once a frame and vertex, not once a pixel and camera: skin and hair are meshed finer than the shadow maps
are, the light that a surface scatters does not depend on who looks, and eight cameras see every frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.caching import constant, once_each
from avatarcli.geometry.cameras import Camera, intrinsics, look_at
from avatarcli.geometry.mesh import vertex_normals
from avatarcli.studio import materials
from avatarcli.studio.fused import fused
from avatarcli.studio.materials import CASTERS, STRANDS, among, finishes
from avatarcli.studio.raster import key_depth, nearest, project
from avatarcli.studio.raster_torch import CutOut
from avatarcli.studio.scene import CUT_OUT, Light, Material, PosedMesh, RenderMesh
from avatarcli.studio.textures import Textures

SKY_DIRECTIONS = 16
# What the cosine of the angle of incidence leaves of each of the nine harmonics (Ramamoorthi and Hanrahan 2001).
COSINE_LOBE = (math.pi, *[2 * math.pi / 3] * 3, *[math.pi / 4] * 5)
_SKY_SIZE = 128  # texels a side: about 6 mm of a bust
_SKY_DISTANCE = 6.0  # metres: as good as parallel
_SKY_TAPS, _SKY_RADIUS = 4, 1.2  # texels
_LAMP_SIZE = 256
_SEARCH_TAPS, _LAMP_TAPS = 8, 16
# Places looked up in shadow maps at a time: few, for a CPU's caches; many, for a GPU, which waits for each to be started.
_LOOKED_UP = {"cpu": 1 << 18}
_LOOKED_UP_ELSEWHERE = 1 << 24
_REACH = 0.25  # metres: how far before a receiver blockers are looked for
# Metres by which a receiver is moved off its surface and towards the light, so that texels of a surface do not shade that surface.
_LIFT, _BIAS = 0.003, 0.004
_STRAND_BIAS = 0.009  # the outermost strands do not shade each other: hair is a volume
_KEPT = 0.8  # of the light that strands get, what comes out again where it went in
# Red light spreads further under the skin, so shadows' edges are red: exponents of visibility per color.
_BLEED = (0.75, 1.0, 1.1)


@dataclass(frozen=True)
class VertexLight:
    """normal, tangent [F, N, 3]: unit, tangents along strands (zero elsewhere); irradiance [F, N, 3]: diffuse light, linear;
    openness [F, N]: share of the sky in view; visible [F, N, P]: share of each lamp in view."""

    normal: Tensor
    tangent: Tensor
    irradiance: Tensor
    openness: Tensor
    visible: Tensor

    @staticmethod
    def join(parts: list[VertexLight]) -> VertexLight:
        """The light of successive frames."""
        return VertexLight(
            *(torch.cat(values) for values in zip(*(vars(part).values() for part in parts), strict=True))
        )


def harmonics(direction: Tensor) -> Tensor:
    """The nine real spherical harmonics of orders 0-2 [..., 9] of unit vectors, as Ramamoorthi and Hanrahan (2001) list them."""
    x, y, z = direction.unbind(-1)
    one = torch.full_like(x, 0.282095)
    return torch.stack(
        [one, 0.488603 * y, 0.488603 * z, 0.488603 * x, 1.092548 * x * y, 1.092548 * y * z,
         0.315392 * (3 * z * z - 1), 1.092548 * x * z, 0.546274 * (x * x - y * y)], dim=-1,
    )  # fmt: skip


def irradiance_coefficients(ambient: Tensor) -> Tensor:
    """Coefficients [9, 3] of the irradiance on a surface by its normal, from those of radiance by direction."""
    return ambient * torch.tensor(COSINE_LOBE, device=ambient.device)[:, None]


@torch.no_grad()
def light_vertices(mesh: RenderMesh, posed: PosedMesh, light: Light, textures: Textures) -> VertexLight:
    """Light on all vertices of F frames."""
    device = posed.vertices.device
    material = _vertex_material(mesh)
    strand = among(material, tuple(STRANDS))
    normal = _rounded(vertex_normals(posed.vertices, mesh.faces), posed.vertices, strand)
    tangent = _tangents(mesh, posed.vertices)
    finish = finishes(device)[material]
    shadows = _Shadows(mesh, posed, normal, strand, textures)
    lift = finish[:, materials.LIFT, None]
    sky = _sky_directions(device)
    from_sky, openness = _sky_light(
        normal, tangent, posed.occlusion, shadows.sky(sky), strand, finish, light.ambient, sky
    )
    visible = lift + (1 - lift) * shadows.lamps(light)  # [F, N, P]
    bleeds = (material == Material.SKIN)[:, None]
    from_lamps = _lamp_light(normal, tangent, posed.vertices, posed.occlusion, visible, strand, bleeds, finish, light)
    return VertexLight(normal, tangent, from_sky + from_lamps, openness, visible)


@fused
def _sky_light(
    normal: Tensor,
    tangent: Tensor,
    occlusion: Tensor,
    seen: Tensor,
    strand: Tensor,
    finish: Tensor,
    ambient: Tensor,
    sky: Tensor,
) -> tuple[Tensor, Tensor]:
    """Irradiance [F, N, 3] and share of the sky in view [F, N]; seen [F, N, K]: which of the directions `sky` [K, 3]."""
    lift, bounce = finish[:, materials.LIFT, None], finish[:, materials.BOUNCE]
    seen = lift + (1 - lift) * seen
    radiance = (harmonics(sky) @ ambient).clamp(min=0)
    weight = _response(normal, tangent, strand, sky)
    reached, all_of_it = (weight * seen) @ radiance, weight @ radiance
    share = reached / all_of_it.clamp(min=1e-6) * occlusion[..., None]
    share = share / (1 - bounce * (1 - share))
    # The few directions only say what share arrives; how much there is without obstacles is known exactly.
    # Strands answer to half the sphere and more, which flattens the higher orders.
    flatter = torch.tensor([1.0, *[0.5] * 3, *[0.2] * 5], device=normal.device)
    basis = harmonics(normal) * torch.where(strand[:, None], flatter, torch.ones_like(flatter))
    total = (basis @ irradiance_coefficients(ambient)).clamp(min=0)
    openness = (weight * seen).sum(-1) / weight.sum(-1).clamp(min=1e-6) * occlusion
    return total * share * torch.where(strand, _KEPT, 1.0)[:, None], openness


@fused
def _lamp_light(
    normal: Tensor,
    tangent: Tensor,
    vertices: Tensor,
    occlusion: Tensor,
    visible: Tensor,
    strand: Tensor,
    bleeds: Tensor,
    finish: Tensor,
    light: Light,
) -> Tensor:
    """Irradiance [F, N, 3] from lamps of which shares `visible` [F, N, P] are in view."""
    wrap = finish[:, materials.WRAP]
    bleed = torch.tensor(_BLEED, device=normal.device)
    exponent = torch.where(bleeds, bleed, torch.ones_like(bleed))
    near = (0.35 + 0.65 * occlusion).clamp(max=1)[..., None]  # creases are dark under lamps too, though less
    irradiance = torch.zeros_like(normal)
    kept = torch.where(strand, _KEPT, 1.0)[:, None]
    for p in range(len(light.position)):
        way = light.position[p] - vertices
        distance = way.norm(dim=-1, keepdim=True)
        strength = light.color[p] * (light.position[p].norm() / distance).square()
        towards = way / distance
        cosine = (normal * towards).sum(-1, keepdim=True)
        soft = ((cosine + wrap) / (1 + wrap)).clamp(min=0)
        along = (tangent * towards).sum(-1, keepdim=True)
        kajiya = 0.5 * (1 - along.square()).clamp(min=0).sqrt() + 0.5 * soft
        response = torch.where(strand[:, None], kajiya, soft)
        irradiance = irradiance + strength * kept * response * visible[..., p, None] ** exponent * near
    return irradiance


@once_each
def _vertex_material(mesh: RenderMesh) -> Tensor:
    """Material of each vertex [N]: of its triangles, which all share it."""
    material = torch.zeros(len(mesh.canonical), dtype=torch.int64, device=mesh.faces.device)
    material[mesh.faces] = mesh.material.long()[:, None].expand(-1, 3)
    return material


def _taps(count: int, like: Tensor) -> list[Tensor]:
    """The points of `_disc` [2, k, 1, 1] in few batches, so that look-ups for receivers [M, N] do not take more than
    _LOOKED_UP each."""
    at_once = max(1, _LOOKED_UP.get(like.device.type, _LOOKED_UP_ELSEWHERE) // max(1, like.numel()))
    return list(_disc_tensor(count, like.device).split(at_once, dim=1))


@constant
def _disc_tensor(count: int, device: torch.device) -> Tensor:
    return torch.tensor(_disc(count), device=device).T[..., None, None].contiguous()


@once_each
def _rows(mesh: RenderMesh, wanted: tuple[Material, ...], shown: bool = False) -> Tensor:
    """Which triangles [n] are of one of these materials and, if asked for, `shown`: not hidden."""
    return (among(mesh.material, wanted) & ~(mesh.hidden & shown)).nonzero()[:, 0]


def _rounded(normal: Tensor, vertices: Tensor, strand: Tensor) -> Tensor:
    """Normals [F, N, 3] of which strands' lean half way to the outside of the head of hair, of which they are a part: lit as the
    flat cards that they are, curls would look like leaves."""
    share = strand.float() / strand.sum().clamp(min=1)
    centre = torch.einsum("n,fnc->fc", share, vertices)
    outward = functional.normalize(vertices - centre[:, None], dim=-1)
    same_side = torch.where((normal * outward).sum(-1, keepdim=True) < 0, -normal, normal)
    return torch.where(strand[:, None], functional.normalize(same_side + outward, dim=-1), normal)


def _tangents(mesh: RenderMesh, vertices: Tensor) -> Tensor:
    """Unit vectors [F, N, 3] along strands, in the direction in which v grows; zero off the strands."""
    rows = _rows(mesh, tuple(STRANDS))
    total = torch.zeros_like(vertices)
    faces, uv = mesh.faces[rows], mesh.uv[rows].float()
    one, two = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    turn = torch.sign(one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0])[:, None]
    a, b, c = (vertices[:, faces[:, k]] for k in range(3))
    along = turn * (one[:, :1] * (c - a) - two[:, :1] * (b - a))
    for k in range(3):
        total.index_add_(1, faces[:, k], along)
    return functional.normalize(total, dim=-1, eps=1e-12)


def _response(normal: Tensor, tangent: Tensor, strand: Tensor, sky: Tensor) -> Tensor:
    """How strongly vertices [F, N] answer light from directions [K, 3]: the cosine, softer for strands [F, N, K]."""
    cosine = normal @ sky.T
    along = tangent @ sky.T
    hair = 0.5 * (1 - along.square()).clamp(min=0).sqrt() + 0.25 * (cosine + 1)
    return torch.where(strand[:, None], hair, cosine.clamp(min=0))


@constant
def _sky_directions(device: torch.device) -> Tensor:
    return fibonacci_sphere(SKY_DIRECTIONS).float().to(device)


def fibonacci_sphere(count: int) -> Tensor:
    """Directions float64 [count, 3] spread evenly over the sphere."""
    i = torch.arange(count, dtype=torch.float64) + 0.5
    y = 1 - 2 * i / count
    turn = math.pi * (1 + math.sqrt(5)) * i
    across = (1 - y * y).sqrt()
    return torch.stack([across * turn.cos(), y, across * turn.sin()], dim=-1)


def _disc(count: int) -> list[tuple[float, float]]:
    """Points spread evenly over the unit disc (a sunflower's)."""
    golden = math.pi * (3 - math.sqrt(5))
    radii = [math.sqrt((i + 0.5) / count) for i in range(count)]
    return [(r * math.cos(golden * i), r * math.sin(golden * i)) for i, r in enumerate(radii)]


class _Shadows:
    """Depth maps from lights, and what share of each light the vertices see."""

    def __init__(
        self,
        mesh: RenderMesh,
        posed: PosedMesh,
        normal: Tensor,
        strand: Tensor,
        textures: Textures,
    ) -> None:
        self.vertices = posed.vertices
        self.receivers = posed.vertices + _LIFT * normal
        self.bias = torch.where(strand, _STRAND_BIAS, _BIAS)
        self.strand = strand
        rows = _rows(mesh, CASTERS, True)
        self.faces = mesh.faces[rows]
        self.cut_out = CutOut(
            among(mesh.material[rows], CUT_OUT),
            lambda face, weights, area: textures.solid(rows[face], weights, area),
        )
        low, high = posed.vertices.amin(1), posed.vertices.amax(1)
        self.centre = 0.5 * (low + high)  # [F, 3]
        self.radius = 0.5 * (high - low).norm(dim=-1)

    def sky(self, direction: Tensor) -> Tensor:
        """Share of the light from far away [F, N, K] in directions [K, 3]."""
        eye = self.centre[:, None] + _SKY_DISTANCE * direction
        focal = 0.5 * _SKY_SIZE * _SKY_DISTANCE / self.radius
        depth, screen = self._maps(eye, focal, _SKY_SIZE)
        seen = _share_of_far(depth, screen, self.bias)
        frames, directions = eye.shape[:2]
        return seen.view(frames, directions, seen.shape[-1]).transpose(1, 2)

    def lamps(self, light: Light) -> Tensor:
        """Share of each lamp [F, N, P]: percentage-closer soft shadows (Fernando 2005)."""
        lamps = len(light.position)
        frames = len(self.centre)
        eye = light.position.expand(frames, lamps, 3)
        distance = (eye - self.centre[:, None]).norm(dim=-1)
        radius = torch.minimum(self.radius[:, None], 0.9 * distance)
        focal = (0.5 * _LAMP_SIZE * (distance.square() - radius.square()).sqrt() / radius).view(-1)
        depth, screen = self._maps(eye, focal, _LAMP_SIZE)
        size = light.size.repeat(frames)[:, None]
        seen = _share_of_lamp(depth, screen, self.bias, self.strand, size, focal[:, None])
        return seen.view(frames, lamps, seen.shape[-1]).transpose(1, 2)

    def _maps(self, eye: Tensor, focal: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Depth maps [M, size, size] from M = F·L eyes [F, L, 3], and where they see the receivers [M, 3, N]."""
        lights = eye.shape[1]
        target = self.centre[:, None].expand_as(eye).reshape(-1, 3)
        focal = focal if len(focal) == len(target) else focal.repeat_interleave(lights)
        camera = Camera(look_at(eye.reshape(-1, 3), target), intrinsics(focal, size, size), size, size)
        screen = project(self.vertices.repeat_interleave(lights, 0), camera)
        keys = nearest(screen, self.faces, (size, size), cut_out=self.cut_out)
        return key_depth(keys), project(self.receivers.repeat_interleave(lights, 0), camera)


@fused
def _share_of_far(depth: Tensor, screen: Tensor, bias: Tensor) -> Tensor:
    """Share of a far light [M, N] that receivers at [M, 3, N] see past depth maps [M, S, S]."""
    column, row, z = screen.unbind(1)
    seen = torch.zeros_like(z)
    for dx, dy in _disc(_SKY_TAPS):
        seen = seen + (_look_up(depth, column + _SKY_RADIUS * dx, row + _SKY_RADIUS * dy) > z - bias)
    return seen * (1 / _SKY_TAPS)


@fused
def _share_of_lamp(depth: Tensor, screen: Tensor, bias: Tensor, strand: Tensor, size: Tensor, focal: Tensor) -> Tensor:
    """As `_share_of_far`, of lamps with a radius, size [M, 1] metres: the further off what is in the way, the softer.
    focal [M, 1] texels."""
    column, row, z = screen.unbind(1)
    limit = z - bias
    search = size * _REACH / (z - _REACH).clamp(min=0.1) * focal / z
    blocked, blockers = torch.zeros_like(z), torch.zeros_like(z)
    for taps in _taps(_SEARCH_TAPS, z):
        found = _look_up(depth, column + search * taps[0], row + search * taps[1])
        blocks = found < limit
        blocked = blocked + blocks.sum(0)
        # One by one: sums of a batch are rounded in an order of its own.
        for far in torch.where(blocks, found, 0.0):
            blockers = blockers + far
    blocker = blockers / blocked.clamp(min=1)
    penumbra = size * (z - blocker) / blocker.clamp(min=0.1) * focal / z
    # Strands scatter light among each other, which blurs their shadows.
    least = torch.where(strand, 3.0, 1.5)
    spread = torch.where(blocked > 0, penumbra.clamp(max=0.1 * _LAMP_SIZE), 0.0).maximum(least)
    seen = torch.zeros_like(z)
    for taps in _taps(_LAMP_TAPS, z):
        seen = seen + (_look_up(depth, column + spread * taps[0], row + spread * taps[1]) > limit).sum(0)
    return seen * (1 / _LAMP_TAPS)


def _look_up(maps: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Values [..., M, N] of maps [M, S, S] at pixel positions [..., M, N]."""
    size = maps.shape[-1]
    x, y = column.nan_to_num().clamp(0, size - 1).long(), row.nan_to_num().clamp(0, size - 1).long()
    return maps.flatten(1).expand(*x.shape[:-1], -1).gather(-1, y * size + x)
