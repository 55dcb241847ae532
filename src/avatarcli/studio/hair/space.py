"""The average head prepared for growing hair: how far a point is from it, where its scalp lies, how a person differs from it.

All hair is grown on the pack's average head and then carried to a person: what the average head needs is worked out once.
World: metres, y up, z forward, x to the subject's left.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numba
import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from avatarcli.studio.pack_head import PackHead

Floats = npt.NDArray[Any]  # float32, or float64 in passing
Ints = npt.NDArray[Any]  # int64

CENTRE = np.array([0.0, 0.02, -0.015], np.float32)
"""Middle of the cranium of the average head."""
CHART_TILT = np.radians(35.0)
"""The chart's pole lies this far behind the top of the head, in the middle of the hair."""
CHART_REACH = np.radians(125.0)
"""The chart ends this far from its pole."""

WHORL = np.array([0.0, -0.08], np.float32)
"""Where hair falls apart in all directions, in chart coordinates."""

_BOX_LOW = np.array([-0.28, -0.40, -0.24], np.float32)
_BOX_HIGH = np.array([0.28, 0.26, 0.22], np.float32)
_FINE = 0.007  # metres between nodes of the distance field
_COARSE = 0.016  # metres between nodes of the smooth fields (skinning, a person's difference)
_NEIGHBOURS = 10  # skin vertices that a node of the smooth fields listens to
_RINGS, _SECTORS = 40, 96
# What cloth takes up above skin, and what keeps hair off it.
_CLEARANCE = {"torso": 0.014, "neck": 0.003}
_HOLLOWS = ("mouth_cavity", "eye_socket")


