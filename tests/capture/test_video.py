"""Reading videos: what is refused, when frames come, and which way up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from avatarcli.capture.photo import pictures_in
from avatarcli.capture.video import (
    MAX_SIDE,
    frame_at,
    frame_rate,
    is_film,
    probe_video,
    read_frames,
    read_key_frames,
)
from avatarcli.errors import VideoError

VideoMaker = Callable[..., Path]


def halves(count: int, height: int = 48, width: int = 64) -> list[NDArray[np.uint8]]:
    """Frames whose upper half is red and lower half blue, ever brighter."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    level = np.linspace(100, 240, count).round().astype(np.uint8)[:, None, None]
    frames[:, : height // 2, :, 0], frames[:, height // 2 :, :, 2] = level, level
    return list(frames)


def test_what_is_not_a_video_is_named(tmp_path: Path) -> None:
    text, empty, tone = tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "c.m4a"
    text.write_text("no video at all")
    empty.touch()
    with av.open(str(tone), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        stream.layout = "mono"
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), "fltp", "mono")
        silence.sample_rate = 44100
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    for path, reason in (
        (tmp_path / "gone.mp4", "there is no file"),
        (tmp_path, "folder"),
        (text, "not a video"),
        (empty, "not a video"),
        (tone, "no video in it"),
    ):
        with pytest.raises(VideoError, match=reason) as failure:
            probe_video(path)
        assert str(path) in str(failure.value)


def test_a_video_without_frames_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(VideoError, match=r"no frames|not a video"):
        probe_video(path)


def test_an_unknown_codec_is_named(tmp_path: Path, make_video: VideoMaker) -> None:
    path = make_video(tmp_path / "a.mp4", halves(3))
    content = path.read_bytes()
    # The sample entry's name is what tells the codec: one that nobody has.
    path.write_bytes(content.replace(b"avc1", b"zzz1").replace(b"avcC", b"zzzC"))
    with pytest.raises(VideoError, match=r"codec|decoded"):
        list(read_frames(probe_video(path)))


def test_frames_come_at_their_times(tmp_path: Path, make_video: VideoMaker) -> None:
    times = [0.5, 0.54, 0.58, 0.75, 0.79]
    info = probe_video(make_video(tmp_path / "a.mkv", halves(5), times=times))
    np.testing.assert_allclose(info.times, np.array(times) - 0.5, atol=1e-3)
    assert info.fps == pytest.approx(25)
    assert info.duration == pytest.approx(0.33, abs=2e-3)
    read = list(read_frames(info))
    np.testing.assert_allclose([moment for moment, _ in read], np.array(times) - 0.5, atol=1e-3)
    brightness = [float(picture[:12, ..., 0].mean()) for _, picture in read]
    assert np.all(np.diff(brightness) > 20)
    assert [moment for moment, _ in read_frames(info, seconds=0.1)] == pytest.approx([0, 0.04, 0.08], abs=1e-3)


@pytest.mark.parametrize(("rotation", "top"), [(0, "red"), (180, "blue"), (90, "side"), (-90, "side")])
def test_a_phones_rotation_is_undone(tmp_path: Path, make_video: VideoMaker, rotation: int, top: str) -> None:
    info = probe_video(make_video(tmp_path / "a.mp4", halves(2), rotation=rotation))
    picture = next(read_frames(info))[1].astype(int)
    if top == "side":
        assert picture.shape == (64, 48, 3)
        # Turned against the clock, what was on top is on the left.
        side = picture[:, :20] if rotation == 90 else picture[:, 28:]
        assert side[..., 0].mean() > side[..., 2].mean() + 60
    else:
        assert picture.shape == (48, 64, 3)
        assert (picture[:20, :, 0].mean() > picture[:20, :, 2].mean()) == (top == "red")


def test_large_frames_are_shrunk_and_fast_ones_left_out(tmp_path: Path, make_video: VideoMaker) -> None:
    wide = [np.zeros((90, 2 * MAX_SIDE, 3), np.uint8)]
    assert next(read_frames(probe_video(make_video(tmp_path / "a.mp4", wide))))[1].shape == (45, MAX_SIDE, 3)
    times = [index / 240 for index in range(48)]
    info = probe_video(make_video(tmp_path / "b.mkv", halves(48), times=times))
    assert info.fps == 60
    assert len(list(read_frames(info))) == pytest.approx(12, abs=1)


