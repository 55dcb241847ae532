"""The outer shell: one closed surface around the bare head that carries hair and clothes.

The surface is star-shaped about a line that runs from the middle of the skull down through the neck: above the skull's middle
its points lie on rays in all upward directions, below it on horizontal rays. So a point of it is a row (from the crown down
to the chest) and a column (an angle around the head), and everything on it is an ordinary picture [rows, columns].
How far it stands off the bare head is read off the photo's matte at the outline and continued smoothly elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.sparse import coo_matrix, diags, eye
from scipy.sparse.linalg import factorized
from scipy.spatial import cKDTree
from torch import Tensor

from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.fill import blur, ramp
from avatarcli.geometry.mesh import sample_image
from avatarcli.geometry.rays import outermost_hit
from avatarcli.head.face_points import CHIN
from avatarcli.head.model import HeadModel, PersonalHead

ROWS_ABOVE, ROWS_BELOW, COLUMNS = 56, 88, 192  # about 3 mm between neighbours on a head
_BOTTOM = -0.30  # metres: height at which the bust is cut
_REACH, _STEP = 0.26, 0.002  # metres: how far hair is looked for beyond the bare head, and how finely
_FACE_HOLD = 2.0  # how firmly the shell lies on the face, beside an outline's weight of 1
_OTHER_SIDE = 0.3  # how much one side's outline counts for the other
_BROWS = (66, 296)
DEPTH_TOLERANCE = 0.006  # metres behind what a camera sees of the shell, up to which a point of it counts as seen
CLEARANCE = 0.0015  # metres: least distance from the skin, so that the two surfaces do not fight


@dataclass(frozen=True)
class Shell:
    """The shell's grid, R rows × C columns.

    vertices [R·C, 3] metres, at rest; faces [F, 3], counter-clockwise from outside; uv [R·C, 2] in [0, 1] (a picture over the
    grid); thickness [R, C] metres above the bare head; origins, directions [R·C, 3]: the rays; skinning [R·C, 5] as in HeadModel.
    """

    vertices: Tensor
    faces: Tensor
    uv: Tensor
    thickness: Tensor
    origins: Tensor
    directions: Tensor
    skinning: Tensor

    @property
    def rows(self) -> int:
        return self.thickness.shape[0]


def fit_shell(head: PersonalHead, posed: Tensor, camera: Camera, matte: Tensor, inside: Tensor) -> Shell:
    """The shell that explains a photo's matte.

    head: the person; posed [N, 3]: the bare head with the photo's expression; camera: the photo's; matte [H, W] in [0, 1];
    inside [H, W]: 1 where the picture shows the photo, 0 where it was padded.
    """
    origins, directions = _rays(head)
    skin = head.model.faces[head.model.face_part == 0]
    bare = outermost_hit(origins, directions, posed, skin)
    front = front_of_face(head.model, posed, origins + bare[:, None] * directions)
    bare = _smooth_outwards(bare)
    # Single curls and steps of the matte would comb ridges into the surface.
    soft = blur(matte[..., None], camera.width / 130)[..., 0]
    free, outlined = _room_in_matte(origins, directions, bare, camera, soft, inside)
    thickness = _continue_thickness(origins, directions, free, outlined, front, camera)
    radius = bare + thickness + CLEARANCE
    vertices = origins + radius[:, None] * directions
    faces, uv = _grid_topology()
    # The shell moves with what it lies on.
    skinning = head.model.cover_skinning[nearest_skin(head.model, posed, vertices)]
    return Shell(vertices, faces, uv, thickness.view(-1, COLUMNS), origins, directions, skinning)


def _rays(head: PersonalHead) -> tuple[Tensor, Tensor]:
    """Origins and unit directions [R·C, 3] of the shell's rays, row by row from the crown down."""
    model = head.model
    skull = head.neutral[model.in_regions("scalp", "ear")]
    low, high = skull.amin(0), skull.amax(0)
    centre = torch.stack([torch.tensor(0.0), 0.5 * (low[1] + high[1]), 0.5 * (low[2] + high[2])])
    neck = head.joints[model.joint_names.index("neck01")]
    azimuth = (torch.arange(COLUMNS) + 0.5) / COLUMNS * 2 * math.pi
    elevation = (1 - (torch.arange(ROWS_ABOVE) + 0.5) / ROWS_ABOVE) * math.pi / 2
    around = torch.stack([azimuth.sin(), torch.zeros_like(azimuth), azimuth.cos()], dim=-1)
    up = torch.tensor([0.0, 1.0, 0.0])
    above = elevation.cos()[:, None, None] * around + elevation.sin()[:, None, None] * up
    heights = torch.linspace(float(centre[1]), _BOTTOM, ROWS_BELOW)
    # The line leans back from the skull's middle to the neck's root and runs straight down from there.
    lean = ((centre[1] - heights) / (centre[1] - neck[1])).clamp(0, 1)
    axis = torch.stack([torch.zeros_like(heights), heights, centre[2] + lean * (neck[2] - centre[2])], dim=-1)
    origins = torch.cat([centre.expand(ROWS_ABOVE, COLUMNS, 3), axis[:, None].expand(ROWS_BELOW, COLUMNS, 3)])
    directions = torch.cat([above, around.expand(ROWS_BELOW, COLUMNS, 3)])
    return origins.reshape(-1, 3), directions.reshape(-1, 3)


