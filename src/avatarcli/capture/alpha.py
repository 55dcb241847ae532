"""The numerical half of matting: color models, the closed-form alpha solve, guided upsampling, foreground colors."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import linalg

from avatarcli.arrays import Float32, Mask

_PAIRS = [(i, j) for i in range(3) for j in range(i, 3)]
# Degrees of freedom of the color models' tails.
_TAIL = 6.0
# Log odds that a pixel is person or background alone rather than one of the mixtures in between.
_PURE = 2.5


def box(image: Float32, radius: int) -> Float32:
    """Mean over (2 radius + 1)² windows of [H, W] or [H, W, ...]; edges repeat."""
    side = 2 * radius + 1
    layers = image.reshape(*image.shape[:2], -1)
    mean = cv2.blur(layers, (side, side), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(mean, np.float32).reshape(image.shape)


def guided_coefficients(guide: Float32, target: Float32, radius: int, epsilon: float) -> tuple[Float32, Float32]:
    """Local linear models of `target` [H, W] in the colors of `guide` [H, W, 3]: slopes [H, W, 3] and offsets [H, W].

    The color guided filter of He, Sun, Tang, "Guided Image Filtering", TPAMI 2013: the filtered picture is
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


def resize(image: Float32, height: int, width: int) -> Float32:
    """Bilinear resize of [H, W] or [H, W, C], pixel areas aligned; averages first when shrinking."""
    image = np.ascontiguousarray(image, np.float32)
    down, across = image.shape[0] / height, image.shape[1] / width
    if max(down, across) > 1:
        image = _gaussian(image, 0.4 * across if across > 1 else 0.0, 0.4 * down if down > 1 else 0.0)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


@dataclass(frozen=True)
class ColorModel:
    """One Gaussian of colors at every pixel: means [..., 3]; covariances [..., 6] as rr, rg, rb, gg, gb, bb."""

    mean: Float32
    covariance: Float32

    def __getitem__(self, where: Mask) -> ColorModel:
        return ColorModel(self.mean[where], self.covariance[where])

    def distance(self, colors: Float32, noise: float) -> Float32:
        """Squared Mahalanobis distances [...] of colors [..., 3]; `noise` is a channel's standard deviation on top."""
        return _mahalanobis(colors - self.mean, _noisy(self.covariance, noise))[0]


def local_colors(image: Float32, weight: Float32, sigma: float) -> ColorModel:
    """The colors of the weighted pixels around every pixel of [H, W, 3].

    Averages are Gaussian blurs of `sigma` pixels; where no weighted pixel is that near, wider blurs take over.
    """
    products = [weight] + [weight * image[..., c] for c in range(3)]
    products += [weight * image[..., i] * image[..., j] for i, j in _PAIRS]
    stacked = np.stack(products, axis=-1)
    moments = blur(stacked, sigma) + 1e-2 * blur(stacked, 3 * sigma) + 1e-4 * blur(stacked, 10 * sigma)
    moments /= np.maximum(moments[..., :1], 1e-12)
    mean = moments[..., 1:4]
    products = [mean[..., i] * mean[..., j] for i, j in _PAIRS]
    return ColorModel(mean, moments[..., 4:] - np.stack(products, axis=-1))


def mixture_alpha(
    colors: Float32, person: ColorModel, background: ColorModel, evidence: Float32, noise: float
) -> tuple[Float32, Float32]:
    """How much person is in colors [N, 3]: mean and deviation [N] of alpha over all mixtures of the two models.

    A mixture of two Gaussians in parts alpha and 1 - alpha is a Gaussian, as in Chuang, Curless, Salesin, Szeliski, "A
    Bayesian Approach to Digital Matting", CVPR 2001; here with heavy tails (Student's t), so that colors unlike both
    decide little.

    evidence: log odds [N] of person against background from elsewhere. noise: standard deviation of a channel in any
    mixture.
    """
    levels = np.linspace(0, 1, 9, dtype=np.float32)
    scores = []
    for level in levels:
        mean = level * person.mean + (1 - level) * background.mean
        covariance = level**2 * person.covariance + (1 - level) ** 2 * background.covariance
        distance, log_determinant = _mahalanobis(colors - mean, _noisy(covariance, noise))
        density = -0.5 * log_determinant - 0.5 * (_TAIL + 3) * np.log1p(distance / _TAIL)
        scores.append(density + level * evidence + (_PURE if level in (0, 1) else 0))
    table = np.stack(scores)
    table = np.exp(table - table.max(0))
    table /= table.sum(0)
    first = levels @ table
    second = levels**2 @ table
    return first, np.sqrt(np.maximum(second - first**2, 0))