def test_a_file_that_was_cut_short_gives_what_it_has(tmp_path: Path, make_video: VideoMaker) -> None:
    path = make_video(tmp_path / "a.mkv", halves(40))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    assert 5 < len(list(read_frames(probe_video(path)))) < 40


def test_rates_are_those_that_cameras_mean() -> None:
    ntsc = 30000 / 1001
    assert frame_rate(np.arange(300) / ntsc) == ntsc
    # Times in whole milliseconds, and a few dropped frames.
    assert frame_rate(np.delete(np.round(np.arange(300) / 30, 3), [5, 77, 200])) == 30
    assert frame_rate(np.arange(50) / 12.3) == pytest.approx(12.3)
    assert frame_rate(np.arange(50) / 120) == 60
    assert frame_rate(np.zeros(1)) == 30


@pytest.mark.parametrize("ending", ["mp4", "mkv", "gif"])
def test_single_frames_are_those_of_their_times(tmp_path: Path, make_video: VideoMaker, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    if ending == "gif":
        first, *others = (Image.fromarray(picture) for picture in halves(12))
        first.save(path, save_all=True, append_images=others, duration=40)
    else:
        make_video(path, halves(12))
    info = probe_video(path)
    read = list(read_frames(info))
    for index in (7, 0, 11):
        moment, picture = read[index]
        assert np.abs(frame_at(info, moment).astype(int) - picture).max() <= 2
    assert frame_at(info, read[3][0], longest=32).shape == (24, 32, 3)
    keys = list(read_key_frames(info, info.key_times))
    assert [moment for moment, _ in keys] == pytest.approx(info.key_times)
    assert np.abs(keys[0][1].astype(int) - read[0][1]).max() <= 2


def test_key_frames_are_read_without_the_others(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "10", "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in halves(45):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    info = probe_video(path)
    assert info.key_times == pytest.approx([0, 0.4, 0.8, 1.2, 1.6], abs=1e-3)
    wanted = info.key_times[[3, 1]]
    whole = dict(read_frames(info))
    for moment, picture in read_key_frames(info, wanted):
        same = min(whole, key=lambda other: abs(other - moment))
        assert np.abs(picture.astype(int) - whole[same]).mean() < 2
    assert [moment for moment, _ in read_key_frames(info, wanted)] == pytest.approx(wanted, abs=1e-3)


def test_films_are_told_from_photos_by_their_content(tmp_path: Path, make_video: VideoMaker) -> None:
    film, moving, still, text, false_film = (tmp_path / name for name in ("a.jpg", "b.gif", "c.gif", "d.txt", "e.mov"))
    moving_png, moving_webp = tmp_path / "g.png", tmp_path / "h.webp"
    make_video(tmp_path / "a.mp4", halves(3)).rename(film)
    first, second = (Image.fromarray(picture) for picture in halves(2))
    for path in (moving, moving_png, moving_webp):
        first.save(path, save_all=True, append_images=[second], duration=100)
    first.save(still)
    text.write_text("some words\n" * 50)
    false_film.write_text("some words\n" * 50)
    first.save(tmp_path / "f.mp4", format="PNG")
    assert [is_film(path) for path in (film, moving, still, text, tmp_path / "f.mp4", tmp_path / "gone.mp4", tmp_path)] == [
        True, True, False, False, False, False, False,
    ]  # fmt: skip
    assert [is_film(path) for path in (moving_png, moving_webp)] == [True, False]  # FFmpeg reads no moving WebP
    assert [pictures_in(path) for path in (moving_webp, moving, still)] == [2, 1, 1]
    seen = [picture for _, picture in read_frames(probe_video(moving_png))]
    assert np.array_equal(seen, list(halves(2)))
    with pytest.raises(VideoError, match=r"e\.mov is not a video"):
        is_film(false_film)
