"""The numerical half of matting: colour models, the closed-form alpha solve, guided upsampling, foreground colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse import linalg

Array: TypeAlias = npt.NDArray[np.float32]
Mask: TypeAlias = npt.NDArray[np.bool_]

_PAIRS = [(i, j) for i in range(3) for j in range(i, 3)]
# Degrees of freedom of the colour models' tails.
_TAIL = 6.0
# Log odds that a pixel is person or background alone rather than one of the mixtures in between.
_PURE = 2.5


def box(image: Array, radius: int) -> Array:
    """Mean over (2 radius + 1)² windows of [H, W] or [H, W, C]; edges repeat."""
    size = (2 * radius + 1,) * 2 + (1,) * (image.ndim - 2)
    return np.asarray(ndimage.uniform_filter(image, size, mode="nearest"), dtype=np.float32)


def guided_coefficients(guide: Array, target: Array, radius: int, epsilon: float) -> tuple[Array, Array]:
    """Local linear models of `target` [H, W] in the colours of `guide` [H, W, 3]: slopes [H, W, 3] and offsets [H, W].

    The colour guided filter of He, Sun, Tang, "Guided Image Filtering", TPAMI 2013: the filtered picture is
    sum(slopes * guide) + offsets. Coefficients of a small picture can be enlarged and applied to the large one.
    """
    mean = box(guide, radius)
    target_mean = box(target, radius)
    covariance = box(guide * target[..., None], radius) - mean * target_mean[..., None]
    spread = box(guide[..., :, None] * guide[..., None, :], radius) - mean[..., :, None] * mean[..., None, :]
    spread += np.float32(epsilon) * np.eye(3, dtype=np.float32)
    slopes = np.linalg.solve(spread, covariance[..., None])[..., 0].astype(np.float32)
    offsets = target_mean - (slopes * mean).sum(-1)
    return box(slopes, radius), box(offsets, radius)


def resize(image: Array, height: int, width: int) -> Array:
    """Bilinear resize of [H, W] or [H, W, C], pixel areas aligned; averages first when shrinking."""
    shrink = (image.shape[0] / height, image.shape[1] / width)
    if max(shrink) > 1:
        sigma = tuple(0.4 * max(s, 1.0) if s > 1 else 0.0 for s in shrink) + (0.0,) * (image.ndim - 2)
        image = ndimage.gaussian_filter(image, sigma, mode="nearest")
    rows = (np.arange(height, dtype=np.float32) + 0.5) * shrink[0] - 0.5
    columns = (np.arange(width, dtype=np.float32) + 0.5) * shrink[1] - 0.5
    return _lerp(_lerp(image, rows, 0), columns, 1)


def _lerp(image: Array, positions: Array, axis: int) -> Array:
    last = image.shape[axis] - 1
    positions = np.clip(positions, 0, last)
    low = np.floor(positions).astype(np.int64)
    shape = [1] * image.ndim
    shape[axis] = -1
    weight = (positions - low).astype(np.float32).reshape(shape)
    a, b = np.take(image, low, axis), np.take(image, np.minimum(low + 1, last), axis)
    return np.asarray(a + weight * (b - a), dtype=np.float32)


@dataclass(frozen=True)
class ColourModel:
    """One Gaussian of colours at every pixel: means [..., 3]; covariances [..., 6] as rr, rg, rb, gg, gb, bb."""

    mean: Array
    covariance: Array

    def __getitem__(self, where: Mask) -> ColourModel:
        return ColourModel(self.mean[where], self.covariance[where])

    def distance(self, colours: Array, noise: float) -> Array:
        """Squared Mahalanobis distances [...] of colours [..., 3]; `noise` is a channel's standard deviation on top."""
        return _mahalanobis(colours - self.mean, _noisy(self.covariance, noise))[0]


def local_colours(image: Array, weight: Array, sigma: float) -> ColourModel:
    """The colours of the weighted pixels around every pixel of [H, W, 3].

    Averages are Gaussian blurs of `sigma` pixels; where no weighted pixel is that near, wider blurs take over.
    """
    products = [weight] + [weight * image[..., c] for c in range(3)]
    products += [weight * image[..., i] * image[..., j] for i, j in _PAIRS]
    stacked = np.stack(products, axis=-1)
    moments = blur(stacked, sigma) + 1e-2 * blur(stacked, 3 * sigma) + 1e-4 * blur(stacked, 10 * sigma)
    moments /= np.maximum(moments[..., :1], 1e-12)
    mean = moments[..., 1:4]
    products = [mean[..., i] * mean[..., j] for i, j in _PAIRS]
    return ColourModel(mean, moments[..., 4:] - np.stack(products, axis=-1))


