"""Render processes: `python -m avatarcli.training.pool.renderer FOLDER`, which `Renderers` starts.

The first process loads the studio's assets and forks the others, which share its memory: it must not touch the GPU itself. Each
renders and encodes people of its own and leaves them in the folder, as files that the training takes away.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from copy import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.checkpoints import load_model
from avatarcli.files import read_json
from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.dataset import Studio, StudioSettings
from avatarcli.studio.motion import MotionLibrary
from avatarcli.training.pool.encoding import Tone, encode

if TYPE_CHECKING:
    from avatarcli.training.agreement import Process
    from avatarcli.training.settings import PoolTable, StudioTable

ORDERS_FILE, CONTROL_FILE, LOG_FILE = "orders.json", "control.json", "log.txt"
STILL, CLIP = "still", "clip"
HELD_OUT_SUFFIX = ".safetensors"

_SHARING = "CUDA_MPS_PIPE_DIRECTORY"
_WAITING = 1500  # files that may lie there before a renderer waits, about 2 MB each: nobody takes them while a model is compiled
_REST = 0.1  # seconds between looks at what is wanted
_LOADING_THREADS = 8
_MEMORY_SHARE = 0.5  # of a GPU, for all of its renderers together: the pool and the training need the rest


@dataclass(frozen=True)
class Orders:
    """What the renderers of one training process make.

    Worker w of process `rank` renders the people first + (n × workers + w) × world + rank, for n = 0, 1, …; before them, for
    `held_out_folder` and if they are not there, those of the people held_out_first + m, m below `held_out`, that are its own
    by the same rule, as pictures. The settings' own views and frames are those of stills; a share `motion` is shown in clips.
    toned: share of the people whose colors are changed; pictures: leave the true views and the warped photo with the latents.
    """

    assets: str
    clips: str | None
    skins: str | None
    autoencoder: str
    settings: StudioSettings
    clip_views: int
    clip_frames: int
    motion: float
    toned: float
    first: int
    held_out: int
    held_out_first: int
    held_out_folder: str
    workers: int
    rank: int
    world: int
    device: str
    pictures: bool = False

    @classmethod
    def of(
        cls,
        studio: StudioTable,
        pool: PoolTable,
        process: Process,
        *,
        autoencoder: Path,
        held_out_folder: Path,
        first: int,
        motion: float,
        pictures: bool = False,
    ) -> Orders:
        """What a training's settings say. first: the first person to be trained on; held-out ones are before it."""
        return cls(
            assets=studio.assets,
            clips=studio.clips,
            skins=studio.skins,
            autoencoder=str(autoencoder),
            settings=StudioSettings(
                pool.views, 1, studio.size, studio.seed, face_views=studio.face_views, photos=studio.photos
            ),
            clip_views=pool.clip_views,
            clip_frames=pool.clip_frames,
            motion=motion,
            toned=pool.toned,
            first=first,
            held_out=pool.held_out,
            held_out_first=pool.first,
            held_out_folder=str(held_out_folder),
            workers=pool.renderers,
            rank=process.rank,
            world=process.world,
            device=process.device.type,
            pictures=pictures,
        )

    def write(self, folder: Path) -> None:
        (folder / ORDERS_FILE).write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> Orders:
        content = json.loads((folder / ORDERS_FILE).read_text())
        return cls(**{**content, "settings": StudioSettings(**content["settings"])})

    def people(self, worker: int, turn: int) -> int:
        """The number of a worker's person of a turn."""
        return self.first + (turn * self.workers + worker) * self.world + self.rank

    def is_clip(self, index: int) -> bool:
        """Evenly spread over each process's people: whether so many more clips are due after this one than before."""
        place = (index - self.first) // self.world
        return int((place + 1) * self.motion) > int(place * self.motion)


