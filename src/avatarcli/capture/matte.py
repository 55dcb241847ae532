"""Who is person and who is background: alpha mattes of portraits, and the colors that belong to the person alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from avatarcli.arrays import Float32, Mask
from avatarcli.capture._mediapipe import quiet_stderr
from avatarcli.capture.alpha import (
    closed_form_alpha,
    guided_coefficients,
    local_colors,
    mixture_alpha,
    resize,
    unmix,
)
from avatarcli.capture.hair_net import hair_probability

# Longest side of the picture on which alpha is solved; the guided filter carries it to full size.
SOLVE_SIZE = 512
# How far the network's border may be off, as shares of the picture's longest side: its usual error, how deep inside the
# person background may show (between curls), how far outside hair may reach.
BORDER = 0.012
CORE = 0.10
REACH = 0.08
# Side of the largest spot inside the person, as a share too, that is filled though it has the background's color.
HOLE = 0.04
# Least standard deviation of a color channel: camera noise and compression.
NOISE = 0.03
# Standard deviation of the colors around a point of a background that is neither plain nor busy.
PLAIN = 0.06
# Probability of hair from which, and at which wholly, it counts as person though the selfie network cut it off.
SURE_HAIR = (0.7, 0.95)
# Probability of hair up to which a pixel may be background, and the selfie network's below which it is unsure of a person.
NO_HAIR, UNSURE = 0.1, 0.95
# Share of the picture's longest side that an unsure person may reach beyond the sure one; twice that far it has ended.
MARGIN = 0.02
# Share of a piece of unsure person, from which it is one, that lies in a row between two sure parts.
ENCLOSED = 0.25
# Share of the picture with hair below which the hair network has no say in what is background.
LEAST_HAIR = 0.02
# Share of the longest side around hair within which unsure person may be hair that the network missed.
AROUND_HAIR = 0.12


def person_matte(image: npt.NDArray[np.uint8], hair: Float32 | None = None) -> Float32:
    """Opacity [H, W] in [0, 1] of the person in a photo, best a head crop without padding: streaks mislead the networks.

    MediaPipe's selfie segmentation says roughly where the person is, its hair segmentation where hair was cut off or
    something behind the person was taken for hair. In a wide band around its border (hair above all)
    local color models of person and background say how much of each is in a pixel, closed-form matting makes one matte
    of it, and a guided filter carries that to full size. Loose specks become background.

    image: sRGB [H, W, 3]. hair [H, W]: its `hair_probability`, if that is known already.
    """
    height, width = image.shape[:2]
    if hair is None:
        hair = hair_probability(image, height, width)
    picture = _unit(image)
    ratio = min(1.0, SOLVE_SIZE / max(height, width))
    small = resize(picture, max(3, round(height * ratio)), max(3, round(width * ratio)))
    coarse = _network(image, *small.shape[:2])
    alpha = _refine(small, _agreed(coarse, resize(hair, *coarse.shape)))
    if ratio < 1:
        slopes, offsets = guided_coefficients(small, alpha, radius=2, epsilon=1e-4)
        band = resize(((alpha > 0.01) & (alpha < 0.99)).astype(np.float32), height, width) > 0
        fine = (resize(slopes, height, width) * picture).sum(-1) + resize(offsets, height, width)
        alpha = np.where(band, fine, resize(alpha, height, width))
    # Faint veils go, nearly opaque skin and cloth close.
    return np.asarray(np.clip((alpha - 0.04) / 0.88, 0, 1), dtype=np.float32)


def _unit(image: npt.NDArray[np.uint8]) -> Float32:
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def _agreed(coarse: Float32, hair: Float32) -> Float32:
    """The selfie network's mask [H, W] put right by the hair network's [H, W].

    Hair that is sure is person. Where the selfie network takes a background for hair (a dark door beside a dark cap), it
    is unsure in wide areas; its usual unsure border is narrow. So what is unsure, without hair, not close to anything sure and
    out of the found hair's reach is background, but for a piece between two sure parts (a blue shoulder before a blue flag).
    Where no hair was found at all, the hair network may have missed it.
    """
    low, high = SURE_HAIR
    person = np.asarray(np.maximum(coarse, np.clip((hair - low) / (high - low), 0, 1)), dtype=np.float32)
    found = hair > 0.5
    if found.mean() < LEAST_HAIR:
        return person
    scale = max(coarse.shape)
    sure = person >= UNSURE
    away = ndimage.distance_transform_edt(~sure) / (MARGIN * scale)
    from_hair = ndimage.distance_transform_edt(~found) / scale
    keep = np.maximum(np.clip(2 - away, 0, 1), (hair > NO_HAIR) | (from_hair < AROUND_HAIR))
    between = np.maximum.accumulate(sure, 1) & np.maximum.accumulate(sure[:, ::-1], 1)[:, ::-1]
    pieces, count = ndimage.label((keep < 1) & (person > 0.5))
    enclosed = np.r_[0.0, ndimage.mean(between, pieces, np.arange(1, count + 1))] > ENCLOSED
    return np.asarray(person * np.maximum(keep, enclosed[pieces]), dtype=np.float32)


def _refine(picture: Float32, coarse: Float32) -> Float32:
    """Alpha [H, W] from the network's mask [H, W] and the colors of the picture [H, W, 3]."""
    scale = max(coarse.shape)
    inside = ndimage.distance_transform_edt(coarse > 0.5)
    outside = ndimage.distance_transform_edt(coarse <= 0.5)
    depth = ((inside - outside) / scale).astype(np.float32)
    likely_person = (coarse > 0.9) & (depth > BORDER)
    likely_background = (coarse < 0.1) & (depth < -BORDER)

    shape_evidence = np.log((coarse + 0.02) / (1.02 - coarse)) + np.clip(depth / 0.02, -4, 4)
    near = (depth > -REACH) & ((depth < CORE) | (coarse < 0.9))
    backdrop = local_colors(picture, likely_background.astype(np.float32), 0.05 * scale)
    # Backdrop that shows between curls must not count as the person's color, so what looks like it counts little at
    # first.
    prior = (coarse > 0.5).astype(np.float32)
    prior[near] *= np.clip(backdrop[near].distance(picture[near], NOISE) / 12, 0.05, 1)
    spread = np.zeros_like(coarse)
    for _ in range(2):
        person = local_colors(picture, prior * likely_person, 0.03 * scale)
        background = local_colors(picture, (1 - prior) * likely_background, 0.05 * scale)
        # Before a plain backdrop colors say more than the network's shape, before a colorful one less.
        unrest = np.sqrt(np.maximum(background.covariance[..., [0, 3, 5]].mean(-1), 0))
        trust = np.clip(unrest / PLAIN, 0.5, 2)
        prior[near], spread[near] = mixture_alpha(
            picture[near], person[near], background[near], (trust * shape_evidence)[near], NOISE
        )

    unknown = near & ~(likely_person & (prior > 0.95))
    unknown &= ~_islands(unknown, likely_person, (HOLE * scale) ** 2)
    agreement = 1 - np.abs(prior - 1 / (1 + np.exp(-shape_evidence)))
    confidence = (np.maximum(1 - spread / 0.5, 0.2) * np.maximum(agreement, 0.5)).astype(np.float32)
    prior[near & ~unknown] = 1
    return _connected(closed_form_alpha(picture, prior, confidence, unknown))


