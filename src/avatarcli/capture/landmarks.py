"""Face landmarks, ARKit scores and a rough pose of the faces in a picture (MediaPipe FaceLandmarker)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from avatarcli.arrays import Float32, Pixels
from avatarcli.capture._mediapipe import quiet_stderr
from avatarcli.errors import AvatarError, NoFaceError, PhotoError
from avatarcli.head.expressions import BLINKS, EXPRESSION_NAMES
from avatarcli.head.face_points import IRISES
from avatarcli.weights.shipped import weights_file

MIN_INTEROCULAR = 40.0  # pixels between the irises of a frontal face; below it the eyes have too few pixels to fit
MAX_YAW = 65.0  # degrees; beyond it the far half of the landmarks is guessed
MAX_TILT = 45.0  # degrees of pitch

# MediaPipe's detector sees the whole picture at 128 pixels: large pictures lose nothing by being shrunk first.
_SEARCH_SIDE = 1280
# Crops that the face is looked for in again, as (side in face heights, shift x, shift y in face heights). The
# landmarks of one face scatter by 0.3 % of the inter-ocular distance (frontal) to 1.5 % (turned) with the framing;
# their median does less.
_FRAMINGS = (
    (1.8, 0.0, 0.0), (1.6, 0.05, -0.03), (2.0, -0.06, 0.04), (2.2, 0.04, 0.06), (1.7, -0.04, -0.05),
    (1.9, 0.08, 0.02), (2.4, -0.02, -0.04),
)  # fmt: skip
_FRAMING_SIDE = 512
# Degrees in the picture beyond which a head is taken for one of a photo that lies on its side: such a head would be refused.
_LYING = 60.0
_CLOCKWISE = {1: Image.Transpose.ROTATE_270, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_90}
# The detector sees a face in heads that stand upside down as well, but another one in each framing. In 261 portraits the
# `_unsteadiness` of a face is 0.002 to 0.009 upright and 0.014 or more on its head, 3 times as much of the same portrait at least.
# Of what it sees in 16 profiles of real people it is 0.04 or more, of 49 faces turned by 27 to 42° 0.017 at most.
_STEADY, _UNSTEADY, _STEADIER = 0.01, 0.03, 0.6
# Pixels. In a smaller part of the picture, a face of the least admissible size would have been found in the part
# around it.
_SMALLEST_PART = 8 * MIN_INTEROCULAR
_PARTS = (2, 4, 8)  # how finely the picture is cut up for the search


@dataclass(frozen=True)
class FaceLandmarks:
    """What MediaPipe knows of one face.

    points [478, 2]: pixels, pixel centres at half integers; depth [478]: relative depth in pixels, smaller is nearer;
    scores [52]: ARKit coefficients in the order of `EXPRESSION_NAMES` (tongueOut, which MediaPipe lacks, is 0);
    pose [4, 4]: rigid transform of MediaPipe's canonical face (centimetres, y up, camera at the origin looking along
    −z). unsteadiness: how much the points scatter from framing to framing, see `_unsteadiness`; 0 where that was not measured.
    """

    points: Float32
    depth: Float32
    scores: Float32
    pose: Float32
    unsteadiness: float = 0.0

    @property
    def steady(self) -> bool:
        """Whether there is such a face at all. In a profile the detector may see one that is turned less, even one from the front,
        but another one in each framing, and in some none."""
        return self.unsteadiness < _UNSTEADY

    @property
    def yaw(self) -> float:
        """How far the face is turned, degrees; positive to the subject's left."""
        return math.degrees(math.atan2(float(self.pose[0, 2]), float(self.pose[2, 2])))

    @property
    def pitch(self) -> float:
        """How far the face looks up, degrees."""
        return math.degrees(math.asin(float(np.clip(self.pose[1, 2], -1.0, 1.0))))

    @property
    def roll(self) -> float:
        """How far the head is tilted in the picture, degrees; positive clockwise."""
        return math.degrees(math.atan2(float(self.pose[0, 1]), float(self.pose[1, 1])))

    @property
    def interocular(self) -> float:
        """Pixels between the irises, as a frontal view would have them."""
        seen = float(np.linalg.norm(self.points[IRISES[0]] - self.points[IRISES[1]]))
        return seen / max(math.cos(math.radians(self.yaw)), 0.3)

    @property
    def eyes_closed(self) -> float:
        """How far the eyes are closed, from 0 to 1."""
        return float(self.scores[BLINKS].mean())