def main(folder: Path) -> int:
    """Fork the renderers that `folder`'s orders name, and wait for them or for the end of who started us; the worst exit code."""
    owner = os.getppid()
    orders = Orders.read(folder)
    trial = _try_sharing()
    torch.set_num_threads(max(1, min(_LOADING_THREADS, (os.cpu_count() or 1) // orders.world)))
    assets = StudioAssets.load(orders.assets, extra_skins=None if orders.skins is None else Path(orders.skins))
    library = MotionLibrary.load(None if orders.clips is None else Path(orders.clips))
    if trial is not None and trial.wait():
        _log(folder, 0, "NVIDIA's multi-process service does not work here: renderers take turns on the GPU")
        del os.environ[_SHARING]
    children = set()
    for worker in range(orders.workers):
        child = os.fork()
        if not child:
            os._exit(_work(folder, orders, worker, assets, library))
        children.add(child)
    worst = 0
    while children and os.getppid() == owner:
        child, status = os.waitpid(-1, os.WNOHANG)
        children.discard(child)
        worst = max(worst, abs(os.waitstatus_to_exitcode(status)) if child else 0)
        if not child:
            time.sleep(_REST)
    return worst  # renderers that are left see that this process is gone


def _try_sharing() -> subprocess.Popen[bytes] | None:
    """A process that uses the GPU through the multi-process service, if there is to be one; it fails where that does not work."""
    if _SHARING not in os.environ:
        return None
    return subprocess.Popen(
        ["timeout", "40", sys.executable, "-c", "import torch; torch.ones(1).cuda().item()"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _work(folder: Path, orders: Orders, worker: int, assets: StudioAssets, library: MotionLibrary) -> int:
    """All that one renderer does. Never raises: what goes wrong is written to the log."""
    try:
        torch.set_num_threads(1)
        if orders.device == "cuda":
            torch.cuda.set_per_process_memory_fraction(_MEMORY_SHARE / orders.workers)
        Renderer(folder, orders, worker, assets, library).run()
    except BaseException:
        _log(folder, worker, traceback.format_exc())
        return 1
    return 0


class Renderer:
    """One of several that fill a folder."""

    def __init__(self, folder: Path, orders: Orders, worker: int, assets: StudioAssets, library: MotionLibrary) -> None:
        self._folder, self._orders, self._worker = folder, orders, worker
        self._parent = os.getppid()
        self._studio = Studio(assets, orders.settings, orders.device, library=library)
        self._autoencoder = load_model(SmallVideoAutoencoder, Path(orders.autoencoder)).to(orders.device)
        self._autoencoder.requires_grad_(False)

    def run(self) -> None:
        """Render until the control file says that it is over, or the process that takes the people is gone."""
        self._hold_out()
        failures = turn = 0
        while (duty := self._duty()) is not None:
            if not duty or self._waiting() >= _WAITING:
                time.sleep(_REST)
                continue
            start = time.monotonic()
            index = self._orders.people(self._worker, turn)
            turn += 1
            try:
                self._render(index)
            except Exception:
                # Now and then a person cannot be assembled, or does not fit the memory that is left.
                failures += 1
                _log(self._folder, self._worker, f"person {index}: {traceback.format_exc()}")
                if self._orders.device == "cuda":
                    torch.cuda.empty_cache()
                if failures > 20 and failures > turn / 2:
                    raise
            time.sleep((time.monotonic() - start) * (1 / duty - 1))

    def _hold_out(self) -> None:
        orders = self._orders
        for number in range(orders.held_out):
            path = Path(orders.held_out_folder) / f"{number:04d}{HELD_OUT_SUFFIX}"
            if (
                number % (orders.workers * orders.world) == self._worker * orders.world + orders.rank
                and not path.exists()
            ):
                self._studio.sample(orders.held_out_first + number).save(path)

    def _render(self, index: int) -> None:
        orders = self._orders
        studio, kind = self._studio, STILL
        if orders.is_clip(index):
            studio, kind = copy(studio), CLIP  # all that is costly to make is shared
            studio.settings = replace(orders.settings, views=orders.clip_views, frames=orders.clip_frames)
        sample = studio.sample(index)
        rng = np.random.default_rng(sample.number)
        if rng.random() < orders.toned:
            sample = Tone.draw(rng).recolored(sample)
        for photo, encoded in enumerate(encode(sample, self._autoencoder)):
            tensors = encoded.tensors()
            if orders.pictures:
                tensors |= {"video": sample.video, "hint": sample.hint[photo]}
            # Hidden until it is whole.
            name = f"{kind}_{index:012d}_{photo}.safetensors"
            partial = self._folder / f".{name}"
            save_file({key: value.cpu().contiguous() for key, value in tensors.items()}, partial)
            partial.rename(self._folder / name)

    def _duty(self) -> float | None:
        """The share of the time to work, or None when it is over."""
        control = read_json(self._folder / CONTROL_FILE)
        if control is None or os.getppid() != self._parent:
            return None
        return float(control["duty"])

    def _waiting(self) -> int:
        return sum(1 for _ in self._folder.glob("[!.]*.safetensors"))


def _log(folder: Path, worker: int, text: str) -> None:
    with (folder / LOG_FILE).open("a") as stream:
        stream.write(f"renderer {worker}: {text}\n")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
