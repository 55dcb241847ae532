"""Multi-view video and photo → avatar."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from avatarcli.capture.portrait import Portrait
from avatarcli.config import DistillConfig
from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.gaussians.initialise import start_gaussians
from avatarcli.gaussians.optimise import Schedule, TrainingPicture, new_correctives, optimise
from avatarcli.generation.cover import mouth_opening
from avatarcli.generation.multiview import MultiViewVideo
from avatarcli.generation.samples import sample_scene
from avatarcli.head.track import Track
from avatarcli.progress import Progress
from avatarcli.stages.generate import load_scene
from avatarcli.stages.preprocess import TRACK_FILE

AVATAR_FILE = "avatar.safetensors"
_PHOTO_EVERY = 3  # the face that the user knows must come from the user's pixels
_SPARE = 0.75  # of the Gaussians are there from the start; the others are added where they are missed


def distill_avatar(
    preprocess: Path,
    generated: Path,
    out: Path,
    config: DistillConfig,
    *,
    seed: int,
    device: str,
    progress: Progress,
    provenance: dict[str, str],
) -> None:
    """Write `avatar.safetensors` into the folder `out`; a checkpoint found there is continued."""
    video = MultiViewVideo.load(generated)
    portrait, track = Portrait.load(preprocess), Track.load(preprocess / TRACK_FILE)
    scene = load_scene(preprocess, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    start = start_gaussians(sample_scene(scene, int(config.gaussians * _SPARE), generator), SH_C0)
    avatar = Avatar(
        head=scene.head,
        correctives=new_correctives(len(start.means), config.correctives, generator),
        framing=video.framing,
        provenance=provenance,
        **start._asdict(),
    )
    schedule = Schedule(config.iterations, _PHOTO_EVERY, config.gaussians, seed)
    pictures = _Pictures(_photo_picture(portrait, track, config.photo_size), video)
    with progress.task("distill", config.iterations) as advance:
        avatar = optimise(avatar, pictures, schedule, device=device, folder=out, advance=advance)
    partial = out / (AVATAR_FILE + ".partial")
    avatar.save(partial)
    partial.replace(out / AVATAR_FILE)


def _photo_picture(portrait: Portrait, track: Track, size: int) -> TrainingPicture:
    """The photo as a training picture, at most `size` pixels wide.

    An open mouth does not count: its teeth cannot be matched with the model's, and would be painted on tongue and lips.
    """
    full = portrait.size
    portrait = portrait.resized(min(size, full))
    alpha = portrait.matte * portrait.inside
    mouth = mouth_opening(track.landmarks * (portrait.size / full), portrait.size, portrait.size)
    return TrainingPicture(
        camera=track.camera.resized(portrait.size, portrait.size),
        parameters=track.parameters(),
        moment=-1,
        color=portrait.foreground * alpha[..., None],
        alpha=alpha,
        trust=portrait.inside * ~mouth,
    )


@dataclass(frozen=True)
class _Pictures:
    """The photo, then every frame of the video, read when it is asked for."""

    photo: TrainingPicture
    video: MultiViewVideo

    def __len__(self) -> int:
        return 1 + self.video.plan.views * self.video.plan.frames

    def __getitem__(self, index: int) -> TrainingPicture:
        if index == 0:
            return self.photo
        view, frame = divmod(index - 1, self.video.plan.frames)
        picture = self.video.read_frame(view, frame)
        return TrainingPicture(
            camera=self.video.plan.cameras[view],
            parameters=self.video.plan.parameters[frame : frame + 1],
            moment=frame,
            color=picture[..., :3],
            alpha=picture[..., 3],
            trust=torch.ones_like(picture[..., 3]),
        )
