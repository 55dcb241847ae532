"""What several tests need: the shipped head model, a sphere, and a small avatar on the real head."""

from __future__ import annotations

import math
import os
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

# Processes that test side by side share the cores: threads that wait for each other's turn made single tests 20 times
# slower. It must be said before anything imports torch or numba.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    _threads = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    for _name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(_name, str(_threads))

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.gaussians.correctives import new_correctives
from avatarcli.gaussians.initialise import SurfaceSamples, sample_triangles, start_gaussians
from avatarcli.geometry.mesh import vertex_normals
from avatarcli.head.model import HeadModel, PersonalHead, load_head_model
from avatarcli.multiview.framing import Framing

# Where tests are imported one by one, modules that several of them need are found by their folder.
sys.path.insert(0, str(Path(__file__).parent))

AvatarMaker = Callable[..., Avatar]


@pytest.fixture(scope="session")
def model() -> HeadModel:
    return load_head_model()


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory, model: HeadModel) -> Path:
    """A miniature of the assets folder that the studio draws people from."""
    from toy_pack import write_pack

    folder = tmp_path_factory.mktemp("assets")
    write_pack(folder, model)
    return folder


@pytest.fixture(scope="session")
def mean_head(model: HeadModel) -> PersonalHead:
    return PersonalHead.create(model, torch.zeros(model.identity_size))


@pytest.fixture(scope="session")
def sphere() -> tuple[Tensor, Tensor]:
    """Vertices [N, 3] and outward faces [F, 3] of a unit sphere; its triangles lie within 1 % of it."""
    rings, sectors = 24, 48
    polar = torch.linspace(0, math.pi, rings + 1, dtype=torch.float64)[:, None]
    azimuth = (torch.arange(sectors, dtype=torch.float64) / sectors * 2 * math.pi)[None]
    vertices = torch.stack(
        [polar.sin() * azimuth.sin(), polar.cos().expand(-1, sectors), polar.sin() * azimuth.cos()], dim=-1
    ).view(-1, 3)
    index = torch.arange((rings + 1) * sectors).view(rings + 1, sectors)
    a, b = index[:-1], index[:-1].roll(-1, 1)
    c, d = index[1:], index[1:].roll(-1, 1)
    # At the poles one of the two triangles of a cell has no area.
    upper = torch.stack([b, c, d], -1)[:-1].reshape(-1, 3)
    lower = torch.stack([a, c, b], -1)[1:].reshape(-1, 3)
    return vertices, torch.cat([upper, lower])


@pytest.fixture(scope="session")
def make_avatar(mean_head: PersonalHead) -> AvatarMaker:
    """Makes avatars of `count` Gaussians on the mean head; every fourth one is held still, as hair is."""

    def make(count: int = 300, *, seed: int = 0, directions: int = 2, corrective: float = 0.0) -> Avatar:
        generator = torch.Generator().manual_seed(seed)
        head, model = mean_head, mean_head.model
        skin = model.face_part == 0
        corners = head.neutral[model.faces]
        areas = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1) * skin
        triangle, weights = sample_triangles(areas, count, generator)
        chosen = corners[triangle]
        normals = vertex_normals(head.neutral, model.faces)[model.faces[triangle]].mean(1)
        start = start_gaussians(
            SurfaceSamples(
                points=(chosen * weights[..., None]).sum(1),
                normals=normals,
                tangents=chosen[:, 1] - chosen[:, 0],
                spacing=torch.full((count,), math.sqrt(float(areas.sum()) / 2 / count)),
                colors=torch.rand(count, 3, generator=generator),
                opacity=torch.full((count,), 0.9),
                binding=triangle + (torch.arange(count) % 4 == 3) * len(model.faces),
            ),
            SH_C0,
        )
        correctives = new_correctives(count, directions, generator)
        basis = corrective * torch.randn(correctives.basis.shape, generator=generator)
        return Avatar(
            head=head,
            correctives=replace(correctives, basis=basis),
            framing=Framing.of(head.neutral),
            provenance={"photo_sha256": "0" * 64},
            **start._asdict(),
        )

    return make


@pytest.fixture(scope="session")
def portrait() -> NDArray[np.uint8]:
    """A face in 192 × 192 pixels."""
    with Image.open(Path(__file__).parents[1] / "examples" / "astronaut.png") as picture:
        side = min(picture.size)
        return np.asarray(picture.convert("RGB").crop((0, 0, side, side)).resize((192, 192)))


@pytest.fixture(scope="session")
def make_video() -> Callable[..., Path]:
    """Writes H.264 videos of frames [T, H, W, 3]: at `times` (seconds) or 25 a second, turned by `rotation` degrees when
    shown, with a sine of `tone` Hertz as its sound from `tone_start` seconds on."""

    def make(
        path: Path,
        frames: Sequence[NDArray[np.uint8]],
        *,
        times: Sequence[float] | None = None,
        rotation: int = 0,
        tone: float | None = None,
        tone_start: float = 0.0,
    ) -> Path:
        times = [index / 25 for index in range(len(frames))] if times is None else times
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": "12", "preset": "ultrafast", "bf": "0"})
            stream.height, stream.width, stream.pix_fmt = frames[0].shape[0], frames[0].shape[1], "yuv420p"
            stream.codec_context.time_base = Fraction(1, 1000)
            if tone is not None:
                sound = container.add_stream("aac", rate=44100)
                sound.layout = "mono"
                count = round((times[-1] + 0.04 - tone_start) * 44100)
                wave = 0.5 * np.sin(np.arange(count) / 44100 * 2 * np.pi * tone, dtype=np.float64)
                block = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], format="fltp", layout="mono")
                block.sample_rate, block.pts, block.time_base = 44100, round(tone_start * 44100), Fraction(1, 44100)
                container.mux(sound.encode(block))
                container.mux(sound.encode(None))
            for moment, picture in zip(times, frames, strict=True):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = round(moment * 1000), Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        if rotation:
            _turn(path, rotation)
        return path

    return make


def _turn(path: Path, rotation: int) -> None:
    """Write a display matrix (degrees against the clock) into the first track of an MP4."""
    content = path.read_bytes()
    at = content.index(b"tkhd") + 44  # version, times, number, duration, layer and volume come before it
    cosine, sine = round(math.cos(math.radians(rotation))), round(math.sin(math.radians(rotation)))
    matrix = struct.pack(">9i", cosine << 16, -sine << 16, 0, sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content[:at] + matrix + content[at + len(matrix) :])
