"""Reading photos of every common kind, and cutting the head out of them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, UnidentifiedImageError

from avatarcli.capture.margins import without_margins
from avatarcli.errors import PhotoError
from avatarcli.files import why_not_a_file
from avatarcli.head.face_points import CHIN, FOREHEAD

if TYPE_CHECKING:
    from avatarcli.geometry.cameras import Camera

# Longest side that leaves `read_picture`: twice what the largest head crop can use of an ordinary portrait.
MAX_SIDE = 4096
# Below this a face has too few pixels to make an avatar of.
MIN_SIDE = 128
# Pixels that may be decoded at once (about 1 GB). JPEG is decoded at a fraction of its size and hardly ever gets there.
MAX_DECODED_PIXELS = 250_000_000
# Share of the head crop's height between the chin and the hairline, and between the crop's top and the hairline.
FACE_SHARE = 0.40
ABOVE_SHARE = 0.28

# Nothing else is tried: some of Pillow's readers start other programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF", "BMP", "GIF", "PPM")
# Formats that may move: those that FFmpeg reads as films, and those of which it knows no frame or only the first.
_READ_AS_FILMS, _MOVING_PHOTOS = ("GIF", "PNG"), ("WEBP", "AVIF")
_READABLE = "JPEG, PNG, WebP, HEIC or TIFF"
_BACKDROP = (128, 128, 128)
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What decoders raise on damaged files.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error, IndexError, KeyError)
_RIGHT_SIDE, _LEFT_SIDE = 234, 454  # MediaPipe's points of the face's sides before the ears
# Chin to hairline over the face's width for an average frontal face: stands in for the height of a head that nods.
_HEIGHT_OVER_WIDTH = 1.2


def read_photo(path: Path) -> npt.NDArray[np.uint8]:
    """The photo at `path` without black or white margins, else as `read_picture`. Raises PhotoError, likewise."""
    picture = read_picture(path)
    photo = without_margins(picture)
    return photo if min(photo.shape[:2]) >= MIN_SIDE else picture


def read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """The picture at `path`, upright, as sRGB [H, W, 3] with a longest side of at most `MAX_SIDE` pixels.

    Color profiles are converted to sRGB, EXIF rotation is applied, transparent pictures are laid on mid grey; of
    several frames the first is taken.

    Raises:
        PhotoError: no such file, not a picture, damaged, or too small or too large to use.
    """
    with _opened(path) as picture:
        return _decode(picture, path)


def check_photo(path: Path) -> None:
    """Find out in a moment, from the file's head, that `read_picture` could not read it. Raises PhotoError."""
    with _opened(path) as picture:
        _prepare(picture, path)


def is_animation(path: Path) -> bool:
    """Whether a picture moves and can be read as a film. Raises PhotoError when it is no picture."""
    return _moving(path, _READ_AS_FILMS) > 1


def pictures_in(path: Path) -> int:
    """How many pictures a moving one has that cannot be read as a film; 1 of all others. Raises PhotoError."""
    return _moving(path, _MOVING_PHOTOS)


