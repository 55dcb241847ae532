"""Writers: decode what was written and compare; a failure leaves nothing behind; every output says what it is."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from avatarcli.errors import ExportError, UsageError
from avatarcli.export.images import Frame
from avatarcli.export.origin import Origin
from avatarcli.export.video import check_output, write_frames, written_size
from origin_reader import read_origin

ORIGIN = Origin("An orbit of <somebody> & more", "0.1.0", "compositeSynthetic", "ab" * 32)
COUNT = 6


def make_frames(channels: int = 3, height: int = 64, width: int = 96, count: int = COUNT) -> list[Frame]:
    """A smooth pattern that moves; with alpha, an opaque disc in it."""
    y, x = np.mgrid[:height, :width]
    frames = []
    for index in range(count):
        waves = [np.sin((x + 3 * index) / 17 + k) * np.cos(y / 13 - k) for k in range(3)]
        picture = np.rint(127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)
        if channels == 4:
            disc = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2
            picture = np.dstack([picture, np.where(disc, 255, 0).astype(np.uint8)])
        frames.append(picture)
    return frames


def psnr(left: Frame, right: Frame) -> float:
    return float(10 * np.log10(255**2 / np.square(left.astype(float) - right).mean()))


def decode(path: Path, pixels: str = "rgb24", decoder: str | None = None) -> tuple[list[Frame], float]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if decoder is None:
            pictures = list(container.decode(stream))
        else:  # ffmpeg's own VP9 decoder drops the alpha plane, libvpx keeps it
            context = av.CodecContext.create(decoder, "r")
            pictures = [picture for packet in container.demux(stream) for picture in context.decode(packet)]
        return [picture.to_ndarray(format=pixels) for picture in pictures], float(stream.average_rate)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mov"])
def test_video_comes_back(tmp_path: Path, suffix: str) -> None:
    frames, path = make_frames(), tmp_path / "new" / f"out{suffix}"
    write_frames(path, iter(frames), 25, origin=ORIGIN)
    decoded, fps = decode(path)
    assert (len(decoded), fps) == (COUNT, 25)
    assert min(psnr(a, b) for a, b in zip(decoded, frames, strict=True)) > 30
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_mp4_starts_with_its_index_and_pads_odd_sizes(tmp_path: Path) -> None:
    frames = make_frames(height=63, width=95)
    write_frames(tmp_path / "out.MP4", frames, 30000 / 1001, origin=ORIGIN)
    data = (tmp_path / "out.MP4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    decoded, fps = decode(tmp_path / "out.MP4")
    assert decoded[0].shape == (64, 96, 3)
    assert fps == pytest.approx(29.97, abs=0.001)
    assert psnr(decoded[2][:63, :95], frames[2]) > 30
    assert written_size(tmp_path / "out.MP4", (95, 63)) == (96, 64)
    assert written_size(tmp_path / "out.webm", (95, 63)) == (95, 63)


def test_a_colon_in_the_name_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("take 1: 50% done.mp4", "take 1: 50% done.webm"):
        write_frames(name, make_frames(), 25, origin=ORIGIN)
        assert read_origin(Path(name)) == ORIGIN


def test_webm_keeps_transparency(tmp_path: Path) -> None:
    frames = make_frames(4)
    write_frames(tmp_path / "out.webm", frames, 30, origin=ORIGIN)
    decoded, _ = decode(tmp_path / "out.webm", "rgba", "libvpx-vp9")
    assert len(decoded) == COUNT
    alpha, wanted = decoded[3][..., 3].astype(int), frames[3][..., 3].astype(int)
    assert np.abs(alpha - wanted).mean() < 3
    assert psnr(decoded[3][20:44, 36:60, :3], frames[3][20:44, 36:60, :3]) > 28


def test_mov_keeps_transparency_for_editors(tmp_path: Path) -> None:
    frames = make_frames(4)
    write_frames(tmp_path / "out.mov", frames, 30, origin=ORIGIN)
    with av.open(str(tmp_path / "out.mov")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.codec_tag) == ("prores", "ap4h")  # ProRes 4444
    decoded, _ = decode(tmp_path / "out.mov", "rgba")
    assert len(decoded) == COUNT
    np.testing.assert_array_equal(decoded[3][..., 3], frames[3][..., 3])
    assert psnr(decoded[3][20:44, 36:60, :3], frames[3][20:44, 36:60, :3]) > 35


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_animation_comes_back(tmp_path: Path, suffix: str, channels: int) -> None:
    frames = make_frames(channels, height=61, width=95)
    write_frames(tmp_path / f"out{suffix}", frames, 25, origin=ORIGIN)
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (COUNT, (95, 61), 0)
        for index, frame in enumerate(frames):
            image.seek(index)
            picture = np.asarray(image.convert("RGBA"))
            seen = frame[..., 3] > 0 if channels == 4 else np.ones(frame.shape[:2], bool)
            assert psnr(picture[seen, :3], frame[seen, :3]) > 25
            assert (picture[..., 3] > 127)[seen].all()
            assert channels == 3 or (picture[..., 3] > 127)[~seen].mean() < 0.01
        if suffix == ".gif":
            assert image.info["duration"] == 40


@pytest.mark.parametrize("channels", [3, 4])
def test_png_is_exact(tmp_path: Path, channels: int) -> None:
    frames = make_frames(channels)
    write_frames(tmp_path / "one.png", frames[:1], 25, origin=ORIGIN)
    write_frames(tmp_path / "folder", frames, 25, origin=ORIGIN)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "one.png")), frames[0])
    files = sorted((tmp_path / "folder").iterdir())
    assert [file.name for file in files] == [f"frame_{index:05d}.png" for index in range(COUNT)]
    for file, frame in zip(files, frames, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(file)), frame)


def test_jpeg_is_nearly_exact_in_every_color(tmp_path: Path) -> None:
    checks = np.zeros((32, 32, 3), np.uint8)
    checks[::2, ::2] = checks[1::2, 1::2] = (255, 0, 0)  # fine color, which most JPEGs blur
    checks[1::2, ::2] = checks[::2, 1::2] = (0, 0, 255)
    write_frames(tmp_path / "one.jpg", [checks], 25, origin=ORIGIN)
    with Image.open(tmp_path / "one.jpg") as image:
        assert image.format == "JPEG"
        assert psnr(np.asarray(image), checks) > 30


def test_png_folder_spares_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_frames(tmp_path / "out", make_frames(count=2), 25, origin=ORIGIN)
    with pytest.raises(ExportError, match="not empty"):
        write_frames(tmp_path / "out", make_frames(), 25, origin=ORIGIN)
    assert len(list((tmp_path / "out").iterdir())) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "name", ["out.mp4", "out.webm", "out.mov", "out.gif", "out.webp", "out.png", "out.jpg", "still.webp", "still.gif"]
)
@pytest.mark.parametrize("origin", [ORIGIN, Origin("Orbit", "1.2.3.dev4", "trainedAlgorithmicMedia", None)])
def test_marks_of_origin_are_read_back(tmp_path: Path, name: str, origin: Origin) -> None:
    count = 1 if name in ("out.png", "out.jpg") or name.startswith("still") else COUNT
    write_frames(tmp_path / name, make_frames(count=count), 25, origin=origin)
    assert read_origin(tmp_path / name) == origin


def test_marks_are_where_other_programs_look(tmp_path: Path) -> None:
    for name in ("out.png", "out.webp", "out.mp4", "out.webm", "out.gif"):
        write_frames(tmp_path / name, make_frames(count=1), 25, origin=ORIGIN)
    uri = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"
    with Image.open(tmp_path / "out.png") as image:
        assert uri in image.text["XML:com.adobe.xmp"]
        assert image.text["Software"] == "avatarcli 0.1.0"
    with Image.open(tmp_path / "out.webp") as image:
        assert uri.encode() in image.info["xmp"]
    with Image.open(tmp_path / "out.gif") as image:
        image.load()
        assert uri.encode() in (tmp_path / "out.gif").read_bytes()
    for name in ("out.mp4", "out.webm"):
        with av.open(str(tmp_path / name)) as container:
            tags = {key.lower(): value for key, value in container.metadata.items()}
        assert uri in tags["comment"]
        assert tags["description"].startswith("Synthetic media")


def test_files_of_others_bear_no_mark(tmp_path: Path) -> None:
    picture = Image.fromarray(make_frames()[0])
    for name in ("other.png", "other.jpg", "other.webp", "other.gif"):
        picture.save(tmp_path / name)
        assert read_origin(tmp_path / name) is None
    for name in ("other.mp4", "cut.mp4"):
        (tmp_path / name).write_bytes(b"\0\0\0\x20ftyp" + bytes(24 if name == "other.mp4" else 3))
        assert read_origin(tmp_path / name) is None


ALL = ["out.mp4", "out.webm", "out.mov", "out.gif", "out.webp", "out", "out.png", "out.jpg"]


def test_links_stay_and_what_they_point_to_is_written(tmp_path: Path) -> None:
    """As any program's output redirected there: people link results to a larger disk."""
    (tmp_path / "disk").mkdir()
    for link, target in (("still.png", "there.png"), ("frames", "there")):
        (tmp_path / link).symlink_to(tmp_path / "disk" / target)
        for _ in range(2 if target.endswith(".png") else 1):
            write_frames(tmp_path / link, make_frames(count=1), 25, origin=ORIGIN)
        assert (tmp_path / link).is_symlink()
    (tmp_path / "disk" / "empty").mkdir()
    (tmp_path / "more").symlink_to(tmp_path / "disk" / "empty")
    write_frames(tmp_path / "more", make_frames(count=2), 25, origin=ORIGIN)
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["empty", "there", "there.png"]
    assert len(list((tmp_path / "disk" / "empty").iterdir())) == 2