def mixture_alpha(
    colours: Array, person: ColourModel, background: ColourModel, evidence: Array, noise: float
) -> tuple[Array, Array]:
    """How much person is in colours [N, 3]: mean and deviation [N] of alpha over all mixtures of the two models.

    A mixture of two Gaussians in parts alpha and 1 - alpha is a Gaussian, as in Chuang, Curless, Salesin, Szeliski, "A
    Bayesian Approach to Digital Matting", CVPR 2001; here with heavy tails (Student's t), so that colours unlike both
    decide little.

    evidence: log odds [N] of person against background from elsewhere. noise: standard deviation of a channel in any
    mixture.
    """
    levels = np.linspace(0, 1, 9, dtype=np.float32)
    scores = []
    for level in levels:
        mean = level * person.mean + (1 - level) * background.mean
        covariance = level**2 * person.covariance + (1 - level) ** 2 * background.covariance
        distance, log_determinant = _mahalanobis(colours - mean, _noisy(covariance, noise))
        density = -0.5 * log_determinant - 0.5 * (_TAIL + 3) * np.log1p(distance / _TAIL)
        scores.append(density + level * evidence + (_PURE if level in (0, 1) else 0))
    table = np.stack(scores)
    table = np.exp(table - table.max(0))
    table /= table.sum(0)
    first = levels @ table
    second = levels**2 @ table
    return first, np.sqrt(np.maximum(second - first**2, 0))


def _noisy(covariance: Array, noise: float) -> Array:
    return covariance + np.float32(noise) ** 2 * np.array([1, 0, 0, 1, 0, 1], np.float32)


def _mahalanobis(difference: Array, covariance: Array) -> tuple[Array, Array]:
    """Squared distance and log determinant [N] of differences [N, 3] under covariances [N, 6], by Cholesky by hand."""
    rr, rg, rb, gg, gb, bb = np.moveaxis(covariance, -1, 0)
    r, g, b = np.moveaxis(difference, -1, 0)
    floor = np.float32(1e-6)
    a = np.maximum(rr, floor)
    c = np.maximum(gg - rg * rg / a, floor)
    cross = gb - rg * rb / a
    e = np.maximum(bb - rb * rb / a - cross * cross / c, floor)
    y = g - rg / a * r
    z = b - rb / a * r - cross / c * y
    return r * r / a + y * y / c + z * z / e, np.log(a) + np.log(c) + np.log(e)


