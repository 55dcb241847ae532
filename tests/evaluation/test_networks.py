"""LPIPS and the face embedding: against slow twins on random weights, and on a real photo where the real weights are."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from safetensors.torch import save_file
from torch import Tensor

from avatarcli.capture.identity import FaceEmbedder, cosine_similarity, face_chip, l2_distance
from avatarcli.capture.landmarks import detect_face
from avatarcli.errors import WeightsError
from avatarcli.files import sha256_file
from avatarcli.weights.fetch_judges import _ArrayUnpickler
from avatarcli.weights.judges import CHECKSUMS, LPIPS_ALEX, eval_weights_root, load_eval_weights
from avatarcli.weights.lpips import Lpips
from example_photo import PHOTO

Array = NDArray[np.float64]

# kernel, stride, padding and pooling before it, of each of AlexNet's convolutions
ALEXNET = ((11, 4, 2, False), (5, 1, 2, True), (3, 1, 1, True), (3, 1, 1, False), (3, 1, 1, False))
CHANNELS = (3, 64, 192, 384, 256, 256)

with_weights = pytest.mark.skipif(
    not (eval_weights_root() / CHECKSUMS).exists(), reason="no evaluation weights here: run `avatar weights judges`"
)


@pytest.fixture
def random_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """An evaluation cache with a random AlexNet in it."""
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for index, (kernel, *_) in enumerate(ALEXNET):
        fan_in = CHANNELS[index] * kernel * kernel
        shape = (CHANNELS[index + 1], CHANNELS[index], kernel, kernel)
        tensors[f"conv{index}.weight"] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        tensors[f"conv{index}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
        tensors[f"linear{index}.weight"] = torch.rand(shape[0], generator=generator)
    save_file(tensors, tmp_path / LPIPS_ALEX)
    (tmp_path / CHECKSUMS).write_text(json.dumps({LPIPS_ALEX: sha256_file(tmp_path / LPIPS_ALEX)}))
    monkeypatch.setenv("AVATAR_EVAL_WEIGHTS", str(tmp_path))
    return tensors


def slow_lpips(weights: dict[str, Tensor], image: Array, target: Array) -> float:
    """The paper's formula in numpy, convolutions as sums over windows."""
    total = 0.0
    features = [
        ((picture * 2 - 1 - np.array([-0.030, -0.088, -0.188])) / np.array([0.458, 0.448, 0.450])).transpose(2, 0, 1)
        for picture in (image, target)
    ]
    for index, (kernel, stride, padding, pooled) in enumerate(ALEXNET):
        if pooled:
            features = [sliding_window_view(x, (3, 3), (1, 2))[:, ::2, ::2].max((-2, -1)) for x in features]
        weight, bias = weights[f"conv{index}.weight"].double().numpy(), weights[f"conv{index}.bias"].double().numpy()
        padded = [np.pad(x, ((0, 0), (padding, padding), (padding, padding))) for x in features]
        windows = [sliding_window_view(x, (kernel, kernel), (1, 2))[:, ::stride, ::stride] for x in padded]
        features = [
            np.maximum(np.einsum("chwij,ocij->ohw", x, weight, optimize=True) + bias[:, None, None], 0) for x in windows
        ]
        a, b = (x / (np.sqrt(np.square(x).sum(0)) + 1e-10) for x in features)
        linear = weights[f"linear{index}.weight"].double().numpy()
        total += float((np.square(a - b) * linear[:, None, None]).sum(0).mean())
    return total


def test_lpips_is_the_formula_of_the_paper(random_weights: dict[str, Tensor]) -> None:
    rng = np.random.default_rng(4)
    image, target = rng.random((2, 67, 75, 3))
    fast = Lpips("alex")(torch.from_numpy(image).float(), torch.from_numpy(target).float())
    assert float(fast) == pytest.approx(slow_lpips(random_weights, image, target), rel=1e-4)


def test_a_damaged_weights_file_is_refused(random_weights: dict[str, Tensor]) -> None:
    path = eval_weights_root() / LPIPS_ALEX
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"damaged.*avatar weights judges"):
        load_eval_weights(LPIPS_ALEX)


def test_missing_weights_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATAR_EVAL_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match=r"missing: run `avatar weights judges`"):
        Lpips("vgg")


def test_only_arrays_are_unpickled() -> None:
    tree = {"layer": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}
    loaded = _ArrayUnpickler(io.BytesIO(pickle.dumps(tree, protocol=3))).load()
    np.testing.assert_array_equal(loaded["layer"]["kernel"], tree["layer"]["kernel"])
    for harmful in (print, Path("x"), np.save):
        with pytest.raises(pickle.UnpicklingError, match="is no array"):
            _ArrayUnpickler(io.BytesIO(pickle.dumps(harmful))).load()


def test_a_chip_is_upright_however_the_head_is_held() -> None:
    """Turning and shrinking the photo leaves the chip as it was."""
    photo = np.array(Image.open(PHOTO).convert("RGB"))
    points = detect_face(photo).points
    chip = face_chip(photo, points).astype(float)
    side = photo.shape[0]
    turned = np.array(Image.fromarray(photo).rotate(90).resize((400, 400), Image.Resampling.LANCZOS))
    # A quarter turn to the left takes (x, y) to (y, side - x).
    moved = np.stack([points[:, 1], side - points[:, 0]], axis=1) * (400 / side)
    assert np.abs(face_chip(turned, moved).astype(float) - chip).mean() < 6


@with_weights
@pytest.mark.parametrize("backbone", ["alex", "vgg"])
def test_real_lpips_answers_to_damage(backbone: str) -> None:
    with Image.open(PHOTO) as opened:
        photo = opened.convert("RGB").crop((160, 0, 320, 160))

    def tensor(picture: Image.Image) -> Tensor:
        return torch.from_numpy(np.array(picture)).float() / 255

    lpips, truth = Lpips("alex" if backbone == "alex" else "vgg"), tensor(photo)
    assert float(lpips(truth, truth)) == 0.0
    for damage in (
        [tensor(photo.filter(ImageFilter.GaussianBlur(radius))) for radius in (1, 2, 4)],
        [torch.roll(truth, pixels, dims=1) for pixels in (1, 4, 10)],
    ):
        distances = [float(lpips(image, truth)) for image in damage]
        assert distances == sorted(distances)
        assert distances[-1] > 0.15


@with_weights
def test_the_embedding_knows_a_face_again_but_not_with_other_proportions() -> None:
    photo = Image.open(PHOTO).convert("RGB")
    embed = FaceEmbedder()

    def face(change: Callable[[Image.Image], Image.Image]) -> Tensor:
        picture = np.array(change(photo))
        return embed(picture, detect_face(picture).points)

    same = face(lambda picture: picture)
    blurred = face(lambda picture: picture.filter(ImageFilter.GaussianBlur(1)))
    wide = face(lambda picture: picture.resize((int(1.4 * picture.width), picture.height)))
    assert l2_distance(same, blurred) < 0.25 < l2_distance(same, wide)
    assert cosine_similarity(same, blurred) > 0.9 > cosine_similarity(same, wide)
