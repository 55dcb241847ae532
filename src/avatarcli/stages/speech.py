"""Voice → motion clip, with the voice beside it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av

from avatarcli.clips.files import save_clip
from avatarcli.errors import SpeechError
from avatarcli.export.sound import save_sound, sound_path
from avatarcli.files import finished_output
from avatarcli.progress import Progress
from avatarcli.speech.performance import perform
from avatarcli.speech.phones import Phone, find_phones
from avatarcli.speech.recording import read_recording
from avatarcli.stages.driver import Driver
from avatarcli.stages.speech_request import SpeechRequest


@dataclass(frozen=True)
class SpeechResult:
    """What a voice became."""

    path: Path
    frames: int
    fps: float
    sound: Path
    phones: tuple[Phone, ...]


def speech_clip(request: SpeechRequest, out: Path, *, progress: Progress) -> SpeechResult:
    """Write the motion of a voice to `out` (.npz) and the voice beside it, where `animate --expr` finds it.

    Raises:
        AvatarError: the sound cannot be read, PocketSphinx is needed and missing, or an output cannot be written.
    """
    recording = read_recording(request.audio)
    with progress.task("find the sounds", 1) as advance:
        phones = find_phones(recording, request.text, request.language, note=progress.info, warn=progress.warn)
        advance(1)
    clip = perform(recording, phones, seed=request.seed)
    with finished_output(out, folder=False) as place:
        save_clip(place, clip)
        sound = place.parent / "voice.m4a"
        try:
            save_sound(request.audio, sound, start=0.0, seconds=clip.duration)
        except av.error.FFmpegError as error:
            raise SpeechError(f"{request.audio}: its sound cannot be kept ({error.strerror})") from None
        os.replace(sound, sound_path(out))
    return SpeechResult(out, len(clip), clip.fps, sound_path(out), tuple(phones))


@contextmanager
def spoken_clip(request: SpeechRequest, *, progress: Progress) -> Iterator[Driver]:
    """The clip of a voice, with its sound for as long as the block runs. Raises as `speech_clip`."""
    with tempfile.TemporaryDirectory(prefix="avatar-speech-") as folder:
        yield Driver.load(speech_clip(request, Path(folder) / "clip.npz", progress=progress).path)