def detect_face(image: Pixels) -> FaceLandmarks:
    """Find the largest face of a picture [H, W, 3] (uint8, sRGB), as `measure_face`, and refuse what is small or turned far.

    Raises:
        PhotoError: no face, a face too small, or one turned too far.
        AvatarError: MediaPipe cannot start.
        ValueError: `image` has another shape or type.
    """
    found = measure_face(image)
    if found.interocular < MIN_INTEROCULAR:
        raise PhotoError(
            f"the face is too small: {found.interocular:.0f} pixels between the eyes, at least {MIN_INTEROCULAR:.0f} "
            "are needed; use a larger photo or crop"
        )
    if abs(found.yaw) > MAX_YAW or abs(found.pitch) > MAX_TILT:
        raise PhotoError(
            f"the face is turned too far (yaw {found.yaw:.0f}°, pitch {found.pitch:.0f}°); use a photo within "
            f"{MAX_YAW:.0f}° sideways and {MAX_TILT:.0f}° up or down"
        )
    return found


def measure_face(image: Pixels, near: FaceLandmarks | None = None) -> FaceLandmarks:
    """The largest face of a picture [H, W, 3] (uint8, sRGB), or the one that is known to lie where `near` does.

    The face is found in the whole picture first, in parts of it if that fails, and then measured again in several
    framings of the head, of which the median is taken.

    Raises:
        NoFaceError: no face.
        AvatarError: MediaPipe cannot start.
        ValueError: `image` has another shape or type.
    """
    picture = _picture(image)
    with face_landmarker() as landmarker:
        faces = search_faces(landmarker, picture)
        if near is not None:
            # Another face of the picture may be larger, or the only one that is seen at this size.
            faces = [face for face in faces if _same_place(face, near)] or [near]
        if not faces:
            raise _no_face()
        return _refine(landmarker, picture, max(faces, key=_area))


def find_faces(image: Pixels) -> list[FaceLandmarks]:
    """Every face of a picture [H, W, 3] (uint8, sRGB) that is large enough to be measured, from left to right.

    Of a group MediaPipe sees only a few in the whole picture: parts of it are always searched too.

    Raises:
        NoFaceError: no face.
        AvatarError: MediaPipe cannot start.
        ValueError: `image` has another shape or type.
    """
    picture = _picture(image)
    with face_landmarker() as landmarker:
        found = search_faces(landmarker, picture)
        for parts in _PARTS[:2]:
            found += _search_parts(landmarker, picture, parts)
    if not found:
        raise _no_face()
    return sorted(_distinct(found), key=lambda face: float(face.points[:, 0].mean()))


def choose_face(faces: list[FaceLandmarks], choice: str) -> int:
    """The index of the face meant by `choice` among faces from left to right: "largest", "left", "right", or "1", "2", …

    Raises:
        PhotoError: there are fewer faces.
    """
    if choice == "largest":
        return max(range(len(faces)), key=lambda index: _area(faces[index]))
    if choice in ("left", "right"):
        return 0 if choice == "left" else len(faces) - 1
    if int(choice) > len(faces):
        count = "one face" if len(faces) == 1 else f"{len(faces)} faces"
        raise PhotoError(f"the photo shows {count}: there is no face {choice} from the left; choose another --face")
    return int(choice) - 1


def upright(image: Pixels) -> tuple[Pixels, int]:
    """A picture [H, W, 3] (uint8, sRGB) turned so that its largest face is upright, and by how many quarters, clockwise: 0 to 3.

    0 also where no face is found, however the picture is turned; profiles are left as they are.

    Raises:
        AvatarError: MediaPipe cannot start.
        ValueError: `image` has another shape or type.
    """
    turns = _quarter_turns(_picture(image))
    return np.ascontiguousarray(np.rot90(image, -turns)), turns


