"""The tables of formats that are written: pictures and videos, and files of Gaussians for other programs.

Help texts, checks and writers all go by them. Nothing heavy is loaded here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from avatarcli.errors import UsageError

OutputKind = Literal["mp4", "webm", "mov", "webp", "gif", "png", "jpg", "frames"]
ExportFormat = Literal[
    "ply", "ply-sequence", "spz", "sog", "glb-splats", "gaussianavatars", "transforms", "glb", "html"
]
Up = Literal["y", "-y", "z"]  # the axis that points to the top of the head
SpzVersion = Literal[2, 3, 4]  # of the SPZ format


@dataclass(frozen=True)
class Codec:
    """How ffmpeg encodes a video. alpha_pixels: of pictures that are transparent; None where the format is not."""

    encoder: str
    pixels: str
    alpha_pixels: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    container_options: Mapping[str, str] = field(default_factory=dict)
    sound: str | None = None  # encoder of its sound; None: it has no room for any
    even: bool = False  # whether width and height must be


@dataclass(frozen=True)
class PictureFormat:
    """Pictures as a file with one of some endings, or as a folder (no ending). codec: of a video only."""

    kind: OutputKind
    endings: tuple[str, ...]
    transparency: Literal["none", "hard", "soft"]  # hard: a pixel is there or not, which frays hair
    codec: Codec | None = None
    most_fps: float = 240.0

    @property
    def still(self) -> bool:
        """Whether it holds a single picture."""
        return self.codec is None and self.kind != "frames"


PICTURE_FORMATS = (
    # CRF 18 is where most people stop seeing a difference; yuv420p is what every player and browser decodes.
    PictureFormat(
        "mp4",
        (".mp4",),
        "none",
        Codec(
            "libx264",
            "yuv420p",
            options={"crf": "18", "preset": "medium"},
            container_options={"movflags": "+faststart"},
            sound="aac",
            even=True,
        ),
    ),
    # Alternative reference frames do not work with VP9's alpha plane. Speed 4 costs little quality and saves minutes.
    PictureFormat(
        "webm",
        (".webm",),
        "soft",
        Codec(
            "libvpx-vp9",
            "yuv420p",
            "yuva420p",
            {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1", "auto-alt-ref": "0"},
            sound="libopus",
        ),
    ),
    # ProRes 4444: what video editors take in with transparency. Ten bits, hardly any loss, large files.
    PictureFormat(
        "mov",
        (".mov",),
        "soft",
        Codec("prores_ks", "yuv444p10le", "yuva444p10le", {"profile": "4444", "vendor": "apl0"}, sound="aac"),
    ),
    PictureFormat(
        "webp",
        (".webp",),
        "soft",
        Codec("libwebp_anim", "bgra", "bgra", {"quality": "85", "compression_level": "4"}, {"loop": "0"}),
    ),
    # Delays of a GIF are hundredths of a second, and browsers slow down anything below two of them.
    PictureFormat("gif", (".gif",), "hard", Codec("gif", "pal8", "pal8", {}, {"loop": "0"}), most_fps=50.0),
    PictureFormat("png", (".png",), "soft"),
    PictureFormat("jpg", (".jpg", ".jpeg"), "none"),
    PictureFormat("frames", ("",), "soft"),
)


def picture_format(path: Path) -> PictureFormat:
    """The format that a name asks for by its ending; none is a folder of numbered PNGs. Raises UsageError when it is unknown."""
    if any(path.name.lower() in form.endings for form in PICTURE_FORMATS if path.name):
        raise UsageError(f"{path}: there is no name before the ending")  # what `-o "$NAME.png"` is without a NAME
    for form in PICTURE_FORMATS:
        if path.suffix.lower() in form.endings:
            return form
    raise UsageError(f"{path}: cannot write '{path.suffix}'; use {endings()}, or no ending for a folder of PNGs")


def endings(fits: Callable[[PictureFormat], bool] = lambda form: True, last: str = "or") -> str:
    """The (first) endings of the files that fit, as in `.mp4, .webm or .gif`."""
    named = [form.endings[0] for form in PICTURE_FORMATS if form.endings[0] and fits(form)]
    return f"{', '.join(named[:-1])} {last} {named[-1]}" if named[1:] else named[0]


@dataclass(frozen=True)
class FormatRules:
    """What an export is made of: a file with a suffix or a folder (no suffix), with or without a face or a clip."""

    suffix: str
    face: bool = False  # whether one expression can be chosen
    clip: Literal["none", "optional", "needed"] = "none"
    up: Up | None = None  # the axis that is up when nobody says; None: the format says
    sh: bool = False  # whether there is a choice of degrees of spherical harmonics


FORMATS: dict[ExportFormat, FormatRules] = {
    "ply": FormatRules(".ply", face=True, up="y", sh=True),
    "ply-sequence": FormatRules("", clip="needed", up="y", sh=True),
    "spz": FormatRules(".spz", face=True, up="y"),
    # All its readers are PlayCanvas' or follow them.
    "sog": FormatRules(".sog", face=True, up="-y"),
    "glb-splats": FormatRules(".glb", face=True),
    "gaussianavatars": FormatRules("", clip="optional"),
    "transforms": FormatRules(""),
    "glb": FormatRules(".glb"),
    "html": FormatRules(".html", clip="optional"),
}


def exports(fits: Callable[[FormatRules], bool]) -> str:
    """The names of the exports that fit, as in `ply, spz`."""
    return ", ".join(name for name, rules in FORMATS.items() if fits(rules))


WITH_FACE = exports(lambda rules: rules.face)
WITH_CLIP = exports(lambda rules: rules.clip != "none")
WITH_UP = exports(lambda rules: rules.up is not None)
WITH_SH = exports(lambda rules: rules.sh)