def _moving(path: Path, formats: tuple[str, ...]) -> int:
    """How many pictures a file of one of these formats shows one after the other. Others' further pictures are pages, thumbnails
    or maps of depth."""
    with _opened(path) as picture:
        return int(getattr(picture, "n_frames", 1)) if picture.format in formats else 1


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A picture whose head has been read. What then goes wrong with it is a PhotoError."""
    _check_file(path)
    _load_readers()
    try:
        with _no_bomb_check(), Image.open(path, formats=_FORMATS) as picture:
            yield picture
    except UnidentifiedImageError:
        raise PhotoError(f"{path} is not a picture that can be read; give a {_READABLE} file") from None
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PhotoError(f"{path} is damaged or incomplete ({reason}); copy or export it again") from None


def _check_file(path: Path) -> None:
    if (problem := why_not_a_file(path, "photo")) is not None:
        raise PhotoError(problem)
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise PhotoError(f"{path} cannot be opened ({error.strerror}); check its permissions") from None
    if empty:
        raise PhotoError(f"{path} is empty; copy or export the photo again")


@lru_cache(maxsize=1)
def _load_readers() -> None:
    import pillow_heif

    Image.init()
    pillow_heif.register_heif_opener()


@contextmanager
def _no_bomb_check() -> Iterator[None]:
    """Pillow refuses large pictures before their JPEG can be scaled down; `_decode` has its own limit."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _prepare(picture: Image.Image, path: Path) -> None:
    """Choose the size to decode at. Raises PhotoError when the picture is too small or too large."""
    width, height = picture.size
    if min(width, height) < MIN_SIDE:
        raise PhotoError(f"{path} is only {width} × {height} pixels; give a photo of at least {MIN_SIDE} × {MIN_SIDE}")
    shorter = min(width, height) * MAX_SIDE // max(width, height)
    if shorter < MIN_SIDE:
        raise PhotoError(
            f"{path} is too long and narrow ({width} × {height} pixels): photos are read at a length of {MAX_SIDE} pixels, "
            f"which leaves {shorter} across, and {MIN_SIDE} are needed; crop it to the head"
        )
    if max(width, height) > MAX_SIDE:
        picture.draft(None, (MAX_SIDE, MAX_SIDE))  # JPEG: decode at 1/2, 1/4 or 1/8
    if picture.width * picture.height > MAX_DECODED_PIXELS:
        raise PhotoError(f"{path} is too large to decode ({width} × {height} pixels); save it smaller or as JPEG")


def _decode(picture: Image.Image, path: Path) -> npt.NDArray[np.uint8]:
    _prepare(picture, path)
    profile = picture.info.get("icc_profile")
    picture.load()
    orientation = picture.getexif().get(_EXIF_ORIENTATION, 1)  # after loading: Pillow turns TIFF and HEIC itself
    small = _to_srgb(_shrink(picture), profile)
    if orientation in _UPRIGHT:
        small = small.transpose(_UPRIGHT[orientation])
    return np.asarray(small)


def _shrink(picture: Image.Image) -> Image.Image:
    """An 8-bit picture with a longest side of at most MAX_SIDE, made in strips: no second full-size copy arises."""
    factor = max(picture.size) // MAX_SIDE
    if factor < 2:
        small = _eight_bit(picture)
    else:
        rows = 256 * factor
        strips = (
            picture.crop((0, top, picture.width, min(top + rows, picture.height)))
            for top in range(0, picture.height, rows)
        )
        parts = [np.asarray(_eight_bit(strip).reduce(factor)) for strip in strips]
        small = Image.fromarray(np.concatenate(parts), mode=_eight_bit(picture.crop((0, 0, 1, 1))).mode)
    scale = MAX_SIDE / max(small.size)
    if scale < 1:
        size = (max(1, round(small.width * scale)), max(1, round(small.height * scale)))
        small = small.resize(size, Image.Resampling.LANCZOS)
    return small


