"""What to render: the camera's way, the face and the picture. Checked here, drawn by `stages.render`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from avatarcli.clips.frame_rates import check_fps
from avatarcli.errors import UsageError
from avatarcli.export.formats import OutputKind, endings, picture_format
from avatarcli.head.expressions import EXPRESSION_INDEX, EXPRESSION_NAMES, NAMED_EXPRESSIONS

if TYPE_CHECKING:
    from avatarcli.clips.clip import Clip
    from avatarcli.export.origin import Origin

Background = tuple[float, float, float] | None  # sRGB in [0, 1]; None is transparent
Backdrop = Background | Path  # what is behind the head: also a picture's file, cut to fit

WHITE: Background = (1.0, 1.0, 1.0)
_FARTHEST_TURN = 36_000  # degrees: a hundred times around
_LONGEST = 36_000  # frames: 20 minutes at 30 per second; a typing error beyond it would fill a disk


@dataclass(frozen=True)
class RenderRequest:
    """One rendering of one avatar.

    The picture is a still (`views`, when nothing moves), a camera that moves around the head (`orbit` or `swing`), a clip
    that moves the face (`clip`), both together, one moment of a clip (`at`), or the contact sheet (`sheet`). Angles are
    degrees. Raises UsageError for what cannot be drawn.
    """

    orbit: float | None = None  # degrees that the camera travels to the subject's left; negative: to the right
    swing: float | None = None  # degrees that it goes to either side and back, about once in SWING_SECONDS
    views: tuple[tuple[float, float], ...] = ((0.0, 0.0),)  # (yaw, pitch) of each still, when nothing moves
    yaw: float = 0.0  # degrees to the subject's left at which a moving camera starts, or a clip is seen
    seconds: float | None = None  # length; None: the clip's own, or DEFAULT_ORBIT_SECONDS
    fps: float = 30.0  # frames per second of the output; a clip is resampled to it
    size: int | tuple[int, int] = 512  # pixels: side of the picture or of one tile of the sheet, or width and height
    # How many times as large as the bust fits the picture; the closer, the more the head is in its middle.
    zoom: float = 1.0
    elevation: float = 0.0  # degrees of the camera above (+) or below the head while it moves or a clip plays
    background: Backdrop = WHITE
    # ARKit names to weights in [0, 1]; a clip overrides it.
    expression: Mapping[str, float] = field(default_factory=dict)
    clip: Clip | None = None
    head_motion: bool = True  # whether the clip's head rotation and translation move the head
    at: float | None = None  # seconds: the clip's moment that a still shows
    sheet: bool = False

    def __post_init__(self) -> None:
        width, height = self.width_height
        if not all(16 <= side <= 4096 for side in (width, height)):
            raise UsageError(f"--size {width if width == height else f'{width}x{height}'}: choose 16 to 4096 pixels")
        if not 1.0 <= self.zoom <= 8.0:  # from further away one would see where the bust ends
            raise UsageError(f"--zoom {self.zoom:g}: choose 1 to 8")
        check_fps(self.fps)
        if self.seconds is not None and not 0.0 < self.seconds * self.fps <= _LONGEST:
            raise UsageError(f"--seconds {self.seconds:g}: choose more than 0 and at most {_LONGEST / self.fps:g}")
        if not -80.0 <= self.elevation <= 80.0 or any(not -80.0 <= pitch <= 80.0 for _, pitch in self.views):
            raise UsageError("--elevation and --pitch go from -80 to 80 degrees")
        if self.orbit is not None and self.swing is not None:
            raise UsageError("--orbit goes on round the head, --swing comes back: use one or the other")
        if self.at is not None and (self.orbit, self.swing, self.seconds) != (None, None, None):
            raise UsageError("--at takes one moment of the clip: leave out --orbit, --swing and --seconds")
        yaws = [("--yaw", yaw) for yaw in (self.yaw, *(yaw for yaw, _ in self.views))]
        for option, angle in (("--orbit", self.orbit or 0.0), ("--swing", self.swing or 0.0), *yaws):
            if not abs(angle) <= _FARTHEST_TURN:  # so that NaN is none
                raise UsageError(f"{option} {angle:g}: choose -{_FARTHEST_TURN} to {_FARTHEST_TURN} degrees")
        if self.sheet and (self.moving or self.expression):
            raise UsageError("--sheet has its own views and expressions: leave out --orbit, --swing and --expression")

    @property
    def moving(self) -> bool:
        """Whether the result is a video."""
        return self.at is None and (self.orbit, self.swing, self.clip) != (None, None, None)

    @property
    def width_height(self) -> tuple[int, int]:
        """The size of a picture in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def frames(self, clip_seconds: float | None = None) -> int:
        """How many pictures, given the length of the clip if there is one."""
        if not self.moving:
            return len(self.views)
        seconds = self.seconds or clip_seconds or DEFAULT_ORBIT_SECONDS
        return max(1, round(seconds * self.fps))


