"""What drives a face: a clip that has been read, and the sound that goes with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from avatarcli.clips.clip import Clip
from avatarcli.clips.files import clip_path, load_clip


@dataclass(frozen=True)
class Driver:
    """name: what the clip is called, as its file without the ending; sound: a file, or None where there is none."""

    clip: Clip
    name: str
    sound: Path | None = None

    @classmethod
    def load(
        cls,
        clip: str | Path,
        *,
        note: Callable[[str], None] = lambda message: None,
        warn: Callable[[str], None] = lambda message: None,
    ) -> Driver:
        """A clip by its file, or the name of a shipped one, with the sound that lies beside it; otherwise as `load_clip`."""
        path = clip_path(clip)
        motion = load_clip(path, note=note, warn=warn)
        from avatarcli.export.sound import sound_path  # PyAV takes a moment, which nobody needs for a misspelt clip

        sound = sound_path(path)
        return cls(motion, path.stem, sound if sound.exists() else None)