def _eight_bit(picture: Image.Image) -> Image.Image:
    """The picture in mode L, RGB, RGBA or CMYK."""
    if picture.mode in ("L", "RGB", "RGBA", "CMYK"):
        return picture
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.nan_to_num(np.asarray(picture, dtype=np.float32))
        white = 1.0 if picture.mode == "F" else 65535.0
        return Image.fromarray((np.clip(values / white, 0, 1) * 255 + 0.5).astype(np.uint8))
    if picture.mode == "1":
        return picture.convert("L")
    transparent = "transparency" in picture.info or picture.mode in ("LA", "La", "PA", "RGBa")
    return picture.convert("RGBA" if transparent else "RGB")


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    colors = picture.convert("RGB") if alpha else picture
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(colors, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            colors = converted or colors
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile, or one for another kind of picture: the plain numbers are the best guess
    colors = colors.convert("RGB")
    if alpha:
        colors = Image.composite(colors, Image.new("RGB", colors.size, _BACKDROP), alpha)
    return colors


@dataclass(frozen=True)
class CropPlace:
    """Where a square window lies in an upright photo, in that photo's pixels.

    left, top: the window's corner, which may be negative; side: of the window; width, height: of the photo.
    """

    left: int
    top: int
    side: int
    width: int
    height: int

    def crop_camera(self, whole: Camera, size: int) -> Camera:
        """The camera of the window at `size` × `size` pixels, from that of the photo."""
        return whole.cropped(self.left, self.top, self.side, self.side).resized(size, size)

    def whole_camera(self, crop: Camera) -> Camera:
        """The camera of the photo, from that of the window at any size."""
        return crop.resized(self.side, self.side).cropped(-self.left, -self.top, self.width, self.height)


@dataclass(frozen=True)
class HeadCrop:
    """A square window of a photo with the whole head in it.

    image: sRGB uint8 [S, S, 3]; outside the photo its border colors go on. S is at most the window's side.
    inside: float32 [S, S], 1 where the photo is, 0 outside it.
    """

    image: npt.NDArray[np.uint8]
    inside: npt.NDArray[np.float32]
    place: CropPlace

    @property
    def scale(self) -> float:
        """Pixels of the crop per pixel of the photo, at most 1."""
        return len(self.image) / self.place.side

    def camera_of(self, whole: Camera) -> Camera:
        """The crop's camera, from that of the photo."""
        return self.place.crop_camera(whole, len(self.image))

    def to_crop(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Positions [..., 2] (x, y) in pixels of the photo as pixels of the crop."""
        return (np.asarray(points, dtype=np.float64) - (self.place.left, self.place.top)) * self.scale


def head_crop(photo: npt.NDArray[np.uint8], landmarks: npt.NDArray[np.floating], crop_size: int = 1024) -> HeadCrop:
    """The window of a photo [H, W, 3] that holds hair, head, neck and upper shoulders, at most `crop_size` pixels wide.

    The face from chin to hairline takes about `FACE_SHARE` of its height. Small windows are not enlarged.

    landmarks: MediaPipe's face mesh [478, 2] (x, y) in pixels of the photo.
    """
    forehead, chin = landmarks[FOREHEAD], landmarks[CHIN]
    right, left = landmarks[_RIGHT_SIDE], landmarks[_LEFT_SIDE]
    face = max(float(np.linalg.norm(forehead - chin)), _HEIGHT_OVER_WIDTH * float(np.linalg.norm(right - left)))
    side = max(1, round(face / FACE_SHARE))
    # The points before the ears lie near the head's axis, so their middle stays in the head's middle when it turns.
    middle_x, middle_y = float(right[0] + left[0]) / 2, float(forehead[1] + chin[1]) / 2
    x = round(middle_x - side / 2)
    y = round(middle_y - side * (ABOVE_SHARE + FACE_SHARE / 2))

    height, width = photo.shape[:2]
    columns, rows = np.arange(x, x + side), np.arange(y, y + side)
    window = photo[np.clip(rows, 0, height - 1)[:, None], np.clip(columns, 0, width - 1)]
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    size = min(crop_size, side)
    place = CropPlace(x, y, side, width, height)
    if size < side:
        window = np.asarray(Image.fromarray(window).resize((size, size), Image.Resampling.LANCZOS))
        cover = Image.fromarray(inside.astype(np.float32)).resize((size, size), Image.Resampling.BOX)
        return HeadCrop(window, np.asarray(cover), place)
    return HeadCrop(window, inside.astype(np.float32), place)


def photo_window(inside: npt.NDArray[np.float32]) -> tuple[slice, slice]:
    """Rows and columns of a crop that show the photo, without the padding. inside [S, S] as in `HeadCrop`, not all 0."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