def _noisy(covariance: Float32, noise: float) -> Float32:
    return covariance + np.float32(noise) ** 2 * np.array([1, 0, 0, 1, 0, 1], np.float32)


def _mahalanobis(difference: Float32, covariance: Float32) -> tuple[Float32, Float32]:
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


def blur(image: Float32, sigma: float) -> Float32:
    """Gaussian blur of [H, W, C], computed on a smaller picture when sigma is large."""
    step = max(1, int(sigma / 3))
    if step == 1:
        return _gaussian(image, sigma, sigma)
    height, width = image.shape[:2]
    rows, columns = -(-height // step), -(-width // step)
    padded = np.pad(image, ((0, rows * step - height), (0, columns * step - width), (0, 0)), mode="edge")
    small = padded.reshape(rows, step, columns, step, -1).mean((1, 3))
    small = _gaussian(small, sigma / step, sigma / step)
    return resize(small, rows * step, columns * step)[:height, :width]


def _gaussian(image: Float32, across: float, down: float) -> Float32:
    """Gaussian blur of [H, W] or [H, W, C] with deviations in pixels along rows and columns; edges repeat."""
    size = (2 * int(4 * across + 0.5) + 1, 2 * int(4 * down + 0.5) + 1)
    smooth = cv2.GaussianBlur(image, size, across, sigmaY=down, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(smooth, np.float32)


def closed_form_alpha(
    image: Float32, prior: Float32, confidence: Float32, unknown: Mask, epsilon: float = 1e-5
) -> Float32:
    """Alpha [H, W] in [0, 1] that varies with the picture's colors and stays near `prior` where `confidence` is high.

    Levin, Lischinski, Weiss, "A Closed-Form Solution to Natural Image Matting", TPAMI 2008: in every 3 × 3 window alpha
    is an affine function of color. Only pixels in `unknown` [H, W] move.

    image: [H, W, 3] in [0, 1]. epsilon: regulariser of the windows' color spread.
    """
    height, width = unknown.shape
    windows = ndimage.binary_dilation(unknown, np.ones((3, 3), bool))
    windows[[0, -1], :] = False
    windows[:, [0, -1]] = False
    if not unknown.any() or not windows.any():
        return prior
    offsets = np.array([dy * width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    members = np.flatnonzero(windows)[:, None] + offsets  # [K, 9]
    colors = image.reshape(-1, 3)[members]
    colors = colors - colors.mean(1, keepdims=True)
    spread = colors.transpose(0, 2, 1) @ colors / 9 + epsilon / 9 * np.eye(3, dtype=np.float32)
    affinity = (1 + colors @ np.linalg.solve(spread, colors.transpose(0, 2, 1))) / 9  # [K, 9, 9]

    # What two pixels of a window share depends on how they lie to each other: a diagonal of the matrix for every such step.
    steps, diagonal = np.unique(offsets - offsets[:, None], return_inverse=True)
    bands = np.zeros((len(steps), height * width))
    for pair, where in enumerate(diagonal.ravel()):
        bands[where, members[:, pair % 9]] += affinity[:, pair // 9, pair % 9]
    inside = unknown.ravel()
    weights = sparse.dia_matrix((bands, steps), shape=(inside.size, inside.size)).tocsr()[inside]
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


def unmix(image: Float32, alpha: Float32, grid: int = 512) -> Float32:
    """Foreground colors [H, W, 3] such that alpha * foreground + (1 - alpha) * background = image, both smooth.

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


def _unmix_step(image: Float32, alpha: Float32, both: Float32) -> Float32:
    """Every pixel's foreground and background from its color and its four neighbours': a 2 × 2 system each."""
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


def _fit_mixture(image: Float32, alpha: Float32, both: Float32, stiffness: Float32 | np.float32) -> Float32:
    """Foreground, background [H, W, 6] near `both` that mix to the picture; less exactly where `stiffness` is high."""
    front, back = both[..., :3], both[..., 3:]
    error = image - alpha * front - (1 - alpha) * back
    step = error / (alpha**2 + (1 - alpha) ** 2 + stiffness)
    moved = np.concatenate([front + alpha * step, back + (1 - alpha) * step], axis=-1)
    return np.asarray(np.clip(moved, 0, 1), dtype=np.float32)
