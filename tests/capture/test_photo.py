"""Photos of every kind a user may bring, and the window cut around the head."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image, ImageCms

from avatarcli.capture.photo import MAX_SIDE, MIN_SIDE, head_crop, read_photo, read_picture
from avatarcli.errors import PhotoError
from avatarcli.geometry.cameras import Camera, intrinsics

WIDTH, HEIGHT = 192, 160


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """Smooth, so that lossy formats keep it, and different in every corner."""
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    return Image.fromarray((np.stack([0.9 * x, 0.8 * y, 0.5 * (1 - x) + 0.1], -1) * 255).astype(np.uint8))


def difference(photo: np.ndarray, picture: Image.Image) -> float:
    return float(np.abs(photo.astype(float) - np.asarray(picture)).mean())


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "heic", "bmp"])
def test_reads_common_formats(tmp_path: Path, picture: Image.Image, suffix: str) -> None:
    path = tmp_path / f"photo.{suffix}"
    if suffix == "heic":
        pillow_heif.from_pillow(picture).save(path, quality=90)
    else:
        picture.save(path)
    photo = read_photo(path)
    assert photo.shape == (HEIGHT, WIDTH, 3)
    assert photo.dtype == np.uint8
    assert difference(photo, picture) < 4


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_rotation_of_the_camera_is_undone(
    tmp_path: Path, picture: Image.Image, orientation: int, stored: Image.Transpose, suffix: str
) -> None:
    path = tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.transpose(stored).save(path, exif=exif)
    photo = read_photo(path)
    assert photo.shape == (HEIGHT, WIDTH, 3)
    assert difference(photo, picture) < 4


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (200, 1))
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    photo = read_photo(tmp_path / "deep.png")
    np.testing.assert_allclose(photo[100, :, 1], np.arange(256), atol=1)
    assert (photo[..., :1] == photo).all()


@pytest.mark.filterwarnings("error")
def test_numbers_that_are_none_are_black(tmp_path: Path) -> None:
    values = np.full((200, 256), 0.5, np.float32)
    values[:100], values[:, :100] = np.nan, np.inf
    Image.fromarray(values).save(tmp_path / "odd.tiff")
    photo = read_picture(tmp_path / "odd.tiff")
    assert (photo[50, 200, 0], photo[150, 200, 0], photo[150, 50, 0]) == (0, 128, 255)


def test_grey_palette_and_cmyk_become_rgb(tmp_path: Path, picture: Image.Image) -> None:
    picture.convert("L").save(tmp_path / "grey.jpg")
    assert difference(read_photo(tmp_path / "grey.jpg"), picture.convert("L").convert("RGB")) < 2
    picture.quantize(64).save(tmp_path / "palette.png")
    assert difference(read_photo(tmp_path / "palette.png"), picture) < 8
    picture.convert("CMYK").save(tmp_path / "print.jpg")
    assert difference(read_photo(tmp_path / "print.jpg"), picture) < 8


def test_transparent_picture_is_laid_on_grey(tmp_path: Path, picture: Image.Image) -> None:
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[:, : WIDTH // 2] = 255
    cut = picture.copy()
    cut.putalpha(Image.fromarray(alpha))
    cut.save(tmp_path / "cut.png")
    photo = read_photo(tmp_path / "cut.png")
    assert (photo[:, WIDTH // 2 :] == 128).all()
    np.testing.assert_array_equal(photo[:, : WIDTH // 2], np.asarray(picture)[:, : WIDTH // 2])


def test_color_profile_is_converted(tmp_path: Path, picture: Image.Image) -> None:
    """The same colors stored in CIE Lab's own numbers come back as sRGB; read as plain numbers they would not."""
    srgb = ImageCms.createProfile("sRGB")
    lab = ImageCms.createProfile("LAB")
    stored = ImageCms.profileToProfile(picture, srgb, lab, outputMode="LAB")
    assert stored is not None
    stored.save(tmp_path / "lab.tiff", icc_profile=ImageCms.ImageCmsProfile(lab).tobytes())
    assert difference(read_photo(tmp_path / "lab.tiff"), picture) < 4


def test_broken_color_profile_is_ignored(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "odd.png", icc_profile=b"no profile at all")
    assert difference(read_photo(tmp_path / "odd.png"), picture) == 0