def _smooth_outwards(radius: Tensor) -> Tensor:
    """Close the gaps behind ears and under the chin, where hair would not follow the skin: a smooth hull, never below it."""
    hull = radius.view(-1, COLUMNS)
    for _ in range(6):
        padded = torch.cat([hull[:, -1:], hull, hull[:, :1]], dim=1)
        mean = (padded[:, :-2] + padded[:, 2:]) / 2
        vertical = torch.cat([hull[:1], hull, hull[-1:]])
        hull = torch.maximum(radius.view(-1, COLUMNS), (mean + (vertical[:-2] + vertical[2:]) / 2) / 2)
    return hull.reshape(-1)


def _room_in_matte(
    origins: Tensor, directions: Tensor, bare: Tensor, camera: Camera, matte: Tensor, inside: Tensor
) -> tuple[Tensor, Tensor]:
    """How far [R] (metres) each ray runs on from the bare head before it leaves the matte, and whether it leaves at all."""
    steps = torch.arange(0, _REACH, _STEP)
    points = origins[:, None] + (bare[:, None] + steps)[..., None] * directions[:, None]
    pixels, depth = camera.project(points.view(-1, 3))
    values = sample_image(torch.stack([matte, inside], dim=-1), pixels)
    in_frame = (pixels[:, 0] > 0) & (pixels[:, 0] < camera.width) & (pixels[:, 1] > 0) & (pixels[:, 1] < camera.height)
    known = in_frame & (values[:, 1] > 0.5) & (depth > 0)
    outside = (known & (values[:, 0] < 0.5)).view(len(bare), -1)
    leaves = outside.any(1)
    first = torch.where(leaves, outside.int().argmax(1), torch.full_like(bare, len(steps), dtype=torch.long))
    return (first - 1).clamp(min=0).float() * _STEP, leaves


