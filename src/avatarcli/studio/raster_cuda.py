"""The z-buffer of `raster.nearest` on a GPU: kernels of `raster.cu`, compiled when a machine first needs them.

Its keys are bit for bit those of `raster_torch` (uncompiled), which draws wherever there is no CUDA compiler. The library lies
where torch keeps its compiled extensions: in $TORCH_EXTENSIONS_DIR, else ~/.cache/torch_extensions.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from avatarcli.studio.raster_torch import EDGE, EMPTY, NEAR, TILES, CutOut

Kind = Literal["cuda", "cpp"]

_SOURCE = Path(__file__).with_name("raster.cu")
# -fmad=false, -ffp-contract=off: products and sums are rounded one by one, as torch does it.
_FLAGS: dict[Kind, tuple[str, ...]] = {
    "cuda": ("-O3", "-fmad=false", "-std=c++17", "-shared", "-Xcompiler", "-fPIC"),
    "cpp": ("-O2", "-ffp-contract=off", "-std=c++17", "-x", "c++", "-shared", "-fPIC"),
}
_MOST_PAIRS = (1 << 31) - 1  # pictures times triangles in one go: the kernels count them in 32 bits
# Candidates (samples of cut-out triangles) held at a time, 40 bytes each and what `keep` makes of them; and how many there is
# always room for.
_MOST, _LEAST = 1 << 23, 1 << 14
_COUNTERS = 8  # int32 at the front of the scratch memory: four counters of 8 bytes
# Candidates that a picture of a size had, at most, so far: saves drawing them twice.
_expected: dict[tuple[int, int], int] = {}

_pointer, _i64, _int, _float = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_float


class _Job(ctypes.Structure):
    """`Job` of the source."""

    _fields_ = (
        *((name, _pointer) for name in ("screen", "faces", "cull", "bias", "cut", "keys", "counters", "list")),
        *((name, _i64) for name in ("points", "first", "triangles", "pairs")),
        *((name, _int) for name in ("cull_all", "wanted", "size_h", "size_w", "height", "width")),
        *((name, _float) for name in ("edge", "near_half")),
        ("capacity", _i64),
        *((name, _pointer) for name in ("sample", "key", "face", "weights", "area")),
    )


class CompilerError(RuntimeError):
    """The kernels cannot be compiled here."""


def usable(screen: Tensor) -> bool:
    """Whether `nearest` draws these points: they lie on a GPU for which the kernels are, or can be, compiled."""
    return screen.is_cuda and screen.dtype == torch.float32 and _compiled()


@functools.cache
def _compiled() -> bool:
    try:
        load_library("cuda")
    except (CompilerError, OSError) as error:
        logging.getLogger(__name__).warning(
            "the studio draws slowly, without its CUDA kernels (%s): put nvcc of CUDA %s on PATH",
            error,
            torch.version.cuda,
        )
        return False
    return True


def _nvcc() -> str:
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    places = [str(Path(home) / "bin") for home in homes if home]
    found = shutil.which("nvcc") or shutil.which("nvcc", path=os.pathsep.join(places))
    if not found:
        raise CompilerError("no nvcc")
    return found


def _command(kind: Kind) -> list[str]:
    if kind == "cpp":
        return ["g++", *_FLAGS[kind]]
    major, minor = torch.cuda.get_device_capability()
    return [_nvcc(), f"-arch=sm_{major}{minor}", *_FLAGS[kind]]


def _build(kind: Kind) -> Path:
    """The shared library, compiled unless it lies there from before."""
    root = os.environ.get("TORCH_EXTENSIONS_DIR") or Path.home() / ".cache" / "torch_extensions"
    folder = Path(root) / "avatarcli"
    command = _command(kind)
    digest = hashlib.sha256(_SOURCE.read_bytes() + " ".join(command).encode()).hexdigest()[:16]
    path = folder / f"raster_{kind}_{digest}.so"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    # Processes that start together compile it each; the last one's replaces the others', which are the same.
    with tempfile.TemporaryDirectory(dir=folder) as work:
        made = Path(work) / path.name
        try:
            done = subprocess.run(
                [*command, "-o", str(made), str(_SOURCE)], capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise CompilerError(f"{command[0]}: {error.strerror}") from None
        if done.returncode:
            reason = (done.stderr or done.stdout).strip().splitlines()
            raise CompilerError(f"{command[0]}: {reason[0] if reason else f'exit {done.returncode}'}")
        made.replace(path)
    return path


@functools.cache
def load_library(kind: Kind) -> ctypes.CDLL:
    """The kernels ("cuda"), or the same source as plain C++ ("cpp": how tests run it without a GPU).

    Raises:
        CompilerError: there is no compiler, or it failed.
        OSError: the library cannot be written or opened.
    """
    library = ctypes.CDLL(str(_build(kind)))
    library.raster_job_size.argtypes, library.raster_job_size.restype = [], _int
    library.raster_error.argtypes, library.raster_error.restype = [_int], ctypes.c_char_p
    library.raster_fill.argtypes = [_int, _pointer, _pointer, _i64, _i64]
    library.raster_draw.argtypes = [_int, _pointer, ctypes.POINTER(_Job)]
    library.raster_commit.argtypes = [_int, _pointer, _pointer, _pointer, _pointer, _pointer, _i64]
    if library.raster_job_size() != ctypes.sizeof(_Job):
        raise CompilerError(f"{_SOURCE.name} and its caller disagree")
    return library


def _runner(device: torch.device) -> Callable[..., None]:
    """Calls of the library on a device's current stream."""
    library = load_library("cuda" if device.type == "cuda" else "cpp")
    number, stream = 0, 0
    if device.type == "cuda":
        number = torch.cuda.current_device() if device.index is None else device.index
        stream = torch.cuda.current_stream(number).cuda_stream

    def run(name: str, *arguments: object) -> None:
        code = getattr(library, name)(number, stream, *arguments)
        if code:
            raise RuntimeError(f"{name}: {library.raster_error(code).decode()} ({code})")

    return run


