"""Training samples of the studio, made as they are needed: the same on every machine, and never the same twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from avatarcli.capture.photo import head_crop
from avatarcli.diffusion.conditioning import Conditioner
from avatarcli.diffusion.packing import latent_count, pack_frames
from avatarcli.errors import UsageError
from avatarcli.geometry.cameras import Camera
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.model import PersonalHead, load_head_model
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing
from avatarcli.multiview.plan import FACE_REGIONS
from avatarcli.studio.assemble import assemble
from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.backdrop import draw_backdrop
from avatarcli.studio.lights import draw_light
from avatarcli.studio.misfit import Misfit, TrueHead, disturb_clip, fit_truth, on_shipped_model
from avatarcli.studio.motion import MotionLibrary, draw_motion
from avatarcli.studio.posing import Poser
from avatarcli.studio.reference import make_reference
from avatarcli.studio.render import render
from avatarcli.studio.sample import StudioSample, as_bytes, batch_of_one, condition_photo, condition_views, loss_weight
from avatarcli.studio.scene import Light, PosedMesh, RenderMesh
from avatarcli.studio.subject import Split, StudioSubject, draw_subject
from avatarcli.studio.tracker_error import ErrorStatistics, load_statistics
from avatarcli.studio.viewpoints import draw_cameras, draw_reference_camera

CELL = 16  # pixels: pictures are whole patches of 2 × 2 latent cells, as the model takes them
# The photo has this many times the views' pixels on a side: in use it is the finer of the two, and the warp shows it.
_PHOTO_SCALE = 2
# Of the photos: those that show a face at rest, and those that show one in the middle of a word or a laugh.
_NEUTRAL_SHARE, _LIVELY_SHARE = 0.15, 0.25
_PHOTO_NECK = 0.4  # share of a lively neck's turn in a photo, beyond which faces turn away from the camera
_PHOTO_BLINK = 0.3  # how far lids may be shut: photos of shut eyes are thrown away
_BLINKS = [EXPRESSION_INDEX["eyeBlinkLeft"], EXPRESSION_INDEX["eyeBlinkRight"]]
_SUBJECT_BITS = 32
# Metres: pictures end above the bust's lower edge. People with wide hair would be framed down to it; they lose the hair's ends.
_LOWEST = -0.275
# Pixels of all views and frames that are rendered, and given maps, at a time: about 100 and 400 bytes each. On a GPU too that is
# enough to be busy, and leaves room for other processes.
_RENDERED_AT_ONCE, _MAPPED_AT_ONCE = 1 << 23, 1 << 20
# Where cameras that see the face only stand, radians beside and above it, and how much they show around it, as a share
# of it: about as `multiview.plan.make_plan` has them.
_FACE_YAW, _FACE_PITCH, _FACE_MARGIN = 0.9, 0.25, (0.05, 0.3)
# Streams of random numbers, so that one part can change without all others changing with it; subjects have their own.
_STREAMS = (
    "motion",
    "cameras",
    "face_cameras",
    "light",
    "clip",
    "photo_motion",
    "photo_camera",
    "backdrop",
    "tracker",
    "faults",
)


@dataclass(frozen=True)
class StudioSettings:
    """V views × F frames (1 + 4 k) of `size` × `size` pixels of each subject.

    face_views: further cameras, the last ones, that see the face only; photos: references, each with a fit of its own.

    Raises:
        UsageError: numbers that the model cannot take.
    """

    views: int
    frames: int
    size: int
    seed: int = 0
    split: Split = "train"
    face_views: int = 0
    photos: int = 1

    def __post_init__(self) -> None:
        if self.views < 1 or self.face_views < 0 or self.photos < 1:
            raise UsageError(f"a subject needs a view and a photo, not {self.views} and {self.photos}")
        if self.size < CELL or self.size % CELL:
            raise UsageError(f"--size {self.size}: pictures are a multiple of {CELL} pixels wide")
        if not 0 <= self.seed < 1 << (63 - _SUBJECT_BITS):
            raise UsageError(f"--seed {self.seed}: seeds are between 0 and {(1 << (63 - _SUBJECT_BITS)) - 1}")
        try:
            latent_count(self.frames)
        except ValueError as error:
            raise UsageError(f"--frames {self.frames}: {error}") from error

    @property
    def all_views(self) -> int:
        """How many views a sample has."""
        return self.views + self.face_views

    def subject(self, index: int) -> int:
        """The number of the index-th subject of this seed."""
        return (self.seed << _SUBJECT_BITS) + index


class Studio:
    """Makes samples on one device. `assets` lie on the CPU."""

    def __init__(
        self,
        assets: StudioAssets,
        settings: StudioSettings,
        device: torch.device | str = "cpu",
        *,
        library: MotionLibrary | None = None,
        statistics: ErrorStatistics | None = None,
    ) -> None:
        self.assets = assets
        self.settings = settings
        self.device = torch.device(device)
        self._library = library or MotionLibrary.load(None)
        self._statistics = statistics or load_statistics()
        self._model = load_head_model()
        # Moving it with every head would cost more than the head.
        self._model_there = self._model.to(self.device)

    def sample(self, index: int) -> StudioSample:
        """The index-th sample: the same tensors whenever it is asked for (on a GPU up to rounding)."""
        settings, number = self.settings, self.settings.subject(index)
        subject = draw_subject(self.assets, number, split=settings.split)
        mesh, poser = assemble(self.assets, subject, self.device)
        light = draw_light(_rng(number, "light"), float(np.mean(subject.skin.tone))).to(self.device)
        framing = self._framing(poser)
        motion = draw_motion(_rng(number, "motion"), settings.frames, self._library)
        clip = disturb_clip(self._model, self._statistics, motion, _generator(number, "clip")).to(self.device)
        conditioners = [
            self._conditioner(number, photo, subject, mesh, poser, light, framing) for photo in range(settings.photos)
        ]
        heads = [conditioner.head.in_world(clip) for conditioner in conditioners]
        cameras = self._cameras(number, framing, heads[0]).to(self.device)
        video, regions = self._pictures(mesh, poser(motion.to(self.device)), cameras, light)
        views = [
            self._maps(conditioner, clip, head, cameras, regions)
            for conditioner, head in zip(conditioners, heads, strict=True)
        ]
        photos = [condition_photo(conditioner, settings.size) for conditioner in conditioners]
        return StudioSample(
            number=number,
            video=video,
            hint=torch.stack([hint for hint, _, _ in views]),
            maps=torch.stack([maps for _, maps, _ in views]),
            weight=views[0][2],
            photo=torch.stack([as_bytes(picture) for picture, _ in photos]),
            photo_hint=torch.stack([as_bytes(maps.hint[0]) for _, maps in photos]),
            photo_maps=torch.stack([maps.packed()[0].half() for _, maps in photos]),
        )

    def _at_once(self, pixels: int) -> int:
        """How many views have about so many pixels together."""
        return max(1, pixels // (self.settings.frames * self.settings.size**2))

    def _framing(self, poser: Poser) -> Framing:
        """As `avatar generate` frames the reconstructed person, hair included."""
        framing = Framing.of(poser.vertices(HeadParameters.at_rest().to(self.device))[0])
        return replace(framing, span=min(framing.span, 2 * (framing.target[1] - _LOWEST)))

    def _cameras(self, number: int, framing: Framing, heads: Tensor) -> Camera:
        """The cameras of all views, on the CPU. heads [F, N, 3]: the misfit head, for those that see the face only."""
        settings = self.settings
        cameras = draw_cameras(_rng(number, "cameras"), settings.views, settings.size, framing)
        if not settings.face_views:
            return cameras
        rng, count = _rng(number, "face_cameras"), settings.face_views
        yaw, pitch = (
            torch.from_numpy(rng.uniform(-limit, limit, count).astype(np.float32)) for limit in (_FACE_YAW, _FACE_PITCH)
        )
        near = framing.cameras(yaw, pitch, settings.size)
        face = heads.cpu()[:, self._model.in_regions(*FACE_REGIONS)]
        pixels, _ = near.project(face.flatten(0, 1))
        low, high = pixels.amin(1), pixels.amax(1)
        margin = torch.from_numpy(rng.uniform(*_FACE_MARGIN, (count, 1)).astype(np.float32))
        side = (high - low).amax(-1, keepdim=True) * (1 + margin)
        K = near.K.clone()
        K[:, :2, 2] -= (low + high - side) / 2
        K[:, :2] *= (settings.size / side)[..., None]
        poses = torch.cat([cameras.world_to_camera, near.world_to_camera])
        return Camera(poses, torch.cat([cameras.K, K]), settings.size, settings.size)

    def _conditioner(
        self,
        number: int,
        photo: int,
        subject: StudioSubject,
        mesh: RenderMesh,
        poser: Poser,
        light: Light,
        framing: Framing,
    ) -> Conditioner:
        """What the pipeline would make of one photo of the subject."""
        size = self.settings.size * _PHOTO_SCALE
        camera = draw_reference_camera(_rng(number, "photo_camera", photo), size, framing)
        parameters = draw_photo_motion(_rng(number, "photo_motion", photo), self._library)
        face = poser.landmarks(parameters.to(self.device))[0]
        camera = crop_camera(camera, face.cpu())
        misfit = self._misfit(subject, camera, parameters, _generator(number, "tracker", photo))
        frames = render(mesh, poser(parameters.to(self.device)), batch_of_one(camera).to(self.device), light)
        backdrop = draw_backdrop(_rng(number, "backdrop", photo), size).to(self.device)
        found = misfit.camera.to(self.device), misfit.parameters.to(self.device)
        reference = make_reference(frames.rgba[0, 0], backdrop, *found, _generator(number, "faults", photo))
        neutral, joints = misfit.head.neutral.to(self.device), misfit.head.joints.to(self.device)
        head = PersonalHead(self._model_there, neutral, joints, self._model_there.expression_basis)
        return Conditioner(head, reference)

    def _misfit(
        self, subject: StudioSubject, camera: Camera, parameters: HeadParameters, generator: torch.Generator
    ) -> Misfit:
        head = self.assets.head
        neutral = on_shipped_model(head, subject.neutral(self.assets))
        joints = head.joints(torch.tensor(subject.person.identity))
        truth = TrueHead.of(self._model, neutral, joints, camera, parameters)
        error = self._statistics.draw(generator, truth.circumstances(self._model))
        return fit_truth(self._model, truth, error, self._statistics)

    def _pictures(self, mesh: RenderMesh, posed: PosedMesh, cameras: Camera, light: Light) -> tuple[Tensor, Tensor]:
        """The video [V, F, 4, S, S] and what it shows of REGION_NAMES [V, F, S, S, 4], as bytes."""
        step = self._at_once(_RENDERED_AT_ONCE)
        parts = []
        for start in range(0, len(cameras), step):
            frames = render(mesh, posed, cameras[start : start + step], light)
            parts.append((as_bytes(frames.rgba), as_bytes(frames.regions)))
        rgba, regions = (torch.cat(part) for part in zip(*parts, strict=True))
        return rgba.permute(0, 1, 4, 2, 3).contiguous(), regions

    def _maps(
        self, conditioner: Conditioner, clip: HeadParameters, heads: Tensor, cameras: Camera, regions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """hint, maps and weight of all views. heads [F, N, 3]: the misfit head in the clip's poses."""
        step = self._at_once(_MAPPED_AT_ONCE)
        parts = []
        for start in range(0, len(cameras), step):
            some = cameras[start : start + step]
            made, raster = condition_views(conditioner, clip, some, heads)
            shape = (len(some), len(clip))
            weight = loss_weight(conditioner.head.model, raster, regions[start : start + step].float() / 255)
            maps = pack_frames(made.maps.unflatten(0, shape))
            parts.append((as_bytes(made.hint).unflatten(0, shape), maps.half(), weight.half()))
        hint, maps, weight = (torch.cat(part) for part in zip(*parts, strict=True))
        return hint, maps, weight


