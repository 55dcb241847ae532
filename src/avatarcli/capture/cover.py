"""Which pixels of the photo show something that covers the bare head: hair, clothes, a hat.

There is no openly licensed face-parsing network, so this is decided from color and geometry: what lies outside the fitted
bald head must be cover, the middle of the face is skin, and in between the two color models decide. Where the hair network has
spoken, what it takes for hair is cover, and a forehead without hair is likelier skin.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from avatarcli.geometry.fill import blur
from avatarcli.geometry.mesh import MeshRaster
from avatarcli.head.face_points import CHIN
from avatarcli.head.model import REGIONS, HeadModel, is_region

_BINS = 24  # cells of the color histograms along each axis
_FEW = 50  # pixels: with fewer of the face in sight there is no color model to be had
# Skin in shadow, as below the chin: how much darker, and how common beside lit skin.
_SHADOWS = ((0.75, 0.4), (0.55, 0.2), (0.4, 0.1))
_SURE_HAIR = (0.6, 0.9)  # probability of hair from which, and at which wholly, colors are no longer asked
# Probability below which it finds none there, and what is left of the prior for cover on a head where it found hair elsewhere.
_NO_HAIR, _STILL_COVERED = 0.1, 0.4
_FLOOR = 2e-5  # density of a color that neither model has seen: such a pixel is decided by the prior alone
# How likely each region of the bare head is covered, before looking at the color. The middle of the face never is.
_PRIOR = {
    "face": 0.4, "scalp": 0.7, "ear": 0.35, "neck": 0.35, "torso": 0.8, "eyelid": 0.0, "lip": 0.0, "nose": 0.0,
    "mouth_cavity": 0.0, "eye_socket": 0.0, "eye": 0.0, "tongue": 0.0, "teeth": 0.0,
}  # fmt: skip


def cover_map(
    image: Tensor,
    matte: Tensor,
    raster: MeshRaster,
    model: HeadModel,
    landmarks: Tensor,
    hair: Tensor | None = None,
) -> Tensor:
    """Probability [H, W] that a pixel of the person shows hair or clothes rather than the bare head.

    image [H, W, 3] and matte [H, W] in [0, 1]; raster: the fitted head seen by the photo's camera; landmarks [478, 2] pixels.
    hair [H, W] in [0, 1]: what the hair network found, or `Portrait.region(Label.HAIR)`, where there is one.
    """
    height, width = matte.shape
    prior = torch.tensor([_PRIOR[name] for name in REGIONS])
    region = model.face_region[raster.face.clamp(min=0)]
    on_head = raster.covered
    probability = torch.where(on_head, prior[region], torch.ones_like(matte))
    core = _face_core(landmarks, height, width)
    probability = torch.where(core, torch.zeros_like(probability), probability)

    inside = matte > 0.9
    sure_hair = torch.zeros_like(matte)
    if hair is not None:
        low, high = _SURE_HAIR
        sure_hair = ((hair - low) / (high - low)).clamp(0, 1)
        if (sure_hair > 0.5).any():
            upper = is_region(region, "scalp", "face")
            probability = torch.where(on_head & upper & (hair < _NO_HAIR), probability * _STILL_COVERED, probability)
    colors = _color_features(image)
    skin_seed = core & inside & ~_features(region) & (sure_hair == 0)
    # Brows, beards and shadows lie within the face too; the skin itself is its brighter part.
    luminance = torch.from_numpy(colors[..., 0])
    if skin_seed.sum() < _FEW:
        return (probability > 0.5).to(matte)
    skin_seed &= luminance > luminance[skin_seed].quantile(0.2)
    chin = landmarks[CHIN, 1]
    above_chin = (torch.arange(height)[:, None] + 0.5 < chin).expand(height, width)
    bare = ~on_head | is_region(region, "scalp")
    hair_seed, cloth_seed = (
        (bare & above_chin | (sure_hair > 0.5)) & inside,
        (~on_head | is_region(region, "torso")) & ~above_chin & inside,
    )
    skin = _density(colors, skin_seed)
    likely_skin = skin > skin[skin_seed].quantile(0.35)
    # Only below the mouth, for up by the hairline shaded skin and brown hair are the same color.
    below_mouth = (torch.arange(height)[:, None] + 0.5 > landmarks[17, 1]).to(matte)
    for shade, share in _SHADOWS:
        skin = skin + share * below_mouth * _density(colors, skin_seed, _color_features(image * shade))
    # Hair and clothes are counted apart, for a large white shirt would otherwise drown the hair's colors.
    covers = [_density(colors, seed & ~likely_skin) for seed in (hair_seed, cloth_seed)]
    reach = torch.stack([torch.ones_like(matte), (~above_chin).to(matte)])
    cover = (torch.stack(covers) * reach).amax(0)
    odds = (cover + _FLOOR) / (cover + skin + 2 * _FLOOR)
    posterior = odds * probability / (odds * probability + (1 - odds) * (1 - probability)).clamp(min=1e-6)
    posterior = torch.where(on_head, posterior, torch.ones_like(posterior))
    posterior = torch.maximum(posterior, sure_hair)
    # Single pixels decide badly (freckles, highlights in hair); a neighbourhood of about a hair's lock decides well.
    smooth = blur(posterior[..., None], max(1.0, width / 300))[..., 0]
    return ((smooth - 0.3) / 0.4).clamp(0, 1) * (~core)


def _face_core(landmarks: Tensor, height: int, width: int) -> Tensor:
    """The face from above the brows down to the chin: always skin (or brow, or beard, which move as skin does)."""
    # MediaPipe's face oval below the temples, then the brows' upper edges.
    oval = [127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454,
            356]  # fmt: skip
    brows = [300, 293, 334, 296, 336, 9, 107, 66, 105, 63, 70]
    centre = landmarks[[4, 168, CHIN]].mean(0)
    face = landmarks[oval]
    face = torch.stack(
        [centre[0] + (face[:, 0] - centre[0]) * 0.88, centre[1] + (face[:, 1] - centre[1]) * 0.96], dim=-1
    )
    lift = 0.35 * (landmarks[brows, 1].mean() - landmarks[[33, 263], 1].mean())
    points = torch.cat([face, landmarks[brows] + torch.stack([torch.zeros(()), lift])])
    return _polygon(points, height, width)


def mouth_opening(landmarks: Tensor, height: int, width: int) -> Tensor:
    """The picture [H, W] (bool) between the inner edges of the lips: teeth, tongue and dark, no skin. landmarks [478, 2] pixels."""
    inner_lips = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95]
    return _polygon(landmarks[inner_lips], height, width)


def eye_openings(landmarks: Tensor, height: int, width: int) -> Tensor:
    """The picture [H, W] (bool) between the lids of both eyes. landmarks [478, 2] pixels."""
    right = [33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7]
    left = [263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249]
    return _polygon(landmarks[right], height, width) | _polygon(landmarks[left], height, width)


def _polygon(points: Tensor, height: int, width: int) -> Tensor:
    """The pixels [H, W] (bool) whose centres lie inside a polygon [N, 2], by the even-odd rule."""
    rows = torch.arange(height, dtype=torch.float32) + 0.5
    columns = torch.arange(width, dtype=torch.float32) + 0.5
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    inside = torch.zeros(height, width, dtype=torch.bool)
    for a, b in zip(points, points.roll(-1, 0), strict=True):
        crosses = (a[1] > y) != (b[1] > y)
        rise = torch.where((b[1] - a[1]).abs() < 1e-6, torch.tensor(1e-6), b[1] - a[1])
        inside ^= crosses & (x < (b[0] - a[0]) * (y - a[1]) / rise + a[0])
    return inside


def _features(region: Tensor) -> Tensor:
    """Pixels of the face that are not plain skin: eyes, lips, mouth."""
    return is_region(region, "lip", "eyelid", "eye", "eye_socket", "mouth_cavity", "teeth", "tongue")


def bare_skin(matte: Tensor, cover: Tensor, raster: MeshRaster, model: HeadModel) -> Tensor:
    """Pixels [H, W] (bool) that surely show the face's bare skin. cover [H, W]: as `cover_map` gives it; the rest as it takes."""
    face = is_region(model.face_region, "face", "nose")[raster.face.clamp(min=0)]
    return face & raster.covered & (matte > 0.95) & (cover < 0.1)


