"""Reading a voice: any sound file or video that PyAV decodes, as 16 kHz mono, and how loud it is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from avatarcli.errors import SpeechError
from avatarcli.export.sound import layout_of, placed_samples
from avatarcli.files import why_not_a_file

RATE = 16_000  # samples per second: what PocketSphinx's model was trained on
STEPS = 100  # a second: moments at which loudness is measured; also PocketSphinx's own frames
MAX_SECONDS = 1200.0  # as long as the longest video that is rendered
_READABLE = "WAV, MP3, M4A, FLAC, Ogg, or a video with sound"
_FAINTEST = -60.0  # decibels below full scale: a recording whose loudest parts stay below holds no voice
_HOP = RATE // STEPS
_WINDOW = 2 * _HOP  # samples: 20 ms, two or more periods of most voices
# A voice's sounds span some 30 dB; what lies further below its loud parts is breath, room or nothing.
_SPAN = 35.0
_ABOVE_NOISE = 8.0  # decibels that a sound must stand above the noise of the room


@dataclass(frozen=True)
class Voice:
    """A voice: samples float32 [N] in [-1, 1], `RATE` a second, from the file's time 0 on."""

    path: Path
    samples: NDArray[np.float32]

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE

    @cached_property
    def levels(self) -> NDArray[np.float64]:
        """Loudness [T] at the middle of each of `STEPS` a second, decibels of full scale, at least -120."""
        power = np.concatenate([[0.0], np.cumsum(self.samples.astype(np.float64) ** 2)])
        middles = np.arange(len(self.samples) // _HOP) * _HOP + _HOP // 2
        low, high = (middles - _WINDOW // 2).clip(min=0), (middles + _WINDOW // 2).clip(max=len(self.samples))
        mean = (power[high] - power[low]) / (high - low)
        return np.asarray(10 * np.log10(mean.clip(min=1e-12)))

    @cached_property
    def loud(self) -> float:
        """The level of the voice's loud parts, decibels: one in twenty of the moments within `_SPAN` of the loudest."""
        return float(np.percentile(self.levels[self.levels > self.levels.max() - _SPAN], 95))

    @cached_property
    def quiet(self) -> NDArray[np.bool_]:
        """Which moments [T] hold no voice: far below its loud parts, or no louder than the room."""
        room = float(np.percentile(self.levels, 5))
        floor = min(max(self.loud - _SPAN, room + _ABOVE_NOISE), self.loud - 0.5 * _SPAN)
        return np.asarray(self.levels < floor)


def read_recording(path: Path) -> Voice:
    """Decode the first sound of a file; several channels are averaged, any rate is resampled.

    Raises:
        SpeechError: no such file, no sound in it, damaged, silent, shorter than 0.1 s or longer than `MAX_SECONDS`.
    """
    if (problem := why_not_a_file(path, "sound")) is not None:
        raise SpeechError(problem)
    recording = Voice(path, _decoded(path))
    if recording.seconds < 0.1:
        raise SpeechError(f"{path} lasts {recording.seconds:.2f} s; give at least 0.1 s of speech")
    if recording.levels.max() < _FAINTEST:
        raise SpeechError(f"{path} is silent: nothing in it is louder than {_FAINTEST:.0f} dB; record it again")
    return recording


def _decoded(path: Path) -> NDArray[np.float32]:
    blocks: list[NDArray[np.float32]] = []
    count = 0
    try:
        with av.open(f"file:{path}", metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise SpeechError(f"{path} has no sound in it; give {_READABLE}")
        # As ffmpeg mixes stereo down, it becomes louder, and may clip.
        for block in placed_samples(path, 0.0, layout_of(path), RATE):
            blocks.append(block.mean(axis=0))
            count += block.shape[1]
            if count > MAX_SECONDS * RATE:
                raise SpeechError(f"{path} is longer than {MAX_SECONDS / 60:.0f} minutes; cut it into parts")
    except PermissionError as error:
        raise SpeechError(f"{path} cannot be opened ({error.strerror}); check its permissions") from None
    except (av.error.FFmpegError, OSError, ValueError):
        raise SpeechError(f"{path} is not sound that can be read; give {_READABLE}") from None
    if not blocks:
        raise SpeechError(f"{path}: its sound is empty or cannot be decoded; record it again, or convert it to WAV")
    samples = np.concatenate(blocks)
    if not np.isfinite(samples).all():  # which WAV files of floating-point samples can hold
        raise SpeechError(f"{path} is damaged, it has samples that are no numbers; export it again")
    return samples
