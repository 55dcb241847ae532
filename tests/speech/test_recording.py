"""Reading voices."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avatarcli.errors import SpeechError
from avatarcli.speech.recording import RATE, STEPS, read_recording

SoundWriter = Callable[..., Path]


def burst(rate: int) -> np.ndarray:
    """A tone of 300 Hz from 0.5 to 1 s of 1.5 s [N]."""
    t = np.arange(round(1.5 * rate)) / rate
    return 0.5 * np.sin(2 * np.pi * 300 * t) * ((t >= 0.5) & (t < 1.0))


def write_wav_of_floats(path: Path, samples: np.ndarray) -> None:
    """A mono WAV of 32-bit floats, which no encoder checks."""
    body = samples.astype("<f4").tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(body), b"WAVE", b"fmt ", 16, 3, 1, RATE, 4 * RATE, 4, 32,
                       b"data", len(body))  # fmt: skip
    path.write_bytes(head + body)


@pytest.mark.parametrize(("suffix", "rate"), [("wav", 8000), ("mp3", 44100), ("m4a", 48000), ("flac", 22050)])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_sound_becomes_16_khz_mono(
    tmp_path: Path, write_sound: SoundWriter, suffix: str, rate: int, channels: int
) -> None:
    path = write_sound(tmp_path / f"a.{suffix}", np.stack([burst(rate)] * channels), rate)
    recording = read_recording(path)
    assert recording.samples.ndim == 1
    assert recording.seconds == pytest.approx(1.5, abs=0.08)  # MP3 and AAC go in blocks
    loud = np.flatnonzero(~recording.quiet) / STEPS
    assert (loud.min(), loud.max()) == pytest.approx((0.5, 1.0), abs=0.04)
    middle = recording.samples[round(0.6 * RATE) : round(0.9 * RATE)]
    spectrum = np.abs(np.fft.rfft(middle))
    assert np.fft.rfftfreq(len(middle), 1 / RATE)[spectrum.argmax()] == pytest.approx(300, abs=5)
    assert recording.loud == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=1.5)


def test_the_noise_of_the_room_is_quiet(tmp_path: Path, write_sound: SoundWriter) -> None:
    noise = 0.004 * np.random.default_rng(0).standard_normal(round(1.5 * RATE))
    recording = read_recording(write_sound(tmp_path / "a.wav", (burst(RATE) + noise)[None], RATE))
    assert recording.quiet[:45].all()
    assert not recording.quiet[52:98].any()
    assert recording.quiet[105:].all()


def test_what_is_no_voice_is_named(tmp_path: Path, write_sound: SoundWriter, make_video: Callable[..., Path]) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    write_sound(tmp_path / "silent.wav", np.zeros((1, RATE)), RATE)
    write_sound(tmp_path / "short.wav", np.ones((1, 400)), RATE)
    write_wav_of_floats(tmp_path / "nan.wav", np.full(RATE, np.nan))
    write_wav_of_floats(tmp_path / "empty.wav", np.zeros(0))
    make_video(tmp_path / "mute.mp4", [np.full((48, 64, 3), 90, np.uint8)] * 2)
    for name, reason in (
        ("text.wav", "not sound that can be read"),
        ("silent.wav", "is silent"),
        ("short.wav", "lasts 0.0"),
        ("nan.wav", "samples that are no numbers"),
        ("empty.wav", "sound is empty"),
        ("mute.mp4", "no sound in it"),
        ("gone.wav", "there is no file"),
        (".", "is a folder"),
    ):
        with pytest.raises(SpeechError, match=reason) as failure:
            read_recording(tmp_path / name)
        assert str(tmp_path / name) in str(failure.value)
