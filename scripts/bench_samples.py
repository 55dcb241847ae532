"""How fast the studio makes training samples: samples a second of one or more processes that share a device, and where time goes.

    python scripts/bench_samples.py --assets makehuman --device cuda --processes 1 12
    python scripts/bench_samples.py --assets makehuman --size 64 --views 2 --seconds 10 --skin-height 320

For several processes on one GPU start NVIDIA's MPS first (`nvidia-cuda-mps-control -d`), or they take turns. `ms a sample`
is wall time. The stages are timed with the device awaited after each, so their sum is more than that; `device` is how long the
GPU worked for a sample and `launches` how many kernels it was sent, both from torch's profiler.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch

from avatarcli.studio import dataset
from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.dataset import Studio, StudioSettings

_WARM_UP = 3  # samples before the clock starts
_PROFILED = 3
# Parts of `Studio.sample`, functions and methods that do not call each other.
_STAGES: tuple[tuple[object, str], ...] = (
    (dataset, "draw_subject"),
    (dataset, "assemble"),
    (dataset, "disturb_clip"),
    (dataset, "render"),
    (dataset, "make_reference"),
    (Studio, "_framing"),
    (Studio, "_misfit"),
    (Studio, "_cameras"),
    (Studio, "_maps"),
    (dataset, "condition_photo"),
)


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


@contextmanager
def timed_stages(device: str) -> Iterator[dict[str, float]]:
    """Seconds in each of _STAGES while the block runs."""
    seconds: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            wait(device)
            start = time.perf_counter()
            result = function(*args, **kwargs)
            wait(device)
            seconds[name] += time.perf_counter() - start
            return result

        return call

    originals = [(owner, name, getattr(owner, name)) for owner, name in _STAGES]
    for owner, name, function in originals:
        setattr(owner, name, timed(name.strip("_"), function))
    try:
        yield seconds
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)


def load(arguments: argparse.Namespace) -> Studio:
    """A studio whose first samples are made: kernels are compiled, memory is taken."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    assets = StudioAssets.load(arguments.assets, skin_height=arguments.skin_height)
    loaded = time.perf_counter()
    settings = StudioSettings(arguments.views, arguments.frames, arguments.size, face_views=arguments.face_views)
    studio = Studio(assets, settings, arguments.device)
    studio.sample(0)
    wait(arguments.device)
    first = time.perf_counter()
    print(f"assets {loaded - start:.1f} s, first sample {first - loaded:.1f} s", flush=True)
    for index in range(1, _WARM_UP):
        studio.sample(index)
    wait(arguments.device)
    return studio


@torch.inference_mode()
def report_stages(arguments: argparse.Namespace) -> None:
    """Where the time of a sample goes, as a table."""
    studio = load(arguments)
    samples, start = 0, time.perf_counter()
    while time.perf_counter() - start < arguments.seconds:
        studio.sample(_WARM_UP + samples)
        samples += 1
    wait(arguments.device)
    whole = (time.perf_counter() - start) / samples
    with timed_stages(arguments.device) as seconds:
        for index in range(samples):
            studio.sample(_WARM_UP + index)
    print(f"{whole * 1e3:.1f} ms a sample ({samples} samples)")
    print("| stage | ms |\n|---|---|")
    for name, value in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"| {name} | {value / samples * 1e3:.1f} |")
    if not arguments.device.startswith("cuda"):
        return
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for index in range(_PROFILED):
            studio.sample(_WARM_UP + index)
        wait(arguments.device)
    kernels = [event for event in profile.events() if event.device_type.name == "CUDA"]
    busy = sum(event.time_range.elapsed_us() for event in kernels) / _PROFILED / 1e3
    print(f"device {busy:.1f} ms, {len(kernels) / _PROFILED:,.0f} launches a sample", flush=True)


@torch.inference_mode()
def work(arguments: argparse.Namespace, place: int, ready: Barrier, counts: Any) -> None:
    """One of several processes: makes samples for the time given."""
    studio = load(arguments)
    ready.wait()
    end, index = time.perf_counter() + arguments.seconds, _WARM_UP + place
    while time.perf_counter() < end:
        studio.sample(index)
        wait(arguments.device)
        counts[place] += 1
        index += len(counts)


def rate(arguments: argparse.Namespace, processes: int) -> float:
    """Samples a second of so many processes together."""
    context = multiprocessing.get_context("spawn")
    ready, counts = context.Barrier(processes), context.Array("l", processes, lock=False)
    workers = [
        context.Process(target=work, args=(arguments, place, ready, counts), daemon=True) for place in range(processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        if worker.exitcode:
            # The others would wait for it for ever.
            ready.abort()
            raise SystemExit(f"a process ended with {worker.exitcode}")
    return float(sum(counts) / arguments.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--assets", type=Path, required=True, help="the folder of MakeHuman assets")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, nargs="*", default=[], help="numbers of processes to try")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each measurement takes")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--face-views", type=int, default=2)
    parser.add_argument("--frames", type=int, default=1)
    parser.add_argument("--skin-height", type=int, help="rows of the skins' textures (default: as stored)")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    report_stages(arguments)
    if arguments.processes:
        print("| processes | samples/s |\n|---|---|")
    for processes in arguments.processes:
        print(f"| {processes} | {rate(arguments, processes):.1f} |", flush=True)


if __name__ == "__main__":
    main()
