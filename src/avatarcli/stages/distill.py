"""Multi-view video and photo → avatar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from avatarcli.capture.portrait import Label
from avatarcli.config import DistillConfig
from avatarcli.files import read_json, replacing, write_json
from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.gaussians.beard import find_beard
from avatarcli.gaussians.bust import Bust
from avatarcli.gaussians.correctives import new_correctives
from avatarcli.gaussians.fit_quality import fit_quality
from avatarcli.gaussians.fit_state import REACH_OF_SKIN
from avatarcli.gaussians.glasses import find_glasses
from avatarcli.gaussians.hair import HairPhoto
from avatarcli.gaussians.initialise import SurfaceSamples, start_gaussians
from avatarcli.gaussians.lashes import LASHES, with_lashes
from avatarcli.gaussians.openings import between_rims, hidden_at_rest
from avatarcli.gaussians.optimise import optimise
from avatarcli.gaussians.pictures import AtHand, PictureSource, Schedule, TrainingPicture
from avatarcli.gaussians.scene_samples import sample_scene
from avatarcli.gaussians.start import Start
from avatarcli.gaussians.strands import HairSurface, comb
from avatarcli.gaussians.view_samples import sample_views
from avatarcli.head.model import PersonalHead
from avatarcli.multiview.pictures import REPROJECT, MultiViewVideo
from avatarcli.progress import Progress
from avatarcli.reproject.teeth import part_teeth
from avatarcli.stages.artefacts import AVATAR_FILE, FIT_FILE
from avatarcli.stages.person import Person
from avatarcli.stages.shown_clothes import ShownClothes
from avatarcli.stages.shown_colors import shown_colors
from avatarcli.stages.training_pictures import (
    Authority,
    ViewPictures,
    close_up,
    photo_picture,
    training_photos,
    with_shown_clothes,
)

_HALFWAY_FILE = ".fit.json"  # hidden: a working file
_PHOTO_EVERY = 3  # the face that the user knows must come from the user's pixels
_PHOTOS_EVERY = 2  # of several photos: the frontal one is shown half of these times
_SPARE = 0.75  # of the Gaussians are there from the start; the others are added where they are missed


def distill_avatar(
    person: Person,
    generated: Path,
    out: Path,
    config: DistillConfig,
    *,
    seed: int,
    device: str,
    progress: Progress,
    provenance: dict[str, str],
) -> None:
    """Write `avatar.safetensors` and `fit.json` into the folder `out`; a checkpoint found there is continued."""
    video = MultiViewVideo.load(generated)
    generator = torch.Generator().manual_seed(seed)
    head, samples, reach, bust = _start(person, video, config, seed, generator)
    if reach is not None and not (reach > REACH_OF_SKIN).any():
        progress.warn("the imagined views show no hair and no clothes: try another --seed, or --generator reproject")
    gaussians, expressions = start_gaussians(samples, SH_C0), video.plan.parameters.expression
    avatar = Avatar(
        head=head,
        correctives=new_correctives(len(gaussians.means), config.correctives, generator, expressions),
        framing=video.framing,
        provenance=provenance,
        **gaussians._asdict(),
    )
    start = Start(avatar, device)
    if bust is not None:
        # Where clothes will not be, a photo that shows some must not be believed: it would tear others.
        low = start.dressed & (bust.share(avatar.means) > 0.5)
        bust.hold(avatar.means, avatar.quaternions, avatar.log_scales, low.nonzero()[:, 0])
    # A photo that is a little out of place would be painted beside what the others show.
    photos = training_photos([photo for photo in person.photos if photo.exact], start, config.photo_size, video)
    taken = photos
    if person.lift.any():
        taken = training_photos([photo for photo in person.taken if photo.exact], start, config.photo_size, video)
    closer = close_up(person.frontal, start, config.photo_size)
    shown = photos if closer is None else [*photos, closer]
    every = _PHOTO_EVERY if len(photos) == 1 else _PHOTOS_EVERY
    schedule = Schedule(config.iterations, every, config.gaussians - LASHES, seed, config.hold_out, len(shown))
    authority = Authority.of(start, photos)
    clothes = None
    if reach is not None:
        clothes = ShownClothes.of(start, photos)
        start, reach = with_shown_clothes(start, reach, photos, authority)
    hidden = between_rims(head), hidden_at_rest(head)
    pictures = AtHand(ViewPictures(shown, video, head, authority, hidden, clothes, bust), device)
    judge = _Judge(out, pictures, schedule, taken)
    # The baseline paints strands on its shell.
    hair = (
        None
        if video.generator == REPROJECT
        else HairPhoto.of(person.frontal.portrait, person.frontal.track, config.photo_size)
    )
    colors = None
    if reach is not None:
        # Held-out pictures have no say: they judge.
        told = (pictures[n].to("cpu") for n in [*range(schedule.photos), *schedule.shown(len(pictures))])
        colors = shown_colors(start, (picture for picture in told if picture.moment <= 0), hair)
    surface = HairSurface.of(start.avatar, authority.share)
    with progress.task("distill", config.iterations) as advance:
        avatar = optimise(
            start.avatar,
            pictures,
            schedule,
            reach=reach,
            bust=bust,
            colors=colors,
            device=device,
            folder=out,
            advance=advance,
            judge=judge.halfway,
            comb=None if hair is None else partial(comb, photo=hair, surface=surface, seed=seed, device=device),
        )
    avatar = with_lashes(avatar, seed)
    judge.finish(avatar.to(device))
    with replacing(out / AVATAR_FILE) as unfinished:
        avatar.save(unfinished)


def _start(
    person: Person, video: MultiViewVideo, config: DistillConfig, seed: int, generator: torch.Generator
) -> tuple[PersonalHead, SurfaceSamples, Tensor | None, Bust | None]:
    """The person's head, starts on it and on what covers it, how far each may move [G] (metres; None: as skin), and the
    shape that the views agree on below the chin."""
    seen, count = person.seen, int(config.gaussians * _SPARE)
    head = part_teeth(seen.head, seen.shows_teeth)
    if video.generator == REPROJECT:
        return head, sample_scene(replace(seen.scene(seed), head=head), count, generator), None, None
    texture, _ = seen.skin
    beard = find_beard(head, seen.posed, seen.photo, person.frontal.portrait.region(Label.SKIN))
    glasses = find_glasses(head, seen.photo, person.frontal.track.parameters())
    photo = photo_picture(person.frontal, config.photo_size)
    return head, *sample_views(head, texture, seen.photo.skin_color, video, count, generator, beard, glasses, photo)


@dataclass(frozen=True)
class _Judge:
    """Writes `fit.json`: how well the avatar shows its own pictures, and showed those that it had not seen yet."""

    folder: Path
    pictures: PictureSource
    schedule: Schedule
    taken: Sequence[TrainingPicture]  # the photos in their own light, without close-ups

    def halfway(self, avatar: Avatar) -> None:
        """Compare with the pictures shown so far, and with the held-out ones. Kept in a file, for the run may be stopped."""
        seen = set(self.schedule.shown(len(self.pictures)))
        groups = {"seen": seen, "held_out": set(range(self.schedule.photos, len(self.pictures))) - seen}
        scores = {name: self._quality(avatar, group) for name, group in groups.items() if group}
        write_json(self.folder / _HALFWAY_FILE, scores)

    def finish(self, avatar: Avatar) -> None:
        """Compare with the photos and with all pictures, and write what was kept halfway beside that."""
        halfway = self.folder / _HALFWAY_FILE
        scores = {
            "photo": asdict(fit_quality(avatar, self.taken)),
            "all": self._quality(avatar, range(self.schedule.photos, len(self.pictures))),
        }
        scores |= read_json(halfway) or {}
        write_json(self.folder / FIT_FILE, scores)
        halfway.unlink(missing_ok=True)

    def _quality(self, avatar: Avatar, indices: Iterable[int]) -> dict[str, float]:
        return asdict(fit_quality(avatar, (self.pictures[index] for index in sorted(indices))))
