"""Pictures of a posed subject: who is where (raster), what light there is (lighting), what it looks like (shading), and the maps.

Deferred: every sample of a supersampled picture is resolved to one surface point first, and only those points are shaded.
Samples are averaged in linear light, as a sensor averages what falls on a pixel, and encoded after that; what is behind (the
background) is laid under the encoded picture by those who use it, as all programs do that handle premultiplied PNGs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from avatarcli.caching import once_each
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.colors import encoded
from avatarcli.studio.fused import fused
from avatarcli.studio.lighting import VertexLight, light_vertices
from avatarcli.studio.materials import STRANDS, among, finishes, region_table
from avatarcli.studio.raster import fragments, nearest, project
from avatarcli.studio.raster_torch import EMPTY, CutOut
from avatarcli.studio.scene import CLEAR, CUT_OUT, SHEETS, Light, Material, PosedMesh, RenderMesh, StudioFrames
from avatarcli.studio.shading import Points, shade_clear, shade_sheets, shade_strands, shade_surfaces, tone
from avatarcli.studio.textures import Textures

Shader = Callable[[Points, Light], tuple[Tensor, Tensor]]
# Samples drawn at a time: few, for a CPU's caches; a GPU needs millions to be busy, and has to hold them for several processes.
_SAMPLES = {"cpu": 1 << 18}
_SAMPLES_ELSEWHERE = 1 << 22
_BRIGHTEST = 4.0  # linear: one sample's glint must not outshine its pixel
_CHANNELS = 11  # of a sample: linear color 3, alpha 1, normal 3, regions 4
# What only closed surfaces hide: their backs are never seen, so they need not be drawn.
_CLOSED = (Material.SKIN, Material.EYE, Material.TEETH, Material.TONGUE, Material.CORNEA)


@torch.no_grad()
def render(
    mesh: RenderMesh,
    posed: PosedMesh,
    cameras: Camera,
    light: Light,
    *,
    supersample: int = 2,
    chunk: int | None = None,
) -> StudioFrames:
    """F frames seen by each of V cameras. All tensors on one device.

    supersample: samples along each side of a pixel; chunk: pictures drawn, and frames lit, at a time.
    """
    device = posed.vertices.device
    textures = Textures.of(mesh, posed.vertices[0])
    if chunk is None:
        samples = _SAMPLES.get(device.type, _SAMPLES_ELSEWHERE)
        chunk = max(1, samples // (cameras.width * cameras.height * supersample**2))
    lit = [light_vertices(mesh, posed[i : i + chunk], light, textures) for i in range(0, len(posed), chunk)]
    painter = _Painter(mesh, posed, light, textures, VertexLight.join(lit), supersample)
    views, frames = len(cameras), len(posed)
    count = torch.arange(views * frames, device=device)
    parts = [painter.draw(cameras[some // frames], some % frames) for some in count.split(chunk)]
    fields = [torch.cat(values).unflatten(0, (views, frames)) for values in zip(*parts, strict=True)]
    return StudioFrames(*fields)


def composite(rgba: Tensor, background: Tensor) -> Tensor:
    """Premultiplied pictures [..., H, W, 4] over backgrounds [..., H, W, 3] (sRGB-encoded): [..., H, W, 3]."""
    return rgba[..., :3] + (1 - rgba[..., 3:]) * background


@dataclass(frozen=True)
class _Surface:
    """What is known of every point of a subject in F frames. attributes [F, N, C]: position, normal, tangent, irradiance,
    openness and visible lamps of the vertices; faces [T, 3]; material [T]; finishes and regions of all materials."""

    attributes: Tensor
    faces: Tensor
    material: Tensor
    textures: Textures
    finishes: Tensor
    regions: Tensor
    light: Light


@dataclass(frozen=True)
class _Hits:
    """Points to be shaded. face [n] of the mesh; weights [n, 3]; area [n]; picture [n]; and of each picture its frame [B] and
    where its camera stands, eye [B, 3]."""

    face: Tensor
    weights: Tensor
    area: Tensor
    picture: Tensor
    frame: Tensor
    eye: Tensor


@dataclass(frozen=True)
class _Layer:
    """Triangles that are drawn together. rows [t]: which of the mesh's; faces [t, 3]; closed [t] bool: only their fronts are
    seen; bias [t] metres."""

    rows: Tensor
    faces: Tensor
    closed: Tensor
    bias: Tensor


@once_each
def _layers(mesh: RenderMesh) -> tuple[_Layer, _Layer, _Layer]:
    """What is solid, sheets, and what is clear: drawn in this order."""
    sheets, clear = among(mesh.material, SHEETS), among(mesh.material, CLEAR)
    closed = among(mesh.material, _CLOSED)
    every = (chosen.nonzero()[:, 0] for chosen in (~sheets & ~clear & ~mesh.hidden, sheets, clear))
    solid, sheet, lens = (_Layer(rows, mesh.faces[rows], closed[rows], mesh.depth_bias[rows]) for rows in every)
    return solid, sheet, lens


class _Painter:
    """One subject's frames and light, ready for any camera."""

    def __init__(
        self, mesh: RenderMesh, posed: PosedMesh, light: Light, textures: Textures, lit: VertexLight, supersample: int
    ) -> None:
        self.mesh, self.posed = mesh, posed
        self.supersample = supersample
        self.solid, self.sheets, self.clear = _layers(mesh)
        self.strands = among(mesh.material, tuple(STRANDS))
        rows = self.solid.rows
        self.cut_out = CutOut(
            among(mesh.material[rows], CUT_OUT), lambda face, weights, area: textures.solid(rows[face], weights, area)
        )
        parts = [posed.vertices, lit.normal, lit.tangent, lit.irradiance, lit.openness[..., None], lit.visible]
        device = rows.device
        self.surface = _Surface(
            torch.cat(parts, dim=-1),
            mesh.faces,
            mesh.material.long(),
            textures,
            finishes(device),
            region_table(device),
            light,
        )
        self.on_head = torch.cat([mesh.canonical.expand_as(posed.offset), posed.offset], dim=-1)

    def draw(self, camera: Camera, frame: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """rgba, normal, regions, position, offset and depth of B pictures: B cameras, frames [B]."""
        fine = self.supersample
        size = (fine * camera.height, fine * camera.width)
        screen = project(self.posed.vertices[frame], camera.resized(size[1], size[0]))
        solid = self.solid
        keys = nearest(screen, solid.faces, size, cull_backfaces=solid.closed, bias=solid.bias, cut_out=self.cut_out)
        seen = fragments(keys, screen, solid.faces)
        face, eye = solid.rows[seen.face], camera.centre.float()
        samples = torch.zeros(keys.numel(), _CHANNELS, device=screen.device)
        strands = self.strands[face]
        for chosen, paint in ((~strands, _paint_surfaces), (strands, _paint_strands)):
            some = chosen.nonzero()[:, 0]
            if len(some):
                hits = _Hits(face[some], seen.weights[some], seen.area[some], seen.picture[some], frame, eye)
                samples[seen.sample[some]] = paint(self.surface, hits)
        for layer, lay in ((self.sheets, _lay_sheets), (self.clear, _lay_clear)):
            over = nearest(screen, layer.faces, size, cull_backfaces=layer.closed, bias=layer.bias)
            seen = fragments(torch.where(over < keys, over, EMPTY), screen, layer.faces)
            if len(seen.sample):
                hits = _Hits(layer.rows[seen.face], seen.weights, seen.area, seen.picture, frame, eye)
                samples[seen.sample] = lay(self.surface, hits, samples[seen.sample])
        pictures = samples.view(len(frame), camera.height, fine, camera.width, fine, _CHANNELS)
        return *_develop(pictures), *self._maps(screen, camera, frame)

    def _maps(self, screen: Tensor, camera: Camera, frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Position, offset and depth of the bare head at pixels' centres, whatever covers it."""
        shape = (len(frame), camera.height, camera.width)
        screen = torch.cat([screen[:, :2] / self.supersample, screen[:, 2:]], dim=1)
        faces = self.mesh.faces[: self.mesh.head_faces]
        seen = fragments(nearest(screen, faces, shape[1:]), screen, faces)
        values = torch.zeros(shape[0] * shape[1] * shape[2], 6, device=screen.device)
        values[seen.sample] = _interpolate(self.on_head, faces[seen.face], seen.weights, frame[seen.picture])
        depth = torch.full(values.shape[:1], torch.inf, device=screen.device)
        depth[seen.sample] = seen.depth
        position, offset = values.view(*shape, 6).split(3, dim=-1)
        return position, offset, depth.view(shape)


@fused
def _interpolate(attributes: Tensor, corners: Tensor, weights: Tensor, frame: Tensor) -> Tensor:
    """Attributes [F, N, C] at points [n, C] inside triangles [n, 3] of frames [n]."""
    flat = attributes.flatten(0, 1)
    first = frame * attributes.shape[1]
    parts = [flat[first + corners[:, k]] * weights[:, k, None] for k in range(3)]
    return parts[0] + parts[1] + parts[2]


# One compiled function each, not one with a function as its argument: torch keeps few versions of any.
@fused
def _paint_surfaces(surface: _Surface, hits: _Hits) -> Tensor:
    return _paint(surface, hits, shade_surfaces)


@fused
def _paint_strands(surface: _Surface, hits: _Hits) -> Tensor:
    return _paint(surface, hits, shade_strands)


@fused
def _lay_sheets(surface: _Surface, hits: _Hits, behind: Tensor) -> Tensor:
    return _lay_over(surface, hits, behind, shade_sheets)


@fused
def _lay_clear(surface: _Surface, hits: _Hits, behind: Tensor) -> Tensor:
    return _lay_over(surface, hits, behind, shade_clear)


def _points(surface: _Surface, hits: _Hits) -> Points:
    corners = surface.faces[hits.face]
    values = _interpolate(surface.attributes, corners, hits.weights, hits.frame[hits.picture])
    sizes = [3, 3, 3, 3, 1, values.shape[-1] - 13]
    position, normal, tangent, irradiance, openness, visible = values.split(sizes, dim=-1)
    uv = surface.textures.coordinates(hits.face, hits.weights)
    texel = surface.textures.sample(hits.face, uv, hits.area)
    finish = surface.finishes[surface.material[hits.face]]
    return Points(texel, finish, position, normal, tangent, irradiance, openness[:, 0], visible, hits.eye[hits.picture])


def _paint(surface: _Surface, hits: _Hits, shade: Shader) -> Tensor:
    """Samples [n, _CHANNELS] of what is solid."""
    radiance, normal = shade(_points(surface, hits), surface.light)
    color = (radiance * surface.light.gain).clamp(max=_BRIGHTEST)
    region = surface.regions[surface.material[hits.face]]
    return torch.cat([color, torch.ones_like(color[:, :1]), normal, region], dim=-1)


def _lay_over(surface: _Surface, hits: _Hits, behind: Tensor, shade: Shader) -> Tensor:
    """Samples [n, _CHANNELS] of what blends with the samples behind it."""
    radiance, opacity = shade(_points(surface, hits), surface.light)
    share = opacity[:, None]
    color = behind[:, :3] * (1 - share) + (radiance * surface.light.gain).clamp(max=_BRIGHTEST)
    # A glint in front of nothing hides what it outshines.
    left = behind[:, 3:4] * (1 - share)
    alpha = (left + share).maximum(color.amax(-1, keepdim=True).clamp(max=1))
    region = behind[:, 7:] * (1 - share) + surface.regions[surface.material[hits.face]] * (alpha - left)
    return torch.cat([color, alpha, behind[:, 4:7], region], dim=-1)


@fused
def _develop(samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """rgba, normal and regions [B, H, W, ...] of samples [B, H, s, W, s, _CHANNELS]."""
    color, alpha, normal, regions = samples.mean((2, 4)).split([3, 1, 3, 4], dim=-1)
    rgb = encoded(tone(color / alpha.clamp(min=1e-6))) * alpha
    normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    return torch.cat([rgb, alpha], dim=-1), normal, regions
