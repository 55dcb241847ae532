"""Is it still the same person: dlib's face recognition network (King, "High Quality Face Recognition with Deep Metric
Learning", 2017), with the weights in face-api's 8-bit form."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from avatarcli.weights.judges import FACE_EMBEDDING, load_eval_weights

SAME_PERSON = 0.6  # L2 distance of embeddings below which dlib calls two faces one person

_MEAN = (122.782, 117.001, 104.298)  # RGB that the network was trained to subtract
_CHIP = 150  # pixels: side of an aligned face
_PADDING = 0.25  # of the template's size, on every side
# MediaPipe's points for dlib's five: outer and inner corner of the left and of the right eye, and the nose's base;
# and where dlib's template has them, in a unit square around the face.
_POINTS = (263, 362, 33, 133, 2)
_TEMPLATE = (
    (0.8595674595992, 0.2134981538014),
    (0.6460604764104, 0.2289674387677),
    (0.1205750620789, 0.2137274526848),
    (0.3340850613712, 0.2290642403242),
    (0.4901123135679, 0.6277975316475),
)
# Residual blocks in order; "down" ones halve the picture.
_BLOCKS = (
    "conv32_1", "conv32_2", "conv32_3", "conv64_down", "conv64_1", "conv64_2", "conv64_3", "conv128_down", "conv128_1",
    "conv128_2", "conv256_down", "conv256_1", "conv256_2", "conv256_down_out",
)  # fmt: skip


def face_chip(image: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The upright face [150, 150, 3] of a picture [H, W, 3], as the network wants it.

    landmarks [478, 2]: MediaPipe's points in pixels.
    """
    template = (np.array(_TEMPLATE) + _PADDING) / (1 + 2 * _PADDING) * _CHIP
    a, b, tx, ty = _similarity(template, landmarks[list(_POINTS)].astype(np.float64))
    # Averaging first keeps a large face from aliasing: Pillow's transform looks at four pixels only.
    reduction = max(int(np.hypot(a, b)), 1)
    picture = Image.fromarray(image).reduce(reduction)
    shrunk = (np.array([a, -b, tx, b, a, ty]) / reduction).tolist()
    return np.asarray(picture.transform((_CHIP, _CHIP), Image.Transform.AFFINE, shrunk, Image.Resampling.BILINEAR))


def _similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """a, b, tx, ty of the least-squares map (x, y) -> (a x - b y + tx, b x + a y + ty) of points [N, 2]."""
    x, y = source.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    solution: NDArray[np.float64] = np.linalg.lstsq(rows, target.T.ravel(), rcond=None)[0]
    return solution


class FaceEmbedder:
    """Embeds faces as 128 numbers; distances of less than `SAME_PERSON` speak for one person.

    Raises WeightsError when the weights are not there.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._weights = {name: tensor.to(device) for name, tensor in load_eval_weights(FACE_EMBEDDING).items()}
        self._device = device

    def __call__(self, image: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> Tensor:
        """The embedding [128] of one face; see `face_chip`. The chip's mirror image is averaged in."""
        chip = torch.from_numpy(face_chip(image, landmarks).copy()).to(self._device)
        with torch.inference_mode():
            return self.embed_chips(torch.stack([chip, chip.flip(1)])).mean(0).cpu()

    def embed_chips(self, chips: Tensor) -> Tensor:
        """Embeddings [N, 128] of aligned faces [N, 150, 150, 3], values 0 to 255."""
        x = (chips.float() - torch.tensor(_MEAN, device=chips.device)) / 256
        x = self._convolve(x.permute(0, 3, 1, 2), "conv32_down", stride=2).relu()
        x = functional.max_pool2d(x, 3, 2)
        for block in _BLOCKS:
            x = self._residual(x, block, stride=2 if "down" in block else 1)
        return x.mean((2, 3)) @ self._weights["fc"]

    def _residual(self, x: Tensor, block: str, stride: int) -> Tensor:
        out = self._convolve(x, f"{block}/conv1", stride).relu()
        out = self._convolve(out, f"{block}/conv2", 1)
        if stride == 2:
            x = functional.avg_pool2d(x, 2, 2)
        # What is smaller is padded with zeros: channels of the shortcut, rows and columns of the unpadded convolutions.
        rows, columns = x.shape[2] - out.shape[2], x.shape[3] - out.shape[3]
        out = functional.pad(out, (0, columns, 0, rows))
        x = functional.pad(x, (0, 0, 0, 0, 0, out.shape[1] - x.shape[1]))
        return (x + out).relu()

    def _convolve(self, x: Tensor, layer: str, stride: int) -> Tensor:
        weights = self._weights
        kernel, bias = weights[f"{layer}/conv/filters"], weights[f"{layer}/conv/bias"]
        out = functional.conv2d(x, kernel, bias, stride, padding=0 if stride == 2 else kernel.shape[-1] // 2)
        scale, shift = weights[f"{layer}/scale/weights"], weights[f"{layer}/scale/biases"]
        return out * scale[:, None, None] + shift[:, None, None]


@cache
def _mean_embedding() -> Tensor:
    """What the faces of 222 different people have in common; without it every two faces have a cosine near 1."""
    content = json.loads(Path(__file__).with_name("mean_embedding.json").read_text(encoding="utf-8"))
    return torch.tensor(content["mean"])


def cosine_similarity(a: Tensor, b: Tensor) -> float:
    """CSIM: the cosine between two embeddings [128] after subtracting the mean face."""
    mean = _mean_embedding()
    return float(functional.cosine_similarity(a - mean, b - mean, dim=0))


def l2_distance(a: Tensor, b: Tensor) -> float:
    """Euclidean distance of two embeddings [128]; see `SAME_PERSON`."""
    return float((a - b).norm())
