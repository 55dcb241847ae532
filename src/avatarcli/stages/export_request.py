"""What to export: the format, and what it needs to know. Checked here, written by `stages.export`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from avatarcli.clips.clip import MAX_FPS
from avatarcli.errors import UsageError
from avatarcli.export.choices import SpzVersion, Up

ExportFormat = Literal[
    "ply", "ply-sequence", "spz", "sog", "glb-splats", "gaussianavatars", "transforms", "glb", "html"
]

MAX_SH_DEGREE = 3  # that readers of PLY know


@dataclass(frozen=True)
class FormatRules:
    """What a format is made of: a file with a suffix or a folder (no suffix), with or without a face or a clip."""

    suffix: str
    face: bool  # whether one expression can be chosen
    clip: Literal["none", "optional", "needed"]
    up: Up | None = None  # the axis that is up when nobody says; None: the format says


FORMATS: dict[ExportFormat, FormatRules] = {
    "ply": FormatRules(".ply", face=True, clip="none", up="y"),
    "ply-sequence": FormatRules("", face=False, clip="needed", up="y"),
    "spz": FormatRules(".spz", face=True, clip="none", up="y"),
    # All its readers are PlayCanvas' or follow them.
    "sog": FormatRules(".sog", face=True, clip="none", up="-y"),
    "glb-splats": FormatRules(".glb", face=True, clip="none"),
    "gaussianavatars": FormatRules("", face=False, clip="optional"),
    "transforms": FormatRules("", face=False, clip="none"),
    "glb": FormatRules(".glb", face=False, clip="none"),
    "html": FormatRules(".html", face=False, clip="optional"),
}


@dataclass(frozen=True)
class ExportRequest:
    """One export of one avatar. Raises UsageError for what the format has no room for."""

    format: ExportFormat
    expression: Mapping[str, float] = field(default_factory=dict)  # ARKit names to weights in [0, 1]
    clip: Path | None = None
    fps: float | None = None  # frames a second that the clip is resampled to; None: its own
    head_motion: bool = True  # whether the clip's head rotation and translation move the head
    up: Up | None = None  # the axis of the file that points to the top of the head; None: the format's default
    sh_degree: int = 0  # of a PLY; coefficients beyond degree 0 are zeros
    spz_version: SpzVersion | None = None  # None: 3

    def __post_init__(self) -> None:
        rules = FORMATS[self.format]
        if self.expression and not rules.face:
            raise UsageError(f"--expression fits the formats {_those(lambda r: r.face)}, not {self.format}")
        if self.clip is not None and rules.clip == "none":
            raise UsageError(f"--expr fits the formats {_those(lambda r: r.clip != 'none')}, not {self.format}")
        if self.clip is None and rules.clip == "needed":
            raise UsageError(f"{self.format} needs a clip: add --expr speech, or a clip.npz")
        if self.fps is not None and self.clip is None:
            raise UsageError("--fps resamples a clip: add --expr speech, or a clip.npz")
        if self.fps is not None and not 1.0 <= self.fps <= MAX_FPS:
            raise UsageError(f"--fps {self.fps:g}: choose 1 to {MAX_FPS:g}")

        if self.up is not None and rules.up is None:
            raise UsageError(f"--up fits the formats {_those(lambda r: r.up is not None)}, not {self.format}")
        if not 0 <= self.sh_degree <= MAX_SH_DEGREE:
            raise UsageError(f"--sh-degree {self.sh_degree}: choose 0 to {MAX_SH_DEGREE}")
        if self.sh_degree and self.format not in ("ply", "ply-sequence"):
            raise UsageError(f"--sh-degree fits the formats ply, ply-sequence, not {self.format}")
        if self.spz_version is not None and self.format != "spz":
            raise UsageError(f"--spz-version fits the format spz, not {self.format}")

    @property
    def axis(self) -> Up:
        """The axis of the file that points to the top of the head."""
        return self.up or FORMATS[self.format].up or "y"

    @property
    def folder(self) -> bool:
        """Whether the result is a folder."""
        return not FORMATS[self.format].suffix

    def check_output(self, out: Path) -> None:
        """Raise UsageError when the name does not fit the format."""
        suffix = FORMATS[self.format].suffix
        if suffix and out.suffix.lower() != suffix:
            raise UsageError(f"{out}: {self.format} is a file that ends in {suffix}")
        if not suffix and out.suffix.lower() in {rules.suffix for rules in FORMATS.values() if rules.suffix}:
            raise UsageError(f"{out}: {self.format} is a folder; leave out the ending")

    def default_output(self, subject: str) -> Path:
        """Where the export goes when nobody says."""
        if self.folder:
            stem = self.clip.stem if self.format == "ply-sequence" and self.clip else self.format
            return Path(f"{subject}-{stem}{'-ply' if self.format == 'ply-sequence' else ''}")
        stem = f"{subject}-splats" if self.format == "glb-splats" else subject
        return Path(f"{stem}{FORMATS[self.format].suffix}")


@dataclass(frozen=True)
class ExportResult:
    """What an export made."""

    path: Path
    format: ExportFormat
    files: int
    bytes: int
    seconds: float


def _those(fits: Callable[[FormatRules], bool]) -> str:
    return ", ".join(name for name, rules in FORMATS.items() if fits(rules))
