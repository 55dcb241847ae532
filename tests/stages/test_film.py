"""A film of somebody turning: rendered from a photo, so that the truth of every frame is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from avatarcli.capture.film import FaceSight, Sight, look_through
from avatarcli.capture.film_choice import choose_frames
from avatarcli.capture.video import probe_video
from avatarcli.config import CreateConfig, PreprocessConfig
from avatarcli.errors import PhotoError
from avatarcli.files import sha256_file
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing
from avatarcli.progress import SilentProgress
from avatarcli.stages.artefacts import film_frames, fitted_photos
from avatarcli.stages.person import Person
from avatarcli.stages.pipeline import RunOptions, run_pipeline
from avatarcli.stages.preprocess import preprocess_photo
from avatarcli.stages.source import Source
from avatarcli.workspace import Workspace
from example_photo import PHOTO

SIZE = 288
# Degrees to the subject's left, one a tenth of a second: away to the right until the face is lost, back, and to the left.
YAWS = [
    0,
    0,
    -2,
    -8,
    -16,
    -24,
    -30,
    -30,
    -36,
    -45,
    -55,
    -65,
    -75,
    -85,
    -90,
    -90,
    -80,
    -60,
    -40,
    -20,
    -4,
    10,
    24,
    36,
    44,
]
BLINK, MOVING = (0, 2), (5, 6, 8, 10, 19, 22)  # frames with closed eyes; frames in which the head is smeared
TIMES = [index / 10 for index in range(len(YAWS))]

Frames = list[NDArray[np.uint8]]
VideoMaker = Callable[..., Path]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    folder = tmp_path_factory.mktemp("person")
    preprocess_photo(Source.photo(PHOTO), folder, PreprocessConfig(crop_size=384), SilentProgress())
    scene = Person.load(folder).seen.scene(0)
    framing = Framing.of(torch.cat([scene.head.neutral, scene.shell.vertices]))
    # A camera on the subject's right shows a head that is turned to its left.
    cameras = framing.cameras(-torch.deg2rad(torch.tensor(YAWS, dtype=torch.float32)), torch.zeros(len(YAWS)), SIZE)
    drawn = []
    for index in range(len(YAWS)):
        pose = HeadParameters.at_rest()
        if index in BLINK:
            pose.expression[:, [EXPRESSION_INDEX["eyeBlinkLeft"], EXPRESSION_INDEX["eyeBlinkRight"]]] = 1.0
        rgba = scene.render(pose, cameras[index]).numpy()
        picture = 255 * (rgba[..., :3] * rgba[..., 3:] + 0.55 * (1 - rgba[..., 3:]))
        if index in MOVING:
            picture = uniform_filter1d(picture, 13, axis=1)
        drawn.append(picture.clip(0, 255).astype(np.uint8))
    return drawn


@pytest.fixture(scope="module")
def film(frames: Frames, tmp_path_factory: pytest.TempPathFactory, make_video: VideoMaker) -> Path:
    return make_video(tmp_path_factory.mktemp("film") / "turn.mp4", frames, times=TIMES)


def test_sharp_frames_with_open_eyes_from_all_sides_are_chosen(film: Path) -> None:
    sights = look_through(probe_video(film))
    assert [sight.time for sight in sights] == pytest.approx(TIMES, abs=1e-3)
    for truth, sight in zip(YAWS, sights, strict=True):
        if abs(truth) <= 30:
            assert sight.face is not None
            assert sight.face.yaw == pytest.approx(truth, abs=10)
    reference, *others = choose_frames(sights)
    chosen = [round(10 * frame.time) for frame in (reference, *others)]
    assert abs(YAWS[chosen[0]]) <= 8
    assert not set(chosen) & {*BLINK, *MOVING}
    assert len(chosen) >= 4
    apart = np.diff(sorted(YAWS[index] for index in chosen))
    assert apart.min() >= 15
    assert [abs(YAWS[index]) >= 75 for index in chosen[1:]] == [frame.profile for frame in others]
    assert sum(frame.profile for frame in others) == 1  # to the left the face is never lost


def test_a_film_is_preprocessed_as_several_photos_and_kept(film: Path, tmp_path: Path) -> None:
    subject = Workspace(tmp_path / "avatars").new_subject("ada")
    config = replace(CreateConfig(), preprocess=PreprocessConfig(crop_size=256))
    options = RunOptions("cpu", SilentProgress())
    run_pipeline(subject, film, config, options, only="preprocess")
    folder = subject.stage_path("preprocess")
    told = film_frames(folder)
    assert told is not None
    assert told["sha256"] == subject.manifest().photo_sha256 == sha256_file(film)
    assert (folder / "source.mp4").read_bytes() == film.read_bytes()
    photos = fitted_photos(folder)
    assert [frame["time"] for frame in told["frames"]] == [photo["time"] for photo in photos]
    assert len(photos) >= 3
    assert all((folder / photo["folder"] / "track.safetensors").exists() for photo in photos)
    for frame in told["frames"]:
        assert frame["yaw"] == pytest.approx(YAWS[round(10 * frame["time"])], abs=15)
    # The workspace's own copy is the film again, and nothing is left to do.
    assert run_pipeline(subject, None, config, options, only="preprocess").stages[0].cached
    json.dumps(told, allow_nan=False)


FACE = FaceSight(yaw=0.0, pitch=0.0, unrest=5.0, blur=0.5, noise=1.0, closed=5.0)


def seen(*faces: FaceSight | None, others: int = 0) -> list[Sight]:
    return [Sight(index / 10, face, others, 10.0) for index, face in enumerate(faces)]


def test_without_turning_the_best_frame_is_taken_alone() -> None:
    chosen = choose_frames(
        seen(replace(FACE, blur=1.5), FACE, replace(FACE, yaw=9.0), None, replace(FACE, closed=60.0))
    )
    assert [frame.time for frame in chosen] == [0.1]


def test_no_more_frames_than_photos_are_taken_together() -> None:
    turning = [replace(FACE, yaw=float(yaw)) for yaw in range(-64, 65, 2)]
    chosen = choose_frames(seen(*[None] * 5, *turning, *[None] * 5))
    assert len(chosen) == 6
    assert [frame.profile for frame in chosen].count(True) == 2


def test_a_turn_all_round_shows_its_profiles_but_not_the_back_of_the_head() -> None:
    """Ninety degrees a second, of which the detector sees 60 to each side, at three quarters of their size."""
    truth = [9 * index for index in range(41)]
    yaws = [0.75 * (yaw if yaw < 180 else yaw - 360) for yaw in truth]
    chosen = choose_frames(seen(*(replace(FACE, yaw=yaw) if abs(yaw) <= 45 else None for yaw in yaws)))
    profiles = [truth[round(10 * frame.time)] for frame in chosen if frame.profile]
    assert sorted(profiles) == pytest.approx([90, 270], abs=20)


@pytest.mark.parametrize(
    ("sights", "reason"),
    [
        (seen(None, None), "no face is seen"),
        (seen(FACE, FACE, others=1), "several people at 100 %"),
        (seen(replace(FACE, blur=9.0), replace(FACE, blur=7.0), None), "mostly the face is blurred"),
        (seen(replace(FACE, closed=90.0)), "mostly the eyes are closed"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(sights: list[Sight], reason: str) -> None:
    with pytest.raises(PhotoError, match=reason) as refusal:
        choose_frames(sights)
    assert "\n" not in str(refusal.value)
    if any(sight.face for sight in sights):
        assert len(choose_frames(sights, force=True)) == 1


def test_somebody_who_walks_by_is_no_second_person() -> None:
    sights = seen(*[FACE] * 20)
    sights[7] = replace(sights[7], others=1)
    assert len(choose_frames(sights)) == 1