def draw_photo_motion(rng: np.random.Generator, library: MotionLibrary) -> HeadParameters:
    """The face of somebody who has their photo taken, a single frame."""
    kind = rng.random()
    if kind < _NEUTRAL_SHARE:
        return HeadParameters.at_rest()
    lively = kind > 1 - _LIVELY_SHARE
    face = draw_motion(rng, 1, library, calm=not lively)
    face.expression[:, _BLINKS] = face.expression[:, _BLINKS].clamp(max=_PHOTO_BLINK)
    return replace(face, neck=face.neck * _PHOTO_NECK) if lively else face


def crop_camera(camera: Camera, landmarks: Tensor) -> Camera:
    """A single camera whose picture shows what `avatar preprocess` would cut out of its photo. landmarks [478, 3]: the face."""
    pixels, _ = camera.project(landmarks)
    # Only where the window lies is asked for, so the picture may be empty and is not resized.
    empty = np.zeros((camera.height, camera.width, 3), np.uint8)
    crop = head_crop(empty, pixels.numpy(), crop_size=1 << 30)
    return crop.camera_of(camera).resized(camera.width, camera.height)


class Samples(Protocol):
    """Where samples come from: the studio, or pictures of real people."""

    def sample(self, index: int) -> StudioSample: ...


class StudioDataset(IterableDataset[StudioSample]):
    """Samples without end for one of `world` processes; the same class feeds a GPU from the CPU's workers or from the GPU itself.

    The k-th sample of a worker is a function of the settings, `rank`, `world` and the worker alone. `state_dict` says how many
    have been given; a dataset that loads it goes on with the next one. With a DataLoader's workers that is each worker's own
    count, as torchdata's StatefulDataLoader keeps it.
    """

    def __init__(self, studio: Samples, *, rank: int = 0, world: int = 1) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world}")
        self.studio = studio
        self._rank, self._world = rank, world
        self._given = 0

    def __iter__(self) -> Iterator[StudioSample]:
        worker = get_worker_info()
        place, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        while True:
            index = (self._given * workers + place) * self._world + self._rank
            sample = self.studio.sample(index)
            self._given += 1
            yield sample

    def state_dict(self) -> dict[str, int]:
        return {"given": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._given = int(state["given"])


def _rng(number: int, stream: str, photo: int = 0) -> np.random.Generator:
    # Subjects use small numbers in this place for streams of their own.
    return np.random.default_rng([number, 1000 + _STREAMS.index(stream), photo])


def _generator(number: int, stream: str, photo: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(int(_rng(number, stream, photo).integers(1 << 63)))
