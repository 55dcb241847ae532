"""Readers of real photos: multi-view sets like the Face Research Lab London Set, and single portraits.

Every photo is fitted on its own by the tracker. The identity is that of the reference photo; for the other photos of the
person only camera and expression are sought, or in profile, where there is no face to find, the camera from the outline.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from avatarcli.arrays import Pixels
from avatarcli.capture.landmarks import FaceLandmarks, detect_face, upright
from avatarcli.capture.photo import read_photo
from avatarcli.capture.portrait import Portrait
from avatarcli.datasets.benchmarks import SELF, load_benchmark
from avatarcli.datasets.captured import (
    CapturedSamples,
    FittedPhoto,
    Matte,
    build_sample,
    check_size,
    covered_by_hair,
    cut_out,
    fit_reference,
    framing_of,
    joined,
    show,
    stacked,
)
from avatarcli.diffusion.conditioning import Reference
from avatarcli.errors import PhotoError, UsageError
from avatarcli.geometry.cameras import Camera
from avatarcli.head.model import HeadModel, PersonalHead, load_head_model
from avatarcli.head.parameters import HeadParameters
from avatarcli.head.photo_fit import PhotoFit
from avatarcli.multiview.framing import Framing, Window
from avatarcli.studio.sample import StudioSample
from avatarcli.tracking.fit import fit_pose_expression
from avatarcli.tracking.profile import fit_profile

Layout = Literal["london", "portraits"]
LAYOUTS: tuple[Layout, ...] = ("london", "portraits")

_LONDON = re.compile(
    r"(\d{3})_(neutral|smiling)_(front|left_3quarter|right_3quarter|left_profile|right_profile)\.jpe?g"
)
# The photos of a person in the order in which they are taken as views, and those that may be references.
_EXPRESSIONS = ("neutral", "smiling")
_FACES, _PROFILES = ("front", "left_3quarter", "right_3quarter"), {"left_profile": 1, "right_profile": -1}
_ORDER = tuple((expression, view) for expression in _EXPRESSIONS for view in (*_FACES, *_PROFILES))
_REFERENCES = (
    ("neutral", "front"), ("smiling", "front"), ("neutral", "left_3quarter"), ("neutral", "right_3quarter"),
    ("smiling", "left_3quarter"), ("smiling", "right_3quarter"),
)  # fmt: skip
MOST_LONDON_VIEWS, MOST_LONDON_PHOTOS = len(_ORDER), len(_REFERENCES)
_Key = tuple[str, str]


@dataclass(frozen=True)
class _Pose:
    """Where a head stands in a whole picture, and with which face (a single frame)."""

    camera: Camera
    parameters: HeadParameters


class LondonPerson:
    """The photos of one person; what is found in them is kept."""

    def __init__(self, photos: dict[_Key, Path], model: HeadModel) -> None:
        self.photos = photos
        self.model = model
        self._found: dict[_Key, tuple[Pixels, FaceLandmarks | None, Matte | None]] = {}

    def picture(self, key: _Key) -> Pixels:
        if key not in self._found:
            self._found[key] = (read_photo(self.photos[key]), None, None)
        return self._found[key][0]

    def face(self, key: _Key) -> FaceLandmarks:
        """Raises PhotoError when there is none."""
        picture = self.picture(key)
        face = self._found[key][1]
        if face is None:
            face = detect_face(picture)
            self._found[key] = (picture, face, self._found[key][2])
        return face

    def matte(self, key: _Key) -> Matte:
        """The person in a photo, cut out once however often it is asked for."""
        from avatarcli.capture.matte import person_matte

        picture = self.picture(key)
        matte = self._found[key][2]
        if matte is None:
            matte = person_matte(picture)
            self._found[key] = (picture, self._found[key][1], matte)
        return matte

    def reference(self, key: _Key, size: int) -> tuple[Reference, PhotoFit, Camera]:
        return fit_reference(self.model, self.picture(key), size, matte=self.matte(key), face=self.face(key))

    def pose(self, key: _Key, head: PersonalHead, track: PhotoFit) -> _Pose | None:
        """The pose in another photo of the head that was fitted to one; None where it cannot be trusted.

        Raises:
            PhotoError: the photo cannot be read.
        """
        if key[1] in _PROFILES:
            return self._profile(key, head, track)
        try:
            face = self.face(key)
        except PhotoError:
            return None
        height, width = self.picture(key).shape[:2]
        found = fit_pose_expression(self.model, track.identity, track.residual, face.points, face.scores, width, height)
        return _Pose(found.camera, found.parameters())

    def _profile(self, key: _Key, head: PersonalHead, track: PhotoFit) -> _Pose | None:
        """From the frontal photo with the same expression."""
        frontal = (key[0], "front")
        straight = self.pose(frontal, head, track) if frontal in self.photos else None
        if straight is None or self.picture(frontal).shape != self.picture(key).shape:
            return None
        fit = fit_profile(head, straight.parameters, straight.camera, self.matte(key), _PROFILES[key[1]])
        return _Pose(fit.camera, straight.parameters) if fit.trusted else None


class LondonPhotos(CapturedSamples):
    """People seen from five sides with two expressions each; files are named <id>_<neutral|smiling>_<view>.jpg.

    views: photos of each person, front first (a person with fewer usable ones is left out); photos: references, each with
    a fit of its own. The benchmark's people are left out unless `evaluated` says why they are wanted.

    Raises:
        UsageError: nobody is there, or a number cannot work.
    """

    def __init__(
        self, folder: Path, size: int, *, views: int = 8, photos: int = 1, evaluated: str | None = None
    ) -> None:
        check_size(size)
        if not 1 <= views <= MOST_LONDON_VIEWS or not 1 <= photos <= MOST_LONDON_PHOTOS:
            raise UsageError(
                f"a person has up to {MOST_LONDON_VIEWS} views and {MOST_LONDON_PHOTOS} photos, not {views} and {photos}"
            )
        self.views = views
        self.settings = {"layout": "london", "size": size, "views": views, "photos": photos, "evaluated": evaluated}
        self._size, self._photos = size, photos
        self._people = london_people(folder, evaluated)
        self.names = tuple(self._people)

    @cached_property
    def _model(self) -> HeadModel:
        return load_head_model()

    def read(self, index: int) -> StudioSample:
        name = self.names[index]
        person = LondonPerson(self._people[name], self._model)
        keys = [key for key in _ORDER if key in person.photos]
        references = [key for key in _REFERENCES if key in person.photos][: self._photos]
        if len(references) < self._photos:
            raise PhotoError(f"{name} has only {len(references)} photos with a face: give a smaller --photos")
        fitted = [person.reference(key, self._size) for key in references]
        heads = [PersonalHead.of(self._model, track) for _, track, _ in fitted]
        poses: dict[_Key, list[_Pose]] = {}
        for key in keys:
            if len(poses) == self.views:
                break
            found = [person.pose(key, head, track) for head, (_, track, _) in zip(heads, fitted, strict=True)]
            usable = [pose for pose in found if pose is not None]
            if len(usable) == len(found):
                poses[key] = usable
        if len(poses) < self.views:
            raise PhotoError(f"{name} has only {len(poses)} usable photos: give a smaller --views")
        framing = framing_of(heads[0], fitted[0][0])
        return self._sample(index, person, poses, heads, [reference for reference, _, _ in fitted], framing)

    def _sample(
        self,
        index: int,
        person: LondonPerson,
        poses: dict[_Key, list[_Pose]],
        heads: list[PersonalHead],
        references: list[Reference],
        framing: Framing,
    ) -> StudioSample:
        pictures, covered, windows = [], [], []
        for key, (first, *_) in poses.items():
            window = Window.framing(framing, first.camera)
            picture = show(_part(person.picture(key), person.matte(key), window), self._size)
            camera = window.camera(first.camera, self._size)
            pictures.append(picture)
            covered.append(covered_by_hair(picture, heads[0], first.parameters, camera))
            windows.append(window)
        fits = [
            FittedPhoto(
                head,
                reference,
                stacked([w.camera(p[number].camera, self._size) for w, p in zip(windows, poses.values(), strict=True)]),
                joined([pose[number].parameters for pose in poses.values()]),
            )
            for number, (head, reference) in enumerate(zip(heads, references, strict=True))
        ]
        return build_sample(index, torch.stack(pictures)[:, None], torch.stack(covered)[:, None], fits)


class Portraits(CapturedSamples):
    """Single photos: one view and one frame each, of the photo itself.

    Raises:
        UsageError: there are no photos, or the size cannot work.
    """

    def __init__(self, folder: Path, size: int, *, evaluated: str | None = None) -> None:
        check_size(size)
        self.views = 1
        self.settings = {"layout": "portraits", "size": size, "evaluated": evaluated}
        self._size = size
        cases = load_benchmark(SELF, _folder(folder))
        hidden = frozenset() if evaluated is not None else evaluated_people(folder)
        self._files = {case.name: case.photo for case in cases if _person(case.photo) not in hidden}
        if not self._files:
            raise UsageError(f"{folder} holds only people of the benchmark, who must not be trained on")
        self.names = tuple(self._files)

    @cached_property
    def _model(self) -> HeadModel:
        return load_head_model()

    def read(self, index: int) -> StudioSample:
        picture, _ = upright(read_photo(self._files[self.names[index]]))
        from avatarcli.capture.matte import person_matte

        matte = person_matte(picture)
        reference, track, whole = fit_reference(self._model, picture, self._size, matte=matte)
        head = PersonalHead.of(self._model, track)
        window = Window.framing(framing_of(head, reference), whole)
        camera, parameters = window.camera(whole, self._size), track.parameters()
        rgba = show(_part(picture, matte, window), self._size)
        covered = covered_by_hair(rgba, head, parameters, camera)
        fit = FittedPhoto(head, reference, stacked([camera]), parameters)
        return build_sample(index, rgba[None, None], covered[None, None], [fit])


def london_people(folder: Path, evaluated: str | None = None) -> dict[str, dict[_Key, Path]]:
    """The photos of each person of a London-style folder, by (expression, view). `evaluated`: why the people of the
    benchmark are wanted too.

    Raises:
        UsageError: there is nobody with a frontal photo.
    """
    people: dict[str, dict[_Key, Path]] = {}
    hidden = frozenset() if evaluated is not None else evaluated_people(folder)
    for path in sorted(_folder(folder).iterdir()):
        match = _LONDON.fullmatch(path.name.lower())
        if match is not None and match[1] not in hidden:
            people.setdefault(match[1], {})[match[2], match[3]] = path
    people = {name: photos for name, photos in people.items() if ("neutral", "front") in photos}
    if not people:
        raise UsageError(
            f"{folder} holds no photos named <id>_<neutral|smiling>_<view>.jpg of people who may be trained on"
        )
    return people


def evaluated_people(folder: Path) -> frozenset[str]:
    """Whom the benchmark `london` judges: they must not be trained on."""
    cases = load_benchmark("london", folder)
    return frozenset(case.name.removeprefix("london-") for case in cases)


def _person(path: Path) -> str | None:
    """Whose photo it is, if it belongs to the London set."""
    match = _LONDON.fullmatch(path.name.lower())
    return None if match is None else match[1]


def _folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder of photos")
    return folder


def _part(picture: Pixels, matte: Matte, window: Window) -> Portrait:
    """A window's picture with its matte, which was made of the whole picture."""
    return cut_out(np.ascontiguousarray(window.of(picture)), np.ascontiguousarray(window.of(matte)))
