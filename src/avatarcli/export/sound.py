"""Sound of a driving video: kept beside its clip, and put under what is rendered from it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from avatarcli.export.formats import picture_format
from avatarcli.export.origin import Origin, embed_origin

Samples = NDArray[np.float32]

RATE = 48_000  # samples per second: what video files use, and the only rate of Opus
_BIT_RATE = 160_000  # for stereo, beyond what most people hear


def sound_path(clip: Path) -> Path:
    """Where the sound of a clip lies: `take.npz` has `take.audio.m4a` beside it."""
    return clip.with_name(f"{clip.stem}.audio.m4a")


def has_room(video: Path) -> bool:
    """Whether a video of this name can have sound."""
    codec = picture_format(video).codec
    return codec is not None and codec.sound is not None


def save_sound(video: Path, out: Path, *, start: float, seconds: float) -> None:
    """Write the sound of `video` from `start` (its own time, seconds) for `seconds` as AAC, silence where it has none.

    Raises:
        av.error.FFmpegError: it has no sound, or one that cannot be decoded.
        OSError: `out` cannot be written.
    """
    with av.open(f"file:{out}", "w", format="ipod") as container:
        stream = _sound_stream(container, "aac", layout_of(video))
        for packets in _encoded(stream, _samples(video, start, seconds, stream.layout.name)):
            container.mux(packets)


def add_sound(video: Path, sound: Path, origin: Origin) -> None:
    """Put `sound` under a finished video that has room for it, in place, cut to its length. The picture is not encoded again.

    Raises:
        av.error.FFmpegError: one of them cannot be read.
        OSError: the result cannot be written.
    """
    codec = picture_format(video).codec
    assert codec is not None
    assert codec.sound is not None
    beside = video.with_name(f"sounding-{video.name}")
    with (
        av.open(f"file:{video}") as silent,
        av.open(f"file:{beside}", "w", container_options=dict(codec.container_options)) as container,
    ):
        container.metadata.update(origin.tags())
        source = silent.streams.video[0]
        picture = container.add_stream_from_template(source)
        picture.metadata.update(source.metadata)  # WebM keeps there that it is transparent
        stream = _sound_stream(container, codec.sound, layout_of(sound))
        seconds = float(silent.duration or 0) / av.time_base
        heard = _encoded(stream, _samples(sound, 0.0, seconds, stream.layout.name))
        told = 0.0
        for packet in silent.demux(source):
            if packet.dts is None:
                continue
            # Sound up to the picture's time first, so that the writer has nothing to hold back.
            while told <= float(packet.dts * packet.time_base) and (packets := next(heard, None)) is not None:
                told += _CHUNK / RATE
                container.mux(packets)
            packet.stream = picture
            container.mux(packet)
        for packets in heard:
            container.mux(packets)
    embed_origin(beside, origin)
    os.replace(beside, video)


_CHUNK = 4096  # samples that are encoded at once


def layout_of(path: Path) -> str:
    """ "mono" or "stereo", whichever the sound of a file is kept as: mono made stereo would lose half of its loudness."""
    with av.open(f"file:{path}", metadata_errors="ignore") as container:
        return "mono" if container.streams.audio[0].layout.nb_channels == 1 else "stereo"


def _sound_stream(container: Any, encoder: str, layout: str) -> Any:
    stream = container.add_stream(encoder, rate=RATE)
    stream.layout, stream.bit_rate = layout, _BIT_RATE
    return stream


def _encoded(stream: Any, samples: Iterator[Samples]) -> Iterator[list[Any]]:
    """Packets of a stream of sound: one list for every `_CHUNK` samples, and what the encoder held back."""
    done = 0
    for block in samples:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=stream.layout.name)
        frame.sample_rate, frame.pts = RATE, done
        done += block.shape[1]
        yield stream.encode(frame)
    yield stream.encode(None)


def _samples(path: Path, start: float, seconds: float, layout: str) -> Iterator[Samples]:
    """Blocks [channels, `_CHUNK`] of the sound of a file from `start` on, silence before and after it; the last is shorter."""
    left = round(seconds * RATE)
    channels = 1 if layout == "mono" else 2
    held: Samples = np.zeros((channels, 0), np.float32)
    for block in placed_samples(path, start, layout, RATE):
        held = np.concatenate([held, block], axis=1)
        while held.shape[1] >= _CHUNK and left > 0:
            yield held[:, : min(_CHUNK, left)]
            held, left = held[:, _CHUNK:], left - _CHUNK
        if left <= 0:
            return
    while left > 0:
        block = np.zeros((channels, min(_CHUNK, left)), np.float32)
        used = min(block.shape[1], held.shape[1])
        block[:, :used] = held[:, :used]
        held = held[:, used:]
        yield block
        left -= block.shape[1]


def placed_samples(path: Path, start: float, layout: str, rate: int) -> Iterator[Samples]:
    """Decoded blocks [channels, n] of a file's first sound, `rate` samples per second, "mono" or "stereo".

    The first begins at `start` (the file's own time, seconds): earlier sound is cut off, missing sound is silence.

    Raises:
        av.error.FFmpegError: it cannot be decoded.
    """
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
    skip: int | None = None
    with av.open(f"file:{path}", metadata_errors="ignore") as container:
        stream = container.streams.audio[0]
        for frame in container.decode(stream):
            if skip is None:
                skip = round((start - float((frame.pts or 0) * (frame.time_base or 0))) * rate)
                if skip < 0:
                    yield np.zeros((1 if layout == "mono" else 2, -skip), np.float32)
                    skip = 0
            frame.pts = None  # the resampler then counts on by itself; recordings have small jumps in their times
            for part in resampler.resample(frame):
                block = part.to_ndarray().astype(np.float32, copy=False)
                if skip < block.shape[1]:
                    yield block[:, skip:]
                skip = max(0, skip - block.shape[1])