@pytest.mark.parametrize("name", ALL)
def test_failing_frames_leave_the_old_output(tmp_path: Path, name: str) -> None:
    def frames() -> Iterator[Frame]:
        yield make_frames()[0]
        raise RuntimeError("the renderer broke")

    if name != "out":
        write_frames(tmp_path / name, make_frames(count=1), 25, origin=ORIGIN)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*")}
    with pytest.raises(RuntimeError, match="the renderer broke"):
        write_frames(tmp_path / name, frames(), 25, origin=ORIGIN)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("name", ALL)
def test_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (COUNT, 96, 96, 3), dtype=np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # writing further fails as on a full disk
    try:
        with pytest.raises(ExportError, match="the disk is full") as caught:
            write_frames(tmp_path / name, noise[:1] if name in ("out.png", "out.jpg") else noise, 25, origin=ORIGIN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ALL)
def test_unwritable_place(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ExportError, match="cannot write"):
        write_frames(tmp_path / "file" / name, make_frames(count=1), 25, origin=ORIGIN)


def test_unusable_requests(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.avi.*\.mp4, \.webm, \.mov, \.webp, \.gif, \.png or \.jpg"):
        write_frames(tmp_path / "out.avi", make_frames(), 25, origin=ORIGIN)
    with pytest.raises(UsageError, match="no transparency"):
        write_frames(tmp_path / "out.mp4", make_frames(4), 25, origin=ORIGIN)
    with pytest.raises(UsageError, match="no transparency"):
        write_frames(tmp_path / "out.jpg", make_frames(4, count=1), 25, origin=ORIGIN)
    with pytest.raises(UsageError, match="no frames"):
        write_frames(tmp_path / "out.mp4", [], 25, origin=ORIGIN)
    with pytest.raises(UsageError, match="one frame"):
        write_frames(tmp_path / "out.png", make_frames(), 25, origin=ORIGIN)
    with pytest.raises(UsageError, match="at most 50"):
        check_output(tmp_path / "out.gif", transparent=False, fps=60)
    with pytest.raises(UsageError, match="frames per second"):
        check_output(tmp_path / "out.mp4", transparent=False, fps=0)
    with pytest.raises(ValueError, match="change shape"):
        write_frames(tmp_path / "out.mp4", [make_frames()[0], make_frames(height=32)[0]], 25, origin=ORIGIN)
    assert list(tmp_path.iterdir()) == []
