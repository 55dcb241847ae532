"""The sound of a video: kept, trimmed, and put under another picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from avatarcli.export.origin import Origin
from avatarcli.export.sound import RATE, add_sound, save_sound, sound_path
from avatarcli.export.video import write_frames
from origin_reader import read_origin

VideoMaker = Callable[..., Path]
ORIGIN = Origin("Test", "1", "compositeSynthetic", "ab" * 32)


def heard(path: Path) -> NDArray[np.float64]:
    """The first channel of a file's sound at its own rate, by `RATE` if it is ours."""
    with av.open(str(path)) as container:
        blocks = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return np.concatenate(blocks).astype(np.float64)


def pitch(sound: NDArray[np.float64]) -> float:
    """The loudest frequency, Hertz."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(np.fft.rfftfreq(len(sound), 1 / RATE)[spectrum.argmax()])


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory, make_video: VideoMaker) -> Path:
    """One second of grey with a tone of 440 Hz."""
    grey = [np.full((48, 64, 3), 90, np.uint8)] * 25
    return make_video(tmp_path_factory.mktemp("sound") / "talking.mp4", grey, tone=440)


def test_sound_is_kept_and_trimmed(talking: Path, tmp_path: Path) -> None:
    save_sound(talking, tmp_path / "a.m4a", start=0.0, seconds=0.6)
    sound = heard(tmp_path / "a.m4a")
    assert len(sound) == pytest.approx(0.6 * RATE, abs=2200)  # AAC goes in blocks of 1024
    assert pitch(sound[:28000]) == pytest.approx(440, abs=5)
    assert 0.25 < sound[4000:24000].std() < 0.45


def test_sound_starts_with_the_picture(tmp_path: Path, make_video: VideoMaker) -> None:
    grey = [np.full((48, 64, 3), 90, np.uint8)] * 25
    late = make_video(tmp_path / "late.mkv", grey, tone=440, tone_start=0.4)
    save_sound(late, tmp_path / "a.m4a", start=0.0, seconds=1.0)
    sound = heard(tmp_path / "a.m4a")
    assert np.abs(sound[: round(0.3 * RATE)]).max() < 0.05
    assert sound[round(0.5 * RATE) : round(0.9 * RATE)].std() > 0.25
    # A picture that begins later than the sound cuts its beginning off.
    save_sound(late, tmp_path / "b.m4a", start=0.5, seconds=0.5)
    assert heard(tmp_path / "b.m4a")[4000:16000].std() > 0.25


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "aac"), (".webm", "opus")])
def test_sound_goes_under_a_video(talking: Path, tmp_path: Path, suffix: str, codec: str) -> None:
    save_sound(talking, tmp_path / "a.m4a", start=0.0, seconds=1.0)
    video = tmp_path / f"v{suffix}"
    channels = 4 if suffix == ".webm" else 3
    frames = [np.full((32, 32, channels), 10 * index, np.uint8) for index in range(12)]
    write_frames(video, frames, 24.0, origin=ORIGIN)
    with av.open(str(video)) as silent:
        packets = [bytes(packet) for packet in silent.demux(video=0) if packet.size]
        tags = dict(silent.streams.video[0].metadata)
    add_sound(video, tmp_path / "a.m4a", ORIGIN)
    with av.open(str(video)) as container:
        assert container.streams.audio[0].codec_context.name.removeprefix("lib") == codec
        assert container.duration / av.time_base == pytest.approx(0.5, abs=0.06)
        assert [bytes(packet) for packet in container.demux(video=0) if packet.size] == packets
        assert container.streams.video[0].metadata.get("alpha_mode") == tags.get("alpha_mode")
    assert pitch(heard(video)[2000:20000]) == pytest.approx(440, abs=5)
    assert read_origin(video) == ORIGIN
    assert [path.name for path in tmp_path.iterdir() if "sounding" in path.name] == []


def test_where_the_sound_of_a_clip_lies() -> None:
    assert sound_path(Path("takes/one.npz")) == Path("takes/one.audio.m4a")
