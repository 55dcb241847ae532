"""Portrait → multi-view video."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from avatarcli.capture.portrait import Portrait
from avatarcli.config import GenerateConfig
from avatarcli.generation.multiview import MultiViewVideo
from avatarcli.generation.plan import make_plan
from avatarcli.generation.scene import Scene, build_scene
from avatarcli.geometry.framing import Framing
from avatarcli.head.model import load_head_model
from avatarcli.head.track import Track
from avatarcli.progress import Progress
from avatarcli.stages.preprocess import TRACK_FILE


def load_scene(preprocess: Path, *, seed: int) -> Scene:
    """The reprojected person of a preprocess folder."""
    portrait, track = Portrait.load(preprocess), Track.load(preprocess / TRACK_FILE)
    return build_scene(load_head_model(), track, portrait.foreground, portrait.matte, portrait.inside, seed=seed)


def generate_views(
    preprocess: Path, out: Path, config: GenerateConfig, *, seed: int, device: str, progress: Progress
) -> None:
    """Write the multi-view video of a preprocess folder into the folder `out`. Frames already there are kept.

    The reproject generator runs on the CPU whatever the device: a frame takes it some tens of milliseconds.
    """
    scene = load_scene(preprocess, seed=seed)
    framing = Framing.of(torch.cat([scene.head.neutral, scene.shell.vertices]))
    plan = make_plan(framing, config.views, config.frames, config.size)
    video = MultiViewVideo(out, plan, framing, generator="reproject")
    with progress.task("generate", plan.views * plan.frames) as advance:

        def make(place: tuple[int, int]) -> None:
            view, frame = place
            if not video.frame_path(view, frame).exists():
                picture = scene.render(plan.parameters[frame : frame + 1], plan.cameras[view])
                video.write_frame(view, frame, picture)

        places = [(view, frame) for view in range(plan.views) for frame in range(plan.frames)]
        # Drawing and PNG compression release Python's lock, so frames are made side by side, each by a single thread.
        threads = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                for _ in pool.map(make, places):
                    advance(1)
        finally:
            torch.set_num_threads(threads)
    video.write_transforms()
