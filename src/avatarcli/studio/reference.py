"""Photo-like references: what lens, camera, file format and matting do to a clean picture of a person.

A clean rendering is laid on a background, photographed, saved as JPEG and cut out again with the mistakes that mattes make. Light
and color temperature of the whole scene are not touched but for a trace: the person in the model's pictures should look like the
person in the photo, so what changes the colors must change targets too and belongs to the studio's light.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from avatarcli.diffusion.conditioning import Reference
from avatarcli.geometry.cameras import Camera
from avatarcli.head.parameters import HeadParameters
from avatarcli.pictures import to_bytes

# Mean squared distance of the face's landmarks from the middle of a head crop, half its width being 1. A lens' distortion is
# told from there: the tracker finds its scale on the face, so what distortion does to the face on average is in its focal length.
_FACE_RADIUS_SQUARED = 0.12
_PERFECT_SHARE = 0.2  # of the mattes: renderings, studio photos, cut-outs made by hand
# Share of the references whose crop reaches beyond the photo, and how far at most on a side.
_CUT_SHARE, _CUT_LARGEST = 0.25, 0.2
_VEIL, _CLOSED = 0.04, 0.88  # as the end of `capture.matte.person_matte`


@dataclass(frozen=True)
class PhotoFaults:
    """How one photo was taken and saved. Lengths are shares of the picture's side.

    distortion: radial, relative displacement at the half width beyond that at the face (positive: barrel); sharpness: share of the
    pixels that the camera resolves; blur: standard deviation; gains: of red, green and blue; noise: standard deviation of grey
    grain; color_noise: of colored blotches; jpeg: quality, or None for a lossless file.
    """

    distortion: float
    sharpness: float
    blur: float
    gains: tuple[float, float, float]
    noise: float
    color_noise: float
    jpeg: int | None


@dataclass(frozen=True)
class MatteFaults:
    """What a matte gets wrong. Lengths are shares of the picture's side.

    softness: blur of the edge; hardness: contrast of what is left; bias and wander: how much of the edge is taken off (negative) or
    added, everywhere and from place to place; hair_loss: exponent on what is half transparent, above 1 eats curls; remnants:
    how likely the background near the person is kept; holes: how likely a piece of the person is lost; unmixing: how well the
    background's color is taken out of the edges.
    """

    softness: float
    hardness: float
    bias: float
    wander: float
    hair_loss: float
    remnants: float
    holes: float
    unmixing: float


def draw_photo_faults(generator: torch.Generator) -> PhotoFaults:
    """Faults of a lens, a sensor and a file at random."""

    def normal(sigma: float) -> float:
        return sigma * float(torch.randn((), generator=generator).clamp(-2.5, 2.5))

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    return PhotoFaults(
        distortion=normal(0.012),
        sharpness=uniform(0.45, 1.0) if uniform(0, 1) < 0.5 else 1.0,
        blur=uniform(0.0005, 0.004) if uniform(0, 1) < 0.3 else 0.0,
        gains=(1 + normal(0.012), 1 + normal(0.008), 1 + normal(0.015)),
        noise=uniform(0.0, 0.02) * uniform(0, 1),
        color_noise=uniform(0.0, 0.015) * uniform(0, 1),
        jpeg=int(uniform(40, 96)) if uniform(0, 1) < 0.8 else None,
    )


def draw_matte_faults(generator: torch.Generator) -> MatteFaults | None:
    """None is a perfect matte."""

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    if uniform(0, 1) < _PERFECT_SHARE:
        return None
    return MatteFaults(
        softness=uniform(0.0, 0.006),
        hardness=uniform(0.8, 2.5),
        bias=uniform(-0.25, 0.25),
        wander=uniform(0.0, 0.5),
        hair_loss=uniform(0.7, 2.5),
        remnants=uniform(0.2, 1.0) if uniform(0, 1) < 0.3 else 0.0,
        holes=uniform(0.2, 1.0) if uniform(0, 1) < 0.12 else 0.0,
        unmixing=uniform(0.2, 1.0),
    )


def make_reference(
    rgba: Tensor, background: Tensor, camera: Camera, parameters: HeadParameters, generator: torch.Generator
) -> Reference:
    """A photo of a person, cut out again, with random faults.

    rgba [S, S, 4]: a clean premultiplied picture; background [S, S, 3]; camera and parameters: what the tracker found. All
    randomness comes from `generator`, on the CPU; the work is done where `rgba` is.
    """
    photo_faults, matte_faults = draw_photo_faults(generator), draw_matte_faults(generator)
    person = through_lens(rgba, photo_faults)
    photo = take_photo(person, background, photo_faults, generator)
    matte = person[..., 3] if matte_faults is None else imperfect_matte(person[..., 3], matte_faults, generator)
    inside = _photo_frame(len(rgba), generator).to(rgba)
    matte = matte * inside
    colors = _foreground(photo, person, 1.0 if matte_faults is None else matte_faults.unmixing)
    return Reference(torch.cat([colors * matte[..., None], matte[..., None]], dim=-1), inside, camera, parameters)


def through_lens(rgba: Tensor, faults: PhotoFaults) -> Tensor:
    """The person as the sensor sees them: distorted, blurred, tinted. rgba [S, S, 4], premultiplied, and so is the result."""
    size = len(rgba)
    line = (torch.arange(size, device=rgba.device) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    place = torch.stack([x, y], dim=-1)
    place = place * (1 + faults.distortion * (place.square().sum(-1, keepdim=True) - _FACE_RADIUS_SQUARED))
    picture = rgba.permute(2, 0, 1)[None]
    picture = functional.grid_sample(picture, place[None], mode="bilinear", padding_mode="border", align_corners=False)
    if faults.sharpness < 1:
        small = max(8, round(size * faults.sharpness))
        picture = functional.interpolate(picture, (small, small), mode="bilinear", antialias=True, align_corners=False)
        picture = functional.interpolate(picture, (size, size), mode="bilinear", align_corners=False)
    picture = blurred(picture, faults.blur * size)[0].permute(1, 2, 0)
    alpha = picture[..., 3:]
    tinted = torch.minimum(picture[..., :3] * picture.new_tensor(faults.gains), alpha)
    return torch.cat([tinted, alpha], dim=-1).clamp(0, 1)


def take_photo(person: Tensor, background: Tensor, faults: PhotoFaults, generator: torch.Generator) -> Tensor:
    """The picture file's colors [S, S, 3] of a person [S, S, 4] before a background [S, S, 3]."""
    size = len(person)
    photo = person[..., :3] + background * (1 - person[..., 3:])
    grain = torch.randn(size, size, 1, generator=generator) * faults.noise
    blotches = torch.randn(1, 3, (size + 1) // 2, (size + 1) // 2, generator=generator) * faults.color_noise
    noise = grain + functional.interpolate(blotches, (size, size), mode="bilinear")[0].permute(1, 2, 0)
    photo = (photo + noise.to(photo)).clamp(0, 1)
    if faults.jpeg is None:
        return photo
    stream = io.BytesIO()
    Image.fromarray(to_bytes(photo)).save(stream, "JPEG", quality=faults.jpeg)
    with Image.open(stream) as file:
        return torch.from_numpy(np.array(file)).to(photo) / 255


def imperfect_matte(alpha: Tensor, faults: MatteFaults, generator: torch.Generator) -> Tensor:
    """A matte [S, S] that a person might have been cut out with whose true opacity is `alpha` [S, S]."""
    size = len(alpha)
    fields = [_field(cells, size, generator).to(alpha) for cells in (12, 8, 6)]
    matte = blurred(alpha[None, None], faults.softness * size)[0, 0].clamp(0, 1).pow(faults.hair_loss)
    # The edge moves where the half-way mark is moved; only where there is an edge.
    edge = 4 * matte * (1 - matte)
    matte = (matte - 0.5) * faults.hardness + 0.5 + (faults.bias + faults.wander * fields[0]) * edge.sqrt()
    matte = matte.clamp(0, 1)
    near = blurred(alpha[None, None], 0.035 * size)[0, 0]
    if faults.remnants > 0:
        # Pieces of background in a belt around the person.
        belt = ((near - 0.03) / 0.15).clamp(0, 1)
        piece = ((fields[1] - 1.6 + faults.remnants) * 4).clamp(0, 1) * belt
        matte = torch.maximum(matte, piece)
    if faults.holes > 0:
        # Hair and clothes of the background's color are lost from the edge inwards.
        shallow = ((0.97 - near) / 0.2).clamp(0, 1)
        matte = matte * (1 - ((fields[2] - 1.5 + faults.holes) * 4).clamp(0, 1) * shallow)
    return ((matte - _VEIL) / _CLOSED).clamp(0, 1)


def blurred(picture: Tensor, sigma: float) -> Tensor:
    """Pictures [B, C, H, W] after a Gaussian of `sigma` pixels; borders repeat."""
    if sigma < 0.2:
        return picture
    reach = min(max(1, round(3 * sigma)), picture.shape[-1] - 1)
    steps = torch.arange(-reach, reach + 1, device=picture.device, dtype=picture.dtype)
    kernel = torch.exp(-0.5 * (steps / sigma).square())
    kernel = kernel / kernel.sum()
    channels = picture.shape[1]
    for shape, pad in (((1, -1), (reach, reach, 0, 0)), ((-1, 1), (0, 0, reach, reach))):
        weight = kernel.view(1, 1, *shape).expand(channels, -1, -1, -1)
        picture = functional.conv2d(functional.pad(picture, pad, mode="replicate"), weight, groups=channels)
    return picture


def _foreground(photo: Tensor, person: Tensor, unmixing: float) -> Tensor:
    """The person's own colors [S, S, 3] as far as unmixing finds them; pure background keeps its color."""
    alpha = person[..., 3:]
    own = person[..., :3] / alpha.clamp(min=1e-4)
    # Opaque pixels need no unmixing, and of next to none of a person nothing can be told.
    found = unmixing * (1 - alpha) * ((alpha - 0.02) / 0.15).clamp(0, 1)
    return torch.lerp(photo, own, found)


def _field(cells: int, size: int, generator: torch.Generator) -> Tensor:
    """Smooth random numbers [size, size] of about unit variance, `cells` bumps across."""
    coarse = torch.randn(1, 1, cells, cells, generator=generator)
    fine = torch.randn(1, 1, 4 * cells, 4 * cells, generator=generator)
    layers = [functional.interpolate(layer, (size, size), mode="bicubic") for layer in (coarse, fine)]
    return (0.9 * layers[0] + 0.45 * layers[1])[0, 0]


def _photo_frame(size: int, generator: torch.Generator) -> Tensor:
    """1 [S, S] where the crop shows the photo; most photos fill it."""
    inside = torch.ones(size, size)
    draws = torch.rand(6, generator=generator)
    if float(draws[0]) < _CUT_SHARE:
        left, top, right, bottom = (draws[1:5] * _CUT_LARGEST * size).long().tolist()
        # Most often the photo ends at one side: the shoulders are cut, or the head stands at the edge.
        side = int(float(draws[5]) * 5)
        inside[:, :left] = 0 if side in (0, 4) else 1
        inside[:, size - right :] = 0 if side in (1, 4) else 1
        inside[: top // 2] = 0 if side == 2 else 1
        inside[size - bottom :] = 0 if side in (3, 4) else 1
    return inside