@pytest.mark.parametrize(("mode", "suffix"), [("L", "jpg"), ("1", "png")])
def test_huge_pictures_are_read_small(tmp_path: Path, mode: str, suffix: str) -> None:
    huge = Image.new(mode, (20_000, 6_000), 0)
    huge.paste(255 if mode == "L" else 1, (10_000, 0, 20_000, 6_000))
    huge.save(tmp_path / f"huge.{suffix}")
    photo = read_photo(tmp_path / f"huge.{suffix}")
    assert max(photo.shape) <= MAX_SIDE
    assert photo.shape[1] / photo.shape[0] == pytest.approx(20 / 6, rel=0.01)
    assert photo[:, : photo.shape[1] // 2 - 8].max() < 8
    assert photo[:, photo.shape[1] // 2 + 8 :].min() > 247


def test_bomb_is_refused(tmp_path: Path) -> None:
    """A picture that says it has 40,000 × 40,000 pixels: refused from its header."""
    stream = io.BytesIO()
    Image.new("1", (8, 8)).save(stream, "BMP")
    header = bytearray(stream.getvalue())
    header[18:26] = (40_000).to_bytes(4, "little") * 2
    (tmp_path / "bomb.bmp").write_bytes(header)
    with pytest.raises(PhotoError, match="too large"):
        read_photo(tmp_path / "bomb.bmp")


def test_unusable_files_are_named_in_one_line(tmp_path: Path, picture: Image.Image) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("this is no picture")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    picture.save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    picture.resize((90, 100)).save(tmp_path / "small.png")
    Image.new("L", (MIN_SIDE, 20_000)).save(tmp_path / "narrow.png")
    cases = {
        "missing.jpg": "no file",
        "empty.jpg": "empty",
        "text.jpg": "not a picture",
        "folder.jpg": "folder",
        "pipe.jpg": "is a pipe",
        "truncated.jpg": "damaged",
        "small.png": f"only 90 × 100 pixels.*{MIN_SIDE}",
        "narrow.png": r"too long and narrow \(128 × 20000 pixels\).* 26 across",
    }
    for name, words in cases.items():
        with pytest.raises(PhotoError, match=words) as caught:
            read_photo(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def face(centre: tuple[float, float], height: float) -> np.ndarray:
    """Landmarks [478, 2] of which only those that frame the face are set apart."""
    points = np.tile(np.array(centre, dtype=float), (478, 1))
    points[10] += (0, -height / 2)
    points[152] += (0, height / 2)
    points[234] += (-0.38 * height, 0)
    points[454] += (0.38 * height, 0)
    return points


def test_head_crop_frames_the_face() -> None:
    photo = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), dtype=np.uint8)
    landmarks = face((600, 450), 200)
    crop = head_crop(photo, landmarks)
    size = crop.image.shape[0]
    assert crop.image.shape == (size, size, 3)
    assert crop.scale == 1
    assert (crop.inside == 1).all()
    forehead, chin = crop.to_crop(landmarks[10]), crop.to_crop(landmarks[152])
    assert chin[1] - forehead[1] == pytest.approx(0.4 * size, abs=2)
    assert chin[0] == pytest.approx(size / 2, abs=1)
    assert 0.25 * size < forehead[1] < 0.35 * size
    x, y = crop.to_crop(np.array([640, 400])).astype(int)
    np.testing.assert_array_equal(crop.image[y, x], photo[400, 640])


def test_head_crop_shrinks_and_maps() -> None:
    photo = np.zeros((3000, 3000, 3), np.uint8)
    photo[1400:1600, 1500:1700] = 255
    crop = head_crop(photo, face((1500, 1500), 1000), crop_size=256)
    assert crop.image.shape == (256, 256, 3)
    rows, columns = np.nonzero(crop.image[..., 0] > 127)
    corners = crop.to_crop(np.array([[1500, 1400], [1700, 1600]]))
    np.testing.assert_allclose([columns.min(), rows.min()], corners[0], atol=1)
    np.testing.assert_allclose([columns.max() + 1, rows.max() + 1], corners[1], atol=1)


@pytest.mark.parametrize("crop_size", [64, 1024])
def test_a_crop_and_its_photo_have_cameras_that_agree(crop_size: int) -> None:
    photo = np.zeros((300, 400, 3), np.uint8)
    crop = head_crop(photo, face((60, 150), 120), crop_size)
    whole = Camera(torch.eye(4), intrinsics(500.0, 400, 300), 400, 300)
    points = torch.tensor([[-0.2, 0.0, 1.5], [0.1, -0.2, 1.0]])
    seen = crop.camera_of(whole)
    wanted = crop.to_crop(whole.project(points)[0].numpy())
    np.testing.assert_allclose(seen.project(points)[0].numpy(), wanted, atol=1e-3)
    again = crop.place.whole_camera(seen)
    torch.testing.assert_close(again.K, whole.K)
    assert (again.width, again.height) == (400, 300)


@pytest.mark.parametrize("crop_size", [64, 1024])
def test_head_crop_beyond_the_photo_is_padded(crop_size: int) -> None:
    photo = np.full((300, 300, 3), 200, np.uint8)
    photo[:, :20] = 40
    crop = head_crop(photo, face((60, 150), 120), crop_size)
    edge = int(crop.to_crop(np.zeros(2))[0])
    assert edge > 2
    assert (crop.inside[:, : edge - 1] == 0).all()
    assert crop.inside[len(crop.inside) // 2, edge + 1] == 1
    assert (crop.image[len(crop.image) // 2, : edge - 2] == 40).all()