def _quarter_turns(picture: Image.Image) -> int:
    picture.thumbnail((_SEARCH_SIDE, _SEARCH_SIDE))
    with face_landmarker() as landmarker:
        first, roll = _upright_face(landmarker, picture)
        if first < _STEADY:
            return 0
        unsteady = {0: first}
        # What the detector sees of a head on its side says how to turn it.
        for turns in sorted((1, 2, 3), key=lambda turns: abs((roll + 90 * turns + 180) % 360 - 180)):
            unsteady[turns] = _upright_face(landmarker, picture.transpose(_CLOCKWISE[turns]))[0]
            if unsteady[turns] < _STEADY:
                break
        best = min(unsteady, key=lambda turns: unsteady[turns])
        return best if unsteady[best] < min(_STEADIER * first, _UNSTEADY) else 0


def _upright_face(landmarker: Any, picture: Image.Image) -> tuple[float, float]:
    """How unsteady the largest face of a picture is, infinity if it is not upright; and how far it is tilted, degrees."""
    face = max(search_faces(landmarker, picture), key=_area, default=None)
    if face is None:
        return math.inf, 180.0
    if abs(face.roll) > _LYING:
        return math.inf, face.roll
    return _unsteadiness(_measured(landmarker, picture, face)), 180.0


def _picture(image: Pixels) -> Image.Image:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"a face is looked for in a uint8 picture [H, W, 3], got {image.dtype} {list(image.shape)}")
    return Image.fromarray(image)


def _no_face() -> NoFaceError:
    return NoFaceError(
        "no face found in the photo; use one with a single, unobscured face turned at most 60° from the camera"
    )


@contextmanager
def face_landmarker(*, video: bool = False, faces: int = 8) -> Iterator[Any]:
    """MediaPipe's FaceLandmarker for up to `faces` faces; for `video`, each frame starts from the last one's faces.

    Raises:
        AvatarError: it cannot start.
    """
    model = weights_file("mediapipe/face_landmarker.task")
    with quiet_stderr():
        try:
            from mediapipe.tasks.python import BaseOptions, vision

            options = vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=str(model)),
                running_mode=vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE,
                num_faces=faces,
                output_face_blendshapes=True,
                output_facial_transformation_matrixes=True,
            )
            landmarker = vision.FaceLandmarker.create_from_options(options)
        except OSError as error:
            if "libEGL" in str(error) or "libGLES" in str(error):
                raise AvatarError(
                    "MediaPipe needs the system libraries libEGL and libGLESv2: "
                    "sudo apt-get install -y libegl1 libgles2"
                ) from error
            raise AvatarError(f"MediaPipe cannot start: {error}") from error
        except RuntimeError as error:
            raise AvatarError(f"MediaPipe cannot start: {error}") from error
        try:
            yield landmarker
        finally:
            landmarker.close()


def search_faces(landmarker: Any, picture: Image.Image) -> list[FaceLandmarks]:
    """Faces of the whole picture, or of its overlapping parts when it shows none at that size."""
    width, height = picture.size
    whole = _detect(landmarker, picture, (0.0, 0.0, float(width), float(height)), min(_SEARCH_SIDE, max(width, height)))
    if whole:
        return whole
    # A face that fills the picture is found with a margin around it; a small one in a part of the picture.
    margin = 0.3 * max(width, height)
    padded = _detect(landmarker, picture, (-margin, -margin, width + margin, height + margin), _SEARCH_SIDE)
    if padded:
        return padded
    for parts in _PARTS:
        found = _search_parts(landmarker, picture, parts)
        if found:
            return _distinct(found)
    return []


def _search_parts(landmarker: Any, picture: Image.Image, parts: int) -> list[FaceLandmarks]:
    """Faces of the overlapping parts of a picture, `parts` + 1 along each side; some of them several times."""
    width, height = picture.size
    side = 1.5 * max(width, height) / parts
    found: list[FaceLandmarks] = []
    if side < _SMALLEST_PART:
        return found
    for y in np.linspace(0, max(height - side, 0), parts + 1):
        for x in np.linspace(0, max(width - side, 0), parts + 1):
            found += _detect(landmarker, picture, (x, y, x + side, y + side), _FRAMING_SIDE)
    return found


def _distinct(faces: list[FaceLandmarks]) -> list[FaceLandmarks]:
    """Overlapping parts report a face several times: keep one of those that lie in the same place."""
    kept: list[FaceLandmarks] = []
    for face in sorted(faces, key=_area, reverse=True):
        near = (
            _same_place(face, other)
            or np.linalg.norm(face.points[IRISES[1]] - other.points[IRISES[1]]) < other.interocular
            for other in kept
        )
        if not any(near):
            kept.append(face)
    return kept