DEFAULT_ORBIT_SECONDS = 6.0  # one turn slow enough to look at
SWING_SECONDS = 6.0  # about how long the camera takes to one side, to the other, and back


@dataclass(frozen=True)
class RenderResult:
    """What a rendering made."""

    path: Path
    kind: OutputKind
    frames: int
    size: tuple[int, int]  # pixels: width, height
    fps: float | None  # None for a still
    seconds: float  # spent drawing and encoding, without loading
    origin: Origin  # what it says about itself


def output_kind(out: Path, request: RenderRequest) -> OutputKind:
    """The format that `out` asks for by its ending; no ending is a folder of numbered PNGs.

    Raises:
        UsageError: the format is unknown or cannot hold this request.
    """
    form = picture_format(out)
    stills, suffix = endings(lambda other: other.still), out.suffix.lower()
    if request.sheet and not form.still:
        raise UsageError(f"{out}: a contact sheet is a {stills}")
    if not request.moving and form.codec is not None:
        video = "add --orbit 360" if request.at is None else "leave out --at"
        raise UsageError(f"{out}: a still is a {stills}; for a video {video}")
    if not request.moving and form.still and len(request.views) > 1:
        raise UsageError(f"{out}: {len(request.views)} views need a folder, not one {suffix}")
    if request.moving and form.still:
        videos = endings(lambda other: other.codec is not None)
        raise UsageError(f"{out}: a {suffix} holds one picture; name a video ({videos}) or a folder")
    if request.background is None and form.transparency != "soft":
        soft = endings(lambda other: other.transparency == "soft")
        raise UsageError(f"{out}: {suffix} has no soft transparency; use {soft}, or a folder")
    return form.kind


def parse_expression(text: str) -> dict[str, float]:
    """`jawOpen=0.6,mouthSmileLeft=1`, or the name of one of NAMED_EXPRESSIONS. Raises UsageError."""
    named = {name.replace(" ", "-"): weights for name, weights in NAMED_EXPRESSIONS.items()}
    wanted = text.strip().lower().replace(" ", "-")
    if wanted in named:
        return dict(named[wanted])
    weights: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise UsageError(f"--expression '{part}': write name=weight, or one of {', '.join(named)}")
        _check_name(name)
        try:
            weights[name] = float(value)
        except ValueError:
            raise UsageError(f"--expression: '{value}' is not a number in '{part}'") from None
    check_expression(weights)
    return weights


def check_expression(weights: Mapping[str, float]) -> None:
    """Raise UsageError unless these are weights in [0, 1] by ARKit's names."""
    for name, weight in weights.items():
        _check_name(name)
        if not 0.0 <= weight <= 1.0:
            raise UsageError(f"--expression: {name}={weight:g} is not between 0 and 1")


def _check_name(name: str) -> None:
    if name not in EXPRESSION_INDEX:
        close = difflib.get_close_matches(name, EXPRESSION_NAMES, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]}?" if close else "use ARKit's names, such as mouthSmileLeft"
        raise UsageError(f"--expression: no expression is called '{name}'; {hint}")


def parse_size(text: str) -> int | tuple[int, int]:
    """`512`, or width and height as in `1280x720`. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,9})(?:[xX×](\d{1,9}))?", text.strip())
    if found is None:
        raise UsageError(f"--size '{text}': write pixels, such as 512 or 1280x720")
    width, height = found.groups()
    return int(width) if height is None else (int(width), int(height))


def parse_background(text: str) -> Backdrop:
    """`transparent`, a CSS color name, a hex color, or a picture's file. Raises UsageError."""
    if text.strip().lower() == "transparent":
        return None
    if Path(text).is_file():
        return Path(text)
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(text.strip())[:3]
    except ValueError:
        wanted = "a name (white), a hex color (#1e90ff), transparent, or a picture that exists"
        raise UsageError(f"--background '{text}': use {wanted}") from None
    return red / 255.0, green / 255.0, blue / 255.0