def _color_features(image: Tensor) -> npt.NDArray[np.float32]:
    """Brightness and two opponent colors [H, W, 3], spread over [0, 1]: skin and hair differ in all three."""
    r, g, b = image.unbind(-1)
    luminance = 0.3 * r + 0.6 * g + 0.1 * b
    opponents = torch.stack([luminance, 0.5 + (r - g), 0.5 + 0.5 * (r + g) / 2 - 0.5 * b], dim=-1)
    return opponents.clamp(0, 1).numpy()


def _density(
    features: npt.NDArray[np.float32], seed: Tensor, seed_features: npt.NDArray[np.float32] | None = None
) -> Tensor:
    """Smoothed color histogram of the seed pixels (or of other colors standing at them), looked up at every pixel [H, W]."""
    histogram = np.bincount(
        _cells(features if seed_features is None else seed_features)[seed.numpy()], minlength=_BINS**3
    )
    smooth = gaussian_filter(histogram.reshape(_BINS, _BINS, _BINS).astype(np.float64), 1.0).reshape(-1)
    return torch.from_numpy((smooth / max(smooth.sum(), 1e-12))[_cells(features)]).float()


def color_overlap(image: Tensor, one: Tensor, other: Tensor) -> float:
    """How alike the colors of two sets of pixels [H, W] (bool, neither empty) of a picture [H, W, 3] are: 0 nothing, 1 equal."""
    features = _color_features(image)
    smooth = []
    for where in (one, other):
        counts = np.bincount(_cells(features)[where.numpy()], minlength=_BINS**3).reshape(_BINS, _BINS, _BINS)
        spread = gaussian_filter(counts.astype(np.float64), 1.0)
        smooth.append(spread / spread.sum())
    return float(np.minimum(*smooth).sum())


def _cells(features: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    cells = np.minimum((features * _BINS).astype(np.int64), _BINS - 1)
    index: npt.NDArray[np.int64] = (cells[..., 0] * _BINS + cells[..., 1]) * _BINS + cells[..., 2]
    return index