def _refine(landmarker: Any, picture: Image.Image, face: FaceLandmarks) -> FaceLandmarks:
    """Measure one face again in several framings of its head and take the median."""
    measured = _measured(landmarker, picture, face)
    unsteadiness = _unsteadiness(measured)
    if not measured:
        return replace(face, unsteadiness=unsteadiness)
    points = np.median([m.points for m in measured], axis=0).astype(np.float32)
    depth = np.median([m.depth for m in measured], axis=0).astype(np.float32)
    scores = np.median([m.scores for m in measured], axis=0).astype(np.float32)
    nearest = min(measured, key=lambda m: float(np.abs(m.points - points).sum()))
    return FaceLandmarks(points, depth, scores, nearest.pose, unsteadiness)


def _unsteadiness(measured: Sequence[FaceLandmarks]) -> float:
    """How much a face's points scatter from framing to framing, in distances between the eyes; more if some show no face."""
    if len(measured) < 2:
        return math.inf
    points = np.stack([found.points for found in measured])
    scatter = np.linalg.norm(points - np.median(points, axis=0), axis=2).mean(1)
    unit = np.median([found.interocular for found in measured])
    return float(np.median(scatter) / unit) * (len(_FRAMINGS) / len(measured)) ** 2


def _measured(landmarker: Any, picture: Image.Image, face: FaceLandmarks) -> list[FaceLandmarks]:
    """One face as seen in several framings of its head, without those that do not show it."""
    centre, side = (face.points.min(0) + face.points.max(0)) / 2, _side(face)
    measured = []
    for scale, dx, dy in _FRAMINGS:
        half = scale * side / 2
        x, y = centre + np.array([dx, dy]) * side
        for found in _detect(landmarker, picture, (x - half, y - half, x + half, y + half), _FRAMING_SIDE):
            # Another face may share the crop.
            if _same_place(found, face):
                measured.append(found)
                break
    return measured


def _detect(
    landmarker: Any, picture: Image.Image, window: tuple[float, float, float, float], side: int
) -> list[FaceLandmarks]:
    """Faces inside a window (left, top, right, bottom; pixels, may reach over the edge), seen with its long side
    `side`."""
    import mediapipe

    left, top = round(window[0]), round(window[1])
    width, height = max(round(window[2]) - left, 1), max(round(window[3]) - top, 1)
    scale = side / max(width, height)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    crop = picture.crop((left, top, left + width, top + height)).resize(size, Image.Resampling.LANCZOS)
    with quiet_stderr():
        result = landmarker.detect(
            mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(crop))
        )
    return faces_of(result, width, height, (left, top))


def faces_of(result: Any, width: int, height: int, corner: tuple[float, float] = (0.0, 0.0)) -> list[FaceLandmarks]:
    """MediaPipe's result for a picture of `width` × `height` pixels whose corner lies at `corner`."""
    faces = []
    for points, shapes, pose in zip(
        result.face_landmarks, result.face_blendshapes, result.facial_transformation_matrixes, strict=True
    ):
        raw = np.array([(p.x, p.y, p.z) for p in points], dtype=np.float64) * [width, height, width]
        scores = {shape.category_name: shape.score for shape in shapes}
        faces.append(
            FaceLandmarks(
                points=(raw[:, :2] + corner).astype(np.float32),
                depth=raw[:, 2].astype(np.float32),
                scores=np.array([scores.get(name, 0.0) for name in EXPRESSION_NAMES], dtype=np.float32),
                pose=np.asarray(pose, dtype=np.float32),
            )
        )
    return faces


def _side(face: FaceLandmarks) -> float:
    return float((face.points.max(0) - face.points.min(0)).max())


def _same_place(face: FaceLandmarks, other: FaceLandmarks) -> bool:
    return float(np.linalg.norm(face.points.mean(0) - other.points.mean(0))) < 0.25 * _side(other)


def _area(face: FaceLandmarks) -> float:
    extent = face.points.max(0) - face.points.min(0)
    return float(extent[0] * extent[1])
