"""How long things take: the figures of docs, measured the way a user meets them, through the command line."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatarcli.config import DeviceName, PresetName
from avatarcli.errors import AvatarError
from avatarcli.progress import Progress

# What others say of their own work, in their words where these are no number. Nothing of it was measured here.
PEERS = (
    {"method": "LAM-20K", "avatar": "1.4 s", "machine": "not stated", "render": "562.9 frames/s (A100)",
     "source": "github.com/aigc3d/LAM, front page"},
    {"method": "OMG-Avatar", "avatar": "0.2 s", "machine": "not stated", "render": "not stated",
     "source": "abstract of arXiv 2603.01506"},
    {"method": "CAP4D", "avatar": "views alone: hours", "machine": "all CUDA devices, > 64 GB RAM", "render": "not stated",
     "source": "github.com/felixtaubner/cap4d, front page"},
)  # fmt: skip
_HELP_RUNS = 5  # the fastest counts: the first run also pays for cold file caches


@dataclass(frozen=True)
class _Run:
    """One finished command."""

    seconds: float  # wall clock, interpreter start included
    peak_bytes: int  # resident memory
    output: dict[str, Any]  # its JSON document; empty for commands that print none


def run_bench(
    photo: Path, work: Path, *, presets: list[PresetName], device: DeviceName, progress: Progress
) -> dict[str, Any]:
    """Measure every preset on one photo, in a workspace under `work`. Returns the results as JSON values.

    Raises:
        AvatarError: one of the measured commands failed; the message is its own.
    """
    # Checks the machine, and has gsplat compile its kernels, which only the first start on a machine pays for.
    _avatar("doctor", "--workspace", str(work / "avatars"))
    results: dict[str, Any] = {
        "machine": {"cpu_cores": _cores(), "python": platform.python_version(), "system": platform.platform()},
        "device": device,
        "help_seconds": round(min(_avatar("--help").seconds for _ in range(_HELP_RUNS)), 3),
        "presets": {},
        "as_published": list(PEERS),
    }
    for preset in presets:
        progress.info(f"bench: preset {preset}")
        place = ["--subject", preset, "--workspace", str(work / "avatars"), "--quiet", "--json"]
        create = ["create", str(photo), "--preset", preset, "--device", device, *place]
        first = _avatar(*create)
        second = _avatar(*create)
        orbit = _avatar("render", "--orbit", "360", "--device", device, "-o", str(work / f"{preset}.mp4"), *place)
        results["presets"][preset] = {
            "create_seconds": round(first.seconds, 2),
            "peak_bytes": first.peak_bytes,
            "stages": {stage["stage"]: stage["seconds"] for stage in first.output["subjects"][0]["stages"]},
            "second_create_seconds": round(second.seconds, 2),
            "second_create_cached": all(stage["cached"] for stage in second.output["subjects"][0]["stages"]),
            "render_frames_per_second": round(orbit.output["frames"] / orbit.output["seconds"], 1),
            "render_seconds": round(orbit.seconds, 2),
        }
    return results


def bench_table(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """The results as rows of text, a heading first."""
    stages = ("preprocess", "generate", "distill")
    rows: list[tuple[str, ...]] = [("preset", *stages, "create", "peak memory", "second create", "render 512²")]
    for preset, figures in results["presets"].items():
        rows.append(
            (
                preset,
                *(f"{figures['stages'][stage]:.1f} s" for stage in stages),
                f"{figures['create_seconds']:.1f} s",
                f"{figures['peak_bytes'] / 1e9:.2f} GB",
                f"{figures['second_create_seconds']:.2f} s",
                f"{figures['render_frames_per_second']:.1f} frames/s",
            )
        )
    return rows


def peers_table() -> list[tuple[str, ...]]:
    """What others publish, as rows of text, a heading first."""
    return [
        ("as published by", "one photo to avatar", "on", "render", "source"),
        *(tuple(peer.values()) for peer in PEERS),
    ]


def _avatar(*arguments: str) -> _Run:
    """Run `avatar` in a process of its own, so that start-up counts and memory is its alone."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "avatarcli", *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        raise AvatarError(f"`avatar {' '.join(arguments)}` failed with exit code {process.returncode}")
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return _Run(seconds, usage.ru_maxrss * unit, json.loads(text) if "--json" in arguments else {})


def _cores() -> int:
    """Cores that this process may use, which a container or `taskset` can make fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
