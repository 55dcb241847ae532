"""Sound files, and lips measured on the head model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from avatarcli.head.model import PersonalHead

Wave = NDArray[np.floating]
LipGap = Callable[[Wave], Wave]


@pytest.fixture(scope="session")
def lip_gap(mean_head: PersonalHead) -> LipGap:
    """Millimetres between the middles of the inner lips [T], for actions [T, 52]; 2 at rest, where the lips touch."""

    def measure(expression: Wave) -> Wave:
        still = torch.zeros(len(expression), 3)
        vertices = mean_head.vertices(torch.from_numpy(expression).float(), torch.zeros(len(expression), 2, 2), still)
        points = mean_head.model.landmarks(vertices) * 1000
        return np.asarray(points[:, 13, 1] - points[:, 14, 1])

    return measure


@pytest.fixture(scope="session")
def write_sound() -> Callable[..., Path]:
    """Writes channels [C, N] to a file, encoded as its suffix says."""
    encoders = {".wav": "pcm_s16le", ".flac": "flac", ".m4a": "aac", ".mp3": "libmp3lame", ".ogg": "libopus"}

    def write(path: Path, channels: Wave, rate: int) -> Path:
        with av.open(str(path), "w") as container:
            stream = container.add_stream(encoders[path.suffix], rate=rate)
            stream.layout = "mono" if len(channels) == 1 else "stereo"
            samples = np.ascontiguousarray(channels, np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=stream.layout.name)
            frame.sample_rate = rate
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write