def _islands(unknown: Mask, person: Mask, largest: float) -> Mask:
    """The pieces of `unknown` [H, W] of up to `largest` pixels that lie wholly in `person`: eyes, highlights, folds."""
    labels, count = ndimage.label(unknown, np.ones((3, 3), bool))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    reaches_out = np.bincount(labels.ravel(), weights=~person.ravel(), minlength=count + 1) > 0
    small: Mask = (sizes <= largest) & ~reaches_out
    small[0] = False
    return np.asarray(small[labels])


def _connected(alpha: Float32) -> Float32:
    """`alpha` without the pieces that touch no large piece of person."""
    labels, count = ndimage.label(alpha > 0.1, np.ones((3, 3), bool))
    if count < 2:
        return alpha
    sizes = ndimage.sum_labels(alpha > 0.5, labels, np.arange(count + 1))
    sizes[0] = 0
    keep: Mask = sizes >= 0.05 * sizes.max()
    keep[0] = True
    return np.where(keep[labels], alpha, 0).astype(np.float32)


def _network(image: npt.NDArray[np.uint8], height: int, width: int) -> Float32:
    """The network's own mask [height, width], averaged over the picture and its mirror image."""
    from avatarcli.weights.shipped import weights_file

    model = weights_file("mediapipe/selfie_segmentation.tflite").read_bytes()
    with quiet_stderr():
        from mediapipe import Image, ImageFormat
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.ImageSegmenterOptions(base_options=BaseOptions(model_asset_buffer=model))
        total = np.zeros(image.shape[:2], np.float32)
        with vision.ImageSegmenter.create_from_options(options) as segmenter:
            for step in (1, -1):
                picture = Image(image_format=ImageFormat.SRGB, data=np.ascontiguousarray(image[:, ::step]))
                mask = segmenter.segment(picture).confidence_masks[0].numpy_view()
                total += mask.reshape(total.shape)[:, ::step]
    return resize(np.float32(0.5) * total, height, width)


def foreground_colors(image: npt.NDArray[np.uint8], matte: Float32) -> npt.NDArray[np.uint8]:
    """The person's own colors, sRGB [H, W, 3], without what shines through from behind.

    Where `matte` [H, W] is partly transparent the picture [H, W, 3] mixes person and background; there the mixture is
    undone. Opaque pixels keep their color; transparent ones continue the colors of the person's border.
    """
    colors = unmix(_unit(image), matte)
    return np.where((matte >= 1)[..., None], image, (colors * 255 + 0.5).astype(np.uint8))