@dataclass(frozen=True)
class Grid:
    """Values [X, Y, Z, C] at the nodes of a box, read between them linearly and outside of it as at its border."""

    low: Floats
    spacing: float
    values: Floats

    @classmethod
    def nodes(cls, spacing: float) -> tuple[tuple[int, int, int], Floats]:
        """Shape and positions [X*Y*Z, 3] of the nodes of the hair's box."""
        count = np.ceil((_BOX_HIGH - _BOX_LOW) / spacing).astype(int) + 1
        axes = [_BOX_LOW[a] + spacing * np.arange(count[a], dtype=np.float32) for a in range(3)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        return (int(count[0]), int(count[1]), int(count[2])), points

    def __call__(self, points: Floats) -> Floats:
        """Values [..., C] at points [..., 3]."""
        flat = np.ascontiguousarray(points.reshape(-1, 3), np.float32)
        read = _read_grid(self.values, self.low, np.float32(self.spacing), flat)
        return read.reshape(*points.shape[:-1], self.values.shape[3])


@numba.njit(nogil=True, cache=True)
def _read_grid(values: Floats, low: Floats, spacing: np.float32, points: Floats) -> Floats:
    """Values [n, C] of a grid [X, Y, Z, C] at points [n, 3]: a fifth of what NumPy takes, which goes through memory for each
    of the eight corners."""
    channels = values.shape[3]
    read = np.zeros((len(points), channels), np.float32)
    cell = np.zeros(3, np.int64)
    share = np.zeros(3, np.float32)
    for n in range(len(points)):
        for axis in range(3):
            last = np.float32(values.shape[axis] - 1.001)
            place = min(max((points[n, axis] - low[axis]) / spacing, np.float32(0)), last)
            cell[axis] = int(place)
            share[axis] = place - cell[axis]
        for dx in range(2):
            wx = share[0] if dx else np.float32(1) - share[0]
            for dy in range(2):
                wy = wx * (share[1] if dy else np.float32(1) - share[1])
                for dz in range(2):
                    weight = wy * (share[2] if dz else np.float32(1) - share[2])
                    for channel in range(channels):
                        read[n, channel] += weight * values[cell[0] + dx, cell[1] + dy, cell[2] + dz, channel]
    return read


@dataclass(frozen=True)
class Binding:
    """Points on the skin: rows [n, 3] of the head and their weights [n, 3] (they may lie a little outside of [0, 1])."""

    index: Ints
    weight: Floats

    def __getitem__(self, chosen: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Binding:
        return Binding(self.index[chosen], self.weight[chosen])

    def of(self, vertices: Floats) -> Floats:
        """The points [n, C] for values [N, C] of the head's vertices."""
        return np.einsum("nk,nkc->nc", self.weight, vertices[self.index])


def unit(vectors: Floats) -> Floats:
    """Vectors of length one (zero stays zero)."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def square_to(axis: Floats) -> tuple[Floats, Floats]:
    """Two unit directions [..., 3] square to `axis` [..., 3] and to each other."""
    other = np.where(np.abs(axis[..., 1:2]) < 0.8, np.array([0, 1, 0], np.float32), np.array([0, 0, 1], np.float32))
    first = unit(np.cross(axis, other))
    return first, np.cross(axis, first)


def smoothstep(low: float, high: float, value: Floats) -> Floats:
    """0 below `low`, 1 above `high` (or the other way round for low > high), smooth between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


class HeadSpace:
    """Fields around the average head.

    vertices [N, 3]: skin of the average head; faces [F, 3]; regions [N] names; skinning [N, 5] weights of the chain;
    mirror [N]: partners of vertices on the other side.
    """

    # By the head's id, for its class has no hash; an entry goes with its head.
    _known: ClassVar[dict[int, HeadSpace]] = {}

    def __init__(
        self, vertices: Floats, faces: Ints, regions: npt.NDArray[np.str_], skinning: Floats, mirror: Ints
    ) -> None:
        self.vertices, self.faces, self.regions, self.skinning, self.mirror = vertices, faces, regions, skinning, mirror
        corner = vertices[faces]
        normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        self._face_normal = unit(normal)
        self._hollow = np.isin(regions, _HOLLOWS)[faces].any(1)

    @classmethod
    def of(cls, head: PackHead) -> HeadSpace:
        """The space of a pack's head; made once for each."""
        if id(head) not in cls._known:
            rows = head.rows("skin")
            names = np.asarray(head.region_names)[head.region.numpy()]
            cls._known[id(head)] = cls(
                head.mean[rows].numpy(),
                head.skin_faces.numpy(),
                names,
                head.skinning[rows].numpy(),
                head.mirror[rows].numpy(),
            )
            weakref.finalize(head, cls._known.pop, id(head), None)
        return cls._known[id(head)]

    @cached_property
    def field(self) -> Grid:
        """Signed distance to the head (metres; negative inside; cloth on the torso counts as head) and its gradient: 4 channels."""
        faces, keep = self.faces, ~self._hollow
        vertex_normal = np.zeros_like(self.vertices)
        for corner in range(3):
            np.add.at(vertex_normal, faces[:, corner], self._face_normal)
        points = np.concatenate([self.vertices, self.vertices[faces[keep]].mean(1)])
        normals = np.concatenate([unit(vertex_normal), self._face_normal[keep]])
        shelter = np.array([_CLEARANCE.get(name, 0.0) for name in self.regions], np.float32)
        shelter = np.concatenate([shelter, shelter[faces[keep]].mean(1)])
        use = np.concatenate([~np.isin(self.regions, _HOLLOWS), np.ones(int(keep.sum()), bool)])
        points, normals, shelter = points[use], normals[use], shelter[use]

        shape, nodes = Grid.nodes(_FINE)
        distance, nearest = cKDTree(points).query(nodes, workers=-1)
        side = ((nodes - points[nearest]) * normals[nearest]).sum(1)
        signed = np.where(side < 0, -distance, distance) - shelter[nearest]
        signed = ndimage.gaussian_filter(signed.reshape(shape).astype(np.float32), 0.8)
        gradient = np.stack(np.gradient(signed, _FINE), axis=-1)
        values = np.concatenate([signed[..., None], gradient], axis=-1).astype(np.float32)
        return Grid(_BOX_LOW, _FINE, np.ascontiguousarray(values))

    @cached_property
    def _listening(self) -> tuple[tuple[int, int, int], sparse.csr_matrix]:
        """Shape of the coarse box, and how much each of its nodes listens to each skin vertex."""
        outer = np.nonzero(~np.isin(self.regions, _HOLLOWS))[0]
        shape, nodes = Grid.nodes(_COARSE)
        distance, nearest = cKDTree(self.vertices[outer]).query(nodes, k=min(_NEIGHBOURS, len(outer)), workers=-1)
        spread = 0.008 + 0.3 * distance[:, :1]
        weight = np.exp(-(distance**2 - distance[:, :1] ** 2) / (2 * spread**2))
        weight /= weight.sum(1, keepdims=True)
        rows = np.repeat(np.arange(len(nodes)), weight.shape[1])
        matrix = sparse.csr_matrix(
            (weight.astype(np.float32).ravel(), (rows, outer[nearest].ravel())), shape=(len(nodes), len(self.vertices))
        )
        return shape, matrix

    def spread(self, values: Floats) -> Grid:
        """A smooth field that takes the values [N, C] of the skin's vertices at the skin."""
        shape, matrix = self._listening
        return Grid(_BOX_LOW, _COARSE, (matrix @ values).reshape(*shape, values.shape[1]).astype(np.float32))

    @cached_property
    def chain(self) -> Grid:
        """Skinning weights around the body: 5 channels."""
        return self.spread(self.skinning)

    def normal(self, points: Floats) -> Floats:
        """Unit directions [..., 3] away from the head."""
        return unit(self.field(points)[..., 1:])

    @cached_property
    def _scalp(self) -> tuple[Floats, Ints]:
        """Distance of the scalp from CENTRE, and the face seen there, at the chart's polar nodes [rings, sectors]."""
        ring = (np.arange(_RINGS, dtype=np.float32) + 0.5) / _RINGS
        angle = np.arange(_SECTORS, dtype=np.float32) * (2 * np.pi / _SECTORS)
        chart = ring[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], -1)[None]
        directions = chart_to_direction(chart.astype(np.float32)).reshape(-1, 3)
        candidates = np.nonzero(np.isin(self.regions[self.faces], ("scalp", "face", "neck")).all(1))[0]
        corner = self.vertices[self.faces[candidates]] - CENTRE
        first, second = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
        radius = np.full(len(directions), np.nan, np.float32)
        face = np.full(len(directions), -1, np.int64)
        for start in range(0, len(directions), 256):
            ray = directions[start : start + 256]
            across = np.cross(ray[:, None], second[None])
            determinant = np.einsum("rfc,fc->rf", across, first)
            safe = np.where(np.abs(determinant) < 1e-12, np.inf, determinant)
            u = np.einsum("rfc,fc->rf", across, -corner[:, 0]) / safe
            other = np.cross(-corner[:, 0], first)
            v = ray @ other.T / safe
            reach = np.einsum("fc,fc->f", second, other)[None] / safe
            hit = (u >= -1e-5) & (v >= -1e-5) & (u + v <= 1 + 1e-5) & (reach > 0.02) & np.isfinite(safe)
            reach = np.where(hit, reach, np.inf)
            best = reach.argmin(1)
            found = np.isfinite(reach[np.arange(len(ray)), best])
            radius[start : start + 256][found] = reach[np.arange(len(ray)), best][found]
            face[start : start + 256][found] = candidates[best[found]]
        radius = radius.reshape(_RINGS, _SECTORS)  # type: ignore[assignment]
        face = face.reshape(_RINGS, _SECTORS)  # type: ignore[assignment]
        # Behind the ears and below the chin nothing is hit: the nearest node that saw something answers.
        wide = np.concatenate([face, face, face], axis=1) < 0
        row, column = ndimage.distance_transform_edt(wide, return_distances=False, return_indices=True)
        row, column = row[:, _SECTORS:-_SECTORS], column[:, _SECTORS:-_SECTORS] % _SECTORS
        return ndimage.gaussian_filter(radius[row, column], (0.6, 0.6), mode=("nearest", "wrap")), face[row, column]

    @cached_property
    def scalp_grid(self) -> tuple[Floats, Floats, Floats, Binding]:
        """A grid around the scalp: chart coordinates [R, C, 2], points [R * C, 3], normals [R * C, 3] and binding."""
        ring = np.linspace(0.02, 1.0, 28, dtype=np.float32)
        angle = np.arange(64, dtype=np.float32) * (2 * np.pi / 64)
        chart = ring[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)[None]
        points, binding = self.scalp(chart.reshape(-1, 2))
        return chart, points, self.normal(points), binding

    def scalp(self, chart: Floats) -> tuple[Floats, Binding]:
        """Positions [n, 3] on the average scalp, and their binding to it, at chart coordinates [n, 2]."""
        radius, face = self._scalp
        distance = np.linalg.norm(chart, axis=-1)
        ring = np.clip(distance * _RINGS - 0.5, 0, _RINGS - 1.001)
        sector = np.arctan2(chart[:, 1], chart[:, 0]) % (2 * np.pi) * (_SECTORS / (2 * np.pi))
        r, s = ring.astype(np.int64), sector.astype(np.int64) % _SECTORS
        fr, fs, after = ring - r, sector - np.floor(sector), (s + 1) % _SECTORS
        reach = (radius[r, s] * (1 - fs) + radius[r, after] * fs) * (1 - fr)
        reach = reach + (radius[r + 1, s] * (1 - fs) + radius[r + 1, after] * fs) * fr
        points = CENTRE + chart_to_direction(chart) * reach[:, None].astype(np.float32)
        rows = np.rint(ring).astype(np.int64), np.rint(sector).astype(np.int64) % _SECTORS
        return points, self.bind(points, face[rows])

    @lru_cache(maxsize=2)  # noqa: B019  (spaces live as long as the program)
    def chart_picture(self, size: int) -> tuple[Floats, Floats, Floats]:
        """Points [S, S, 3] of the average scalp under a square picture of the chart (row 0 at the front), and angle
        [S, S] (radians) and distance [S, S] (chart units) from the whorl."""
        axis = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
        chart = np.stack(np.meshgrid(axis, -axis), axis=-1)
        points = self.scalp(chart.reshape(-1, 2))[0].reshape(size, size, 3)
        away = chart - WHORL
        return points, np.arctan2(away[..., 1], away[..., 0]), np.linalg.norm(away, axis=-1)

    def face_points(self, count: int, rng: np.random.Generator) -> tuple[Floats, Ints]:
        """Points [count, 3] spread at random over the lower face and the throat of the average head, and the
        triangles [count] they lie on.
        """
        names = np.isin(self.regions, ("face", "neck", "lip", "nose", "scalp"))[self.faces].all(1)
        middle = self.vertices[self.faces].mean(1)
        chosen = np.nonzero(names & (middle[:, 1] < 0.02) & (middle[:, 1] > -0.145) & (middle[:, 2] > -0.02))[0]
        corner = self.vertices[self.faces[chosen]]
        area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1).cumsum()
        pick = np.searchsorted(area, rng.random(count) * area[-1])
        a, b = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
        points = corner[pick, 0] * (1 - a) + corner[pick, 1] * (a * (1 - b)) + corner[pick, 2] * (a * b)
        return points.astype(np.float32), chosen[pick]

    def bind(self, points: Floats, faces: Ints) -> Binding:
        """Where points [n, 3] lie on given triangles [n] of the average head."""
        index = self.faces[faces]
        a, b, c = (self.vertices[index[:, k]] for k in range(3))
        e1, e2, q = b - a, c - a, points - a
        d11, d12, d22 = (e1 * e1).sum(1), (e1 * e2).sum(1), (e2 * e2).sum(1)
        q1, q2 = (q * e1).sum(1), (q * e2).sum(1)
        determinant = np.maximum(d11 * d22 - d12 * d12, 1e-18)
        v, w = (d22 * q1 - d12 * q2) / determinant, (d11 * q2 - d12 * q1) / determinant
        v, w = np.clip(v, -0.5, 1.5), np.clip(w, -0.5, 1.5)
        return Binding(index, np.stack([1 - v - w, v, w], axis=1).astype(np.float32))


