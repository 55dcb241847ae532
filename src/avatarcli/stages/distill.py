"""Multi-view video and photo → avatar."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from avatarcli.capture.portrait import Portrait
from avatarcli.config import DistillConfig
from avatarcli.diffusion.conditioning import pose_vertices
from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.gaussians.initialise import SurfaceSamples, start_gaussians
from avatarcli.gaussians.optimise import REACH_OF_SKIN, Schedule, TrainingPicture, new_correctives, optimise
from avatarcli.generation.cover import mouth_opening
from avatarcli.generation.fill import blur
from avatarcli.generation.multiview import REPROJECT, MultiViewVideo
from avatarcli.generation.samples import sample_scene
from avatarcli.generation.scene import look_at_photo
from avatarcli.generation.shell import CHIN
from avatarcli.generation.skin_texture import Atlas, bake_skin
from avatarcli.generation.view_samples import sample_views
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.model import PersonalHead, load_head_model
from avatarcli.head.track import HeadParameters, Track
from avatarcli.progress import Progress
from avatarcli.stages.generate import load_scene
from avatarcli.stages.preprocess import TRACK_FILE

AVATAR_FILE = "avatar.safetensors"
_PHOTO_EVERY = 3  # the face that the user knows must come from the user's pixels
_CONTRADICTION = 0.5  # of alpha, by which two outlines differ
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
    generator = torch.Generator().manual_seed(seed)
    head, samples, reach = _start(preprocess, portrait, track, video, int(config.gaussians * _SPARE), seed, generator)
    if reach is not None and not (reach > REACH_OF_SKIN).any():
        progress.warn("the imagined views show no hair and no clothes: try another --seed, or --generator reproject")
    start = start_gaussians(samples, SH_C0)
    avatar = Avatar(
        head=head,
        correctives=new_correctives(len(start.means), config.correctives, generator),
        framing=video.framing,
        provenance=provenance,
        **start._asdict(),
    )
    schedule = Schedule(config.iterations, _PHOTO_EVERY, config.gaussians, seed)
    photo = _without_contradictions(_photo_picture(portrait, track, config.photo_size), avatar, track, portrait.size)
    pictures = _Pictures(photo, video, head)
    with progress.task("distill", config.iterations) as advance:
        avatar = optimise(avatar, pictures, schedule, reach=reach, device=device, folder=out, advance=advance)
    partial = out / (AVATAR_FILE + ".partial")
    avatar.save(partial)
    partial.replace(out / AVATAR_FILE)


def _start(
    preprocess: Path,
    portrait: Portrait,
    track: Track,
    video: MultiViewVideo,
    count: int,
    seed: int,
    generator: torch.Generator,
) -> tuple[PersonalHead, SurfaceSamples, Tensor | None]:
    """The person's head, `count` starts on it and on what covers it, and how far each may move [G] (metres; None: as skin)."""
    if video.generator == REPROJECT:
        scene = load_scene(preprocess, seed=seed)
        return scene.head, sample_scene(scene, count, generator), None
    head, posed, photo = look_at_photo(load_head_model(), track, portrait.foreground, portrait.matte, portrait.inside)
    texture, _ = bake_skin(head, posed, photo, Atlas.of(head.model))
    return head, *sample_views(head, texture, photo.skin_color, video, count, generator)


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


def _without_contradictions(photo: TrainingPicture, start: Avatar, track: Track, size: int) -> TrainingPicture:
    """The photo, not believed below the chin where its matte is another than the start's outline, which all views agree on.

    Shoulders are wide, and cut off by the photo: there the views show others, and patches of both would stand beside each other.
    size: pixels along the side of the picture that the track's landmarks are of.
    """
    outline = start.render(start.rig(), photo.parameters, photo.camera).alpha
    rows = torch.arange(len(outline)) * (size / len(outline))
    below = (rows > track.landmarks[CHIN, 1])[:, None]
    wrong = blur((outline - photo.alpha)[..., None], len(outline) / 200).abs()[..., 0] > _CONTRADICTION
    around = blur((below & wrong).float()[..., None], len(outline) / 100)[..., 0]
    return replace(photo, trust=photo.trust * (1 - (2 * around).clamp(max=1)))


@dataclass(frozen=True)
class _Pictures:
    """The photo, then every picture of the video, read when it is asked for."""

    photo: TrainingPicture
    video: MultiViewVideo
    head: PersonalHead

    def __len__(self) -> int:
        return 1 + len(self.video.plan.pictures)

    def __getitem__(self, index: int) -> TrainingPicture:
        if index == 0:
            return self.photo
        view, frame = self.video.plan.pictures[index - 1]
        picture = self.video.read_frame(view, frame)
        camera, parameters = self.video.plan.cameras[view], self.video.plan.parameters[frame : frame + 1]
        # With another expression a model may imagine other hair. It is wanted for the face.
        trust = torch.ones_like(picture[..., 3]) if frame == 0 else _face_mask(self.head, parameters, camera)
        return TrainingPicture(
            camera=camera,
            parameters=parameters,
            moment=frame,
            color=picture[..., :3],
            alpha=picture[..., 3],
            trust=trust,
        )


def _face_mask(head: PersonalHead, parameters: HeadParameters, camera: Camera) -> Tensor:
    """1 [H, W] where a camera sees the moving part of the face, softly ending at its border."""
    model = head.model
    raster = rasterize_mesh(pose_vertices(head, parameters)[0], model.faces, camera)
    still = model.in_regions("scalp", "ear", "neck", "torso")[model.faces].any(-1)
    face = raster.covered & ~still[raster.face.clamp(min=0)]
    return blur(face.float()[..., None], camera.width / 100)[..., 0]