@torch.no_grad()
def nearest(
    screen: Tensor,
    faces: Tensor,
    size: tuple[int, int],
    *,
    cull_backfaces: bool | Tensor = False,
    bias: Tensor | None = None,
    cut_out: CutOut | None = None,
) -> Tensor:
    """As `raster.nearest`. On a CPU the same source as plain C++ (tests).

    Raises:
        ValueError: cull_backfaces, bias or the cut-outs are not of these triangles.
    """
    if screen.is_cuda and screen.device.index != torch.cuda.current_device():
        with torch.cuda.device(screen.device):
            return _nearest(screen, faces, size, cull_backfaces, bias, cut_out)
    return _nearest(screen, faces, size, cull_backfaces, bias, cut_out)


def _nearest(
    screen: Tensor,
    faces: Tensor,
    size: tuple[int, int],
    cull_backfaces: bool | Tensor,
    bias: Tensor | None,
    cut_out: CutOut | None,
) -> Tensor:
    device = screen.device
    run = _runner(device)
    # As in `raster_torch`, tiles are never larger than the buffer.
    height, width = max(size[0], TILES[-1]), max(size[1], TILES[-1])
    pictures, triangles = len(screen), len(faces)
    keys = torch.empty(pictures, height, width, dtype=torch.int64, device=device)
    run("raster_fill", keys.data_ptr(), keys.numel(), EMPTY)
    if not keys.numel() or not triangles or not screen.shape[-1]:
        return keys[:, : size[0], : size[1]]
    # All of these must live until the kernels have been started; after that the allocator's order on the stream keeps them.
    screen = screen.contiguous()
    faces = _ready(faces, torch.int64, device)
    cull = _ready(cull_backfaces, torch.bool, device) if isinstance(cull_backfaces, Tensor) else None
    bias = None if bias is None else _ready(bias, torch.float32, device)
    cut = None if cut_out is None else _ready(cut_out.faces, torch.bool, device)
    for values in (cull, bias, cut):
        if values is not None and values.shape != (triangles,):
            raise ValueError(f"{tuple(values.shape)} values for {triangles} triangles")
    group = max(1, min(pictures, _MOST_PAIRS // triangles))
    scratch = torch.empty(_COUNTERS + group * triangles, dtype=torch.int32, device=device)
    job = _Job(
        screen=screen.data_ptr(),
        faces=faces.data_ptr(),
        cull=None if cull is None else cull.data_ptr(),
        bias=None if bias is None else bias.data_ptr(),
        cut=None if cut is None else cut.data_ptr(),
        keys=keys.data_ptr(),
        counters=scratch.data_ptr(),
        list=scratch[_COUNTERS:].data_ptr(),
        points=screen.shape[-1],
        triangles=triangles,
        cull_all=0 if cull is not None else int(bool(cull_backfaces)),
        size_h=size[0],
        size_w=size[1],
        height=height,
        width=width,
        edge=EDGE,
        near_half=0.5 * NEAR,
    )
    for first in range(0, pictures, group):
        job.first, job.pairs = first, min(group, pictures - first) * triangles
        run("raster_draw", ctypes.byref(job))
    if cut_out is not None:
        _draw_cut_outs(run, job, keys, scratch, cut_out.keep, group)
    return keys[:, : size[0], : size[1]]


def _draw_cut_outs(
    run: Callable[..., None],
    job: _Job,
    keys: Tensor,
    scratch: Tensor,
    keep: Callable[[Tensor, Tensor, Tensor], Tensor],
    group: int,
) -> None:
    """Works the triangles with holes into the keys [B, H, W] of the solid ones: lists the samples where they are in front, asks
    `keep`, and draws what it keeps."""
    device, triangles, pictures = keys.device, job.triangles, len(keys)
    size = job.size_h, job.size_w
    counters = scratch[:_COUNTERS].view(torch.int64)
    job.wanted = 1
    first = 0
    while first < pictures:
        expected = _expected.setdefault(size, 2 * size[0] * size[1])
        some = max(1, min(pictures - first, group, _MOST // expected))
        room = max(some * expected, _LEAST)
        while True:
            room = -(-room // 64) * 64  # compiled code wants its inputs aligned
            sample, key, face = torch.empty(3, room, dtype=torch.int64, device=device).unbind(0)
            weights = torch.empty(room, 3, device=device)
            area = torch.empty(room, device=device)
            job.first, job.pairs, job.capacity = first, some * triangles, room
            job.sample, job.key, job.face = sample.data_ptr(), key.data_ptr(), face.data_ptr()
            job.weights, job.area = weights.data_ptr(), area.data_ptr()
            run("raster_draw", ctypes.byref(job))
            found = int(counters[2])  # the one wait for the device
            if found <= room:
                break
            _expected[size] = max(_expected[size], int(1.25 * found / some) + 1)
            if found > _MOST and some > 1:
                some = max(1, int(some * _MOST / found))
            room = max(some * _expected[size], _LEAST) if some > 1 else found
        if found:
            kept = keep(face[:found], weights[:found], area[:found]).contiguous()
            run("raster_commit", keys.data_ptr(), sample.data_ptr(), key.data_ptr(), kept.data_ptr(), found)
        first += some


def _ready(values: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    return values.to(device, dtype).contiguous()
