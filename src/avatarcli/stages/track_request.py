"""What to track. Checked here, done by `stages.track`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avatarcli.clips.frame_rates import check_fps
from avatarcli.errors import UsageError
from avatarcli.export.formats import endings, picture_format
from avatarcli.files import check_place


@dataclass(frozen=True)
class TrackRequest:
    """What to track. Raises UsageError for values that make no sense."""

    video: Path  # a file, or the number of a camera
    seconds: float | None = None  # only so much from the start; of a camera: how long to record
    fps: float | None = None  # frames per second of the clip; None: the video's own
    rest: float | None = None  # seconds: a moment at which the face rests; None: found

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise UsageError(f"--seconds {self.seconds:g}: choose more than 0")
        check_fps(self.fps)
        if self.rest is not None and not 0 <= self.rest < float("inf"):
            raise UsageError(f"--rest {self.rest:g}: choose a moment of the video, in seconds")

    @property
    def camera(self) -> int | None:
        """The camera's number, when it is one and not a file's name."""
        name = str(self.video)
        return int(name) if name.isdecimal() and not self.video.exists() else None

    def check_output(self, out: Path) -> None:
        """Raise UsageError unless a clip can have this name."""
        if out.suffix.lower() != ".npz":
            raise UsageError(f"{out}: a clip is a .npz file")

    def check_preview(self, preview: Path, fps: float) -> None:
        """Raise AvatarError unless the mesh over a video of `fps` frames per second can be written there."""
        from avatarcli.export.video import check_output

        if picture_format(preview).still:
            videos = endings(lambda form: form.codec is not None)
            raise UsageError(f"--preview {preview}: it holds one picture; name a video ({videos}) or a folder")
        check_output(preview, transparent=False, fps=self.fps or fps)
        check_place(preview, folder=not preview.suffix)

    def check_file(self) -> None:
        """Raise UsageError when a camera was named where a file is wanted."""
        if self.camera is not None:
            raise UsageError(f"--video {self.video}: record a camera first: `avatar track {self.video} -o clip.npz`")