def _continue_thickness(
    origins: Tensor, directions: Tensor, free: Tensor, outlined: Tensor, face: Tensor, camera: Camera
) -> Tensor:
    """Thickness [R] that matches the outline where a ray runs along it, and is smooth in between.

    Least squares on the grid: data where the ray is nearly perpendicular to the view (there the matte's edge is the surface's
    own outline), a thin layer towards the camera, smoothness everywhere.
    """
    toward = torch.nn.functional.normalize(camera.centre - origins, dim=-1)
    slant = (toward * directions).sum(-1)
    data = torch.where(outlined, torch.exp(-(slant / 0.15).square()), torch.zeros_like(slant))
    # Hair lies some millimetres thick on a forehead; without this the sides' volume would swell over the face, and what is seen
    # beside a cheek would float in front of it.
    front = torch.maximum(0.6 * ((slant - 0.45) / 0.4).clamp(0, 1), _FACE_HOLD * face)
    data = data * (1 - face)
    weight, target = data + front, data * free + front * 0.003
    # Hair is roughly alike on both sides: what one side shows counts for the other, only less. (A flip of the columns mirrors.)
    for values in (weight, target):
        values += _OTHER_SIDE * values.view(-1, COLUMNS).flip(1).reshape(-1)
    smoothness, identity = _grid_laplacian(), eye(len(weight))
    solve = factorized((diags(weight.double().numpy()) + 1.0 * smoothness + 1e-6 * identity).tocsc())
    thickness = torch.from_numpy(solve(target.double().numpy())).float()
    return torch.minimum(thickness.clamp(min=0), torch.where(outlined, free, torch.full_like(free, _REACH)))


def _grid_laplacian() -> coo_matrix:
    """Graph Laplacian of the grid: columns wrap around; the crown's rows join through their neighbours."""
    rows = ROWS_ABOVE + ROWS_BELOW
    index = torch.arange(rows * COLUMNS).view(rows, COLUMNS)
    across = torch.stack([index, index.roll(-1, 1)]).reshape(2, -1)
    down = torch.stack([index[:-1], index[1:]]).reshape(2, -1)
    over_crown = torch.stack([index[0], index[0].roll(COLUMNS // 2)])
    a, b = torch.cat([across, down, over_crown], dim=1).numpy()
    size = rows * COLUMNS
    ones = torch.ones(len(a)).numpy()
    adjacency = coo_matrix((ones, (a, b)), shape=(size, size))
    adjacency = adjacency + adjacency.T
    degree = diags(torch.from_numpy(adjacency.sum(1)).reshape(-1).numpy())
    return degree - adjacency


def _grid_topology() -> tuple[Tensor, Tensor]:
    """Triangles [F, 3] of the grid (columns wrap) and uv [R·C, 2] of its vertices."""
    rows = ROWS_ABOVE + ROWS_BELOW
    index = torch.arange(rows * COLUMNS).view(rows, COLUMNS)
    a, b = index[:-1], index[:-1].roll(-1, 1)
    c, d = index[1:], index[1:].roll(-1, 1)
    faces = torch.cat([torch.stack([a, c, b], -1).view(-1, 3), torch.stack([b, c, d], -1).view(-1, 3)])
    v, u = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(COLUMNS) + 0.5) / COLUMNS, indexing="ij")
    return faces, torch.stack([u, v], dim=-1).view(-1, 2)


def nearest_skin(model: HeadModel, posed: Tensor, points: Tensor) -> Tensor:
    """The skin vertex [P] nearest to each point [P, 3] of a posed mesh [N, 3]."""
    skin = model.part("skin")
    _, nearest = cKDTree(posed[skin].numpy()).query(points.numpy())
    return torch.from_numpy(nearest) + skin.start


def front_of_face(model: HeadModel, posed: Tensor, points: Tensor) -> Tensor:
    """How far [P] in [0, 1] points [P, 3] lie on the face proper: before the ears and below the forehead."""
    ears = posed[model.in_regions("ear"), 2].amax()
    brows = brow_height(model, posed)
    chin = model.landmarks(posed)[CHIN, 1]
    before = ramp(points[:, 2] - ears, 0.0, 0.02)
    return before * ramp(brows + 0.05 - points[:, 1], 0.0, 0.03) * ramp(points[:, 1] - chin, -0.01, 0.0)


def brow_height(model: HeadModel, posed: Tensor) -> Tensor:
    """Height of the brows of a posed mesh [N, 3], metres."""
    return model.landmarks(posed)[list(_BROWS), 1].mean()