def blur(image: Array, sigma: float) -> Array:
    """Gaussian blur [H, W, C], computed on a smaller picture when sigma is large."""
    step = max(1, int(sigma / 3))
    if step == 1:
        return np.asarray(ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest"), dtype=np.float32)
    height, width = image.shape[:2]
    rows, columns = -(-height // step), -(-width // step)
    padded = np.pad(image, ((0, rows * step - height), (0, columns * step - width), (0, 0)), mode="edge")
    small = padded.reshape(rows, step, columns, step, -1).mean((1, 3))
    small = ndimage.gaussian_filter(small, (sigma / step, sigma / step, 0), mode="nearest")
    return resize(small, rows * step, columns * step)[:height, :width]


def closed_form_alpha(image: Array, prior: Array, confidence: Array, unknown: Mask, epsilon: float = 1e-5) -> Array:
    """Alpha [H, W] in [0, 1] that varies with the picture's colours and stays near `prior` where `confidence` is high.

    Levin, Lischinski, Weiss, "A Closed-Form Solution to Natural Image Matting", TPAMI 2008: in every 3 × 3 window alpha
    is an affine function of colour. Only pixels in `unknown` [H, W] move.

    image: [H, W, 3] in [0, 1]. epsilon: regulariser of the windows' colour spread.
    """
    height, width = unknown.shape
    windows = ndimage.binary_dilation(unknown, np.ones((3, 3), bool))
    windows[[0, -1], :] = False
    windows[:, [0, -1]] = False
    if not unknown.any() or not windows.any():
        return prior
    offsets = np.array([dy * width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    members = np.flatnonzero(windows)[:, None] + offsets  # [K, 9]
    colours = image.reshape(-1, 3)[members]
    colours = colours - colours.mean(1, keepdims=True)
    spread = colours.transpose(0, 2, 1) @ colours / 9 + epsilon / 9 * np.eye(3, dtype=np.float32)
    affinity = (1 + colours @ np.linalg.solve(spread, colours.transpose(0, 2, 1))) / 9  # [K, 9, 9]

    rows = np.repeat(members, 9, axis=1).ravel()
    columns = np.tile(members, (1, 9)).ravel()
    keep = unknown.ravel()[rows]
    number = np.cumsum(unknown.ravel()) - 1
    weights = sparse.csr_matrix(
        (affinity.ravel()[keep].astype(np.float64), (number[rows[keep]], columns[keep])),
        shape=(int(unknown.sum()), height * width),
    )
    inside = unknown.ravel()
    degree = np.asarray(weights.sum(1)).ravel()
    stiffness = confidence.ravel()[inside].astype(np.float64)
    start = prior.ravel()[inside].astype(np.float64)
    known = np.where(inside, 0.0, prior.ravel())
    right = stiffness * start + weights @ known
    free = weights[:, np.flatnonzero(inside)]
    system = sparse.diags(degree + stiffness) - free
    jacobi = sparse.diags(1.0 / system.diagonal())
    solution, _ = linalg.cg(system, right, x0=start, rtol=1e-4, maxiter=120, M=jacobi)
    alpha = prior.copy()
    alpha.ravel()[inside] = np.clip(solution, 0, 1)
    return alpha


def unmix(image: Array, alpha: Array, grid: int = 512) -> Array:
    """Foreground colours [H, W, 3] such that alpha * foreground + (1 - alpha) * background = image, both smooth.

    Coarse to fine: each level has twice the pixels a side of the one before and starts from it. Germer, Uelwer, Conrad,
    Harmeling, "Fast Multi-Level Foreground Estimation", ICPR 2020, with Jacobi steps. Above `grid` pixels a side, only
    the mixture itself is put right.

    image: [H, W, 3] in [0, 1]. alpha: [H, W].
    """
    height, width = alpha.shape
    shrink = min(1.0, grid / max(height, width))
    levels = [(max(1, round(height * shrink)), max(1, round(width * shrink)))]
    while max(levels[-1]) > 2:
        levels.append((max(1, levels[-1][0] // 2), max(1, levels[-1][1] // 2)))
    pyramid = [(resize(image, *levels[0]), resize(alpha, *levels[0]))]
    for level in levels[1:]:
        pyramid.append((resize(pyramid[-1][0], *level), resize(pyramid[-1][1], *level)))
    both = np.tile(pyramid[-1][0].mean((0, 1), keepdims=True), 2)  # foreground and background, [h, w, 6]
    for level_image, level_alpha in reversed(pyramid):
        both = resize(both, *level_alpha.shape)
        for _ in range(10 if max(level_alpha.shape) <= 128 else 4):
            both = _unmix_step(level_image, level_alpha, both)
    if shrink == 1:
        return both[..., :3]
    both = resize(both, height, width)
    return _fit_mixture(image, alpha[..., None], both, np.float32(0.02))[..., :3]


def _unmix_step(image: Array, alpha: Array, both: Array) -> Array:
    """Every pixel's foreground and background from its colour and its four neighbours': a 2 × 2 system each."""
    total = np.zeros_like(alpha)
    pulled = np.zeros_like(both)
    padded_alpha = np.pad(alpha, 1, mode="edge")
    padded = np.pad(both, ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = alpha.shape
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        window = (slice(dy, dy + height), slice(dx, dx + width))
        # Constants of the paper: a little smoothing everywhere, more across edges of alpha.
        weight = 5e-3 + 0.1 * np.abs(padded_alpha[window] - alpha)
        total += weight
        pulled += weight[..., None] * padded[window]
    return _fit_mixture(image, alpha[..., None], pulled / total[..., None], total[..., None])


def _fit_mixture(image: Array, alpha: Array, both: Array, stiffness: Array | np.float32) -> Array:
    """Foreground, background [H, W, 6] near `both` that mix to the picture; less exactly where `stiffness` is high."""
    front, back = both[..., :3], both[..., 3:]
    error = image - alpha * front - (1 - alpha) * back
    step = error / (alpha**2 + (1 - alpha) ** 2 + stiffness)
    moved = np.concatenate([front + alpha * step, back + (1 - alpha) * step], axis=-1)
    return np.asarray(np.clip(moved, 0, 1), dtype=np.float32)
