"""How fast the studio draws: pictures a second with all maps, and memory.

    python scripts/bench_studio.py --assets makehuman --device cuda
    python scripts/bench_studio.py --assets makehuman --sizes 64 128 256 --views 4 --frames 2

Subjects are drawn, assembled and posed before the clock starts; what is timed is `render` with everything that it does once a
subject (textures' small sizes, shadows) included. On a GPU the first subjects compile the kernels and are not counted.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from avatarcli.geometry.cameras import Camera, orbit_cameras
from avatarcli.studio.assemble import assemble
from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.lights import draw_light
from avatarcli.studio.motion import MotionLibrary, draw_motion
from avatarcli.studio.render import render
from avatarcli.studio.scene import Light, PosedMesh, RenderMesh
from avatarcli.studio.subject import draw_subject

Job = tuple[RenderMesh, PosedMesh, Light]


def prepare(assets: StudioAssets, seed: int, frames: int, device: str) -> Job:
    subject = draw_subject(assets, seed)
    mesh, poser = assemble(assets, subject, device)
    motion = draw_motion(np.random.default_rng([seed, 1]), frames, MotionLibrary.load(None))
    return mesh, poser(motion.to(device)), draw_light(np.random.default_rng([seed, 2])).to(device)


def around(views: int, size: int, device: str) -> Camera:
    yaw = torch.linspace(-torch.pi, torch.pi, views + 1)[:-1]
    target = torch.tensor([0.0, -0.06, 0.0])
    return orbit_cameras(yaw, 0.2 * yaw.sin(), distance=1.3, target=target, focal=size * 1.3 / 0.46, size=size).to(
        device
    )


def measure(jobs: list[Job], cameras: Camera, warm_up: int, chunk: int | None) -> tuple[float, float]:
    """Pictures a second, and the most memory taken on the GPU in GiB (0 on a CPU)."""
    cuda = jobs[0][1].vertices.is_cuda
    seconds = []
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    for number, (mesh, posed, light) in enumerate(jobs[:warm_up] + jobs):
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        render(mesh, posed, cameras, light, chunk=chunk)
        if cuda:
            torch.cuda.synchronize()
        if number >= warm_up:
            seconds.append(time.perf_counter() - start)
    pictures = len(cameras) * len(jobs[0][1])
    return pictures / statistics.median(seconds), torch.cuda.max_memory_allocated() / 2**30 if cuda else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--assets", type=Path, required=True, help="the folder of MakeHuman assets")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256])
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--subjects", type=int, default=3)
    parser.add_argument("--chunk", type=int, help="pictures drawn at a time")
    arguments = parser.parse_args()
    assets = StudioAssets.load(arguments.assets)
    jobs = [prepare(assets, seed, arguments.frames, arguments.device) for seed in range(1, arguments.subjects + 1)]
    triangles = statistics.mean(len(mesh.faces) for mesh, _, _ in jobs)
    print(
        f"{arguments.subjects} subjects, {arguments.views} views x {arguments.frames} frames, {triangles:,.0f} triangles"
    )
    print("| size | pictures/s | GPU memory |\n|---|---|---|")
    for size in arguments.sizes:
        cameras = around(arguments.views, size, arguments.device)
        warm_up = len(jobs) if arguments.device.startswith("cuda") else 0
        rate, memory = measure(jobs, cameras, warm_up, arguments.chunk)
        print(f"| {size}² | {rate:,.1f} | {f'{memory:.1f} GiB' if memory else ''} |", flush=True)


if __name__ == "__main__":
    main()