def chart_to_direction(chart: Floats) -> Floats:
    """Unit directions [..., 3] from CENTRE for chart coordinates [..., 2]: x to the subject's left, y to the front, 1
    at the border.
    """
    distance = np.linalg.norm(chart, axis=-1, keepdims=True)
    angle = distance * CHART_REACH
    flat = chart * (np.sin(angle) / np.maximum(distance, 1e-6))
    x, front, up = flat[..., 0], flat[..., 1], np.cos(angle)[..., 0]
    c, s = np.cos(CHART_TILT), np.sin(CHART_TILT)
    return np.stack([x, up * c + front * s, front * c - up * s], axis=-1).astype(np.float32)


def direction_to_chart(directions: Floats) -> Floats:
    """Chart coordinates [..., 2] of unit directions [..., 3] from CENTRE."""
    c, s = np.cos(CHART_TILT), np.sin(CHART_TILT)
    up = directions[..., 1] * c - directions[..., 2] * s
    front = directions[..., 1] * s + directions[..., 2] * c
    angle = np.arccos(np.clip(up, -1, 1))
    flat = np.stack([directions[..., 0], front], axis=-1)
    scale = angle / np.maximum(np.linalg.norm(flat, axis=-1), 1e-6) / CHART_REACH
    return (flat * scale[..., None]).astype(np.float32)


def azimuth_elevation(points: Floats) -> tuple[Floats, Floats]:
    """Degrees from the front (positive to the subject's left) and above the horizon, seen from CENTRE."""
    away = points - CENTRE
    azimuth = np.degrees(np.arctan2(away[..., 0], away[..., 2]))
    elevation = np.degrees(np.arctan2(away[..., 1], np.hypot(away[..., 0], away[..., 2])))
    return azimuth, elevation
