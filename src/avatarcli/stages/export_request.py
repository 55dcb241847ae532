"""What to export: the format, and what it needs to know. Checked here, written by `stages.export`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from avatarcli.clips.frame_rates import check_fps
from avatarcli.errors import UsageError
from avatarcli.export.formats import FORMATS, WITH_CLIP, WITH_FACE, WITH_SH, WITH_UP, ExportFormat, SpzVersion, Up
from avatarcli.stages.driver import Driver

MAX_SH_DEGREE = 3  # that readers of PLY know


@dataclass(frozen=True)
class ExportRequest:
    """One export of one avatar. Raises UsageError for what the format has no room for."""

    format: ExportFormat
    expression: Mapping[str, float] = field(default_factory=dict)  # ARKit names to weights in [0, 1]
    driver: Driver | None = None  # the clip that moves the face
    fps: float | None = None  # frames per second that the clip is resampled to; None: its own
    head_motion: bool = True  # whether the clip's head rotation and translation move the head
    up: Up | None = None  # the axis of the file that points to the top of the head; None: the format's default
    sh_degree: int = 0  # of a PLY; coefficients beyond degree 0 are zeros
    spz_version: SpzVersion | None = None  # None: 3

    def __post_init__(self) -> None:
        rules = FORMATS[self.format]
        if self.expression and not rules.face:
            raise UsageError(f"--expression fits the formats {WITH_FACE}, not {self.format}")
        if self.driver is not None and rules.clip == "none":
            raise UsageError(f"--expr fits the formats {WITH_CLIP}, not {self.format}")
        if self.driver is None and rules.clip == "needed":
            raise UsageError(f"{self.format} needs a clip: add --expr speech, or a clip.npz")
        for option, given in (("--fps", self.fps is not None), ("--no-head-motion", not self.head_motion)):
            if given and rules.clip == "none":
                raise UsageError(f"{option} fits the formats {WITH_CLIP}, not {self.format}")
            if given and self.driver is None:
                raise UsageError(f"{option} is about a clip: add --expr speech, or a clip.npz")
        check_fps(self.fps)
        if self.up is not None and rules.up is None:
            raise UsageError(f"--up fits the formats {WITH_UP}, not {self.format}")
        if not 0 <= self.sh_degree <= MAX_SH_DEGREE:
            raise UsageError(f"--sh-degree {self.sh_degree}: choose 0 to {MAX_SH_DEGREE}")
        if self.sh_degree and not rules.sh:
            raise UsageError(f"--sh-degree fits the formats {WITH_SH}, not {self.format}")
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
            stem = self.driver.name if self.format == "ply-sequence" and self.driver else self.format
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
