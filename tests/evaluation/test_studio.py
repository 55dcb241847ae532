"""The benchmark on synthetic people: what is true, where it is laid, and what becomes of a subject that cannot be made."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from avatarcli.capture.landmarks import detect_face
from avatarcli.cli.main import main
from avatarcli.config import CreateConfig
from avatarcli.errors import AssetsError, WorkspaceError
from avatarcli.evaluation import studio, truth
from avatarcli.evaluation.alignment import Alignment
from avatarcli.evaluation.results import Result
from avatarcli.evaluation.sitter import Instruments
from avatarcli.evaluation.studio import BUCKETS, Judge, StudioRun, evaluate_studio, yaws
from avatarcli.evaluation.truth import EXPRESSIONS, Place, Truth, TruthSet, truth_plan
from avatarcli.gaussians.rasterize import Rasterized
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.rotations import axis_angle_to_matrix, rigid
from avatarcli.multiview.framing import Framing
from avatarcli.multiview.plan import make_plan
from avatarcli.progress import SilentProgress
from avatarcli.workspace import Workspace
from example_photo import PHOTO

FRAMING = Framing((0.0, 0.0, 0.0), 0.4)


@pytest.fixture(scope="module")
def small() -> pytest.MonkeyPatch:
    """Pictures of a few pixels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(truth, "SIZE", 48)
        patch.setattr(truth, "_PHOTO_SIZE", 64)
        yield patch


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def person(pack: Path, cache: Path, small: pytest.MonkeyPatch) -> Truth:
    """The first person, with three pictures."""
    truths = TruthSet(pack, "cpu", SilentProgress(), cache)
    found = truths.person(0)
    truths.render_missing(found, PLACES)
    return found


PLACES = [Place(0, 0), Place(0, 2), Place(4, 0)]


def fitted(scale: float, nearer: float, zoom: float) -> tuple[Tensor, Alignment, Tensor]:
    """A face [N, 3], the alignment with a world where it is turned, shifted and scaled, and the face there."""
    face = 0.1 * torch.randn(478, 3, generator=torch.Generator().manual_seed(0))
    turn, shift = axis_angle_to_matrix(torch.tensor([0.1, -0.3, 0.05])), torch.tensor([0.01, -0.02, 0.03])
    there = scale * face @ turn.T + shift
    photo = truth_plan(FRAMING).cameras[0]
    rotation = photo.world_to_camera[:3, :3] @ turn.T
    middle = nearer * photo.to_camera(face.mean(0)[None])[0]
    K = photo.K.clone()
    K[[0, 1], [0, 1]] *= zoom
    camera = Camera(rigid(rotation, middle - rotation @ there.mean(0)), K, photo.width, photo.height)
    # The face's middle lies off the axis: with another zoom its pixel would move, so the axis is moved.
    K[:2, 2] += (photo.project(face.mean(0)[None])[0] - camera.project(there.mean(0)[None])[0])[0]
    return face, Alignment.of(photo, face, camera, there), there


def test_cameras_of_one_world_see_the_same_in_the_other() -> None:
    face, alignment, there = fitted(scale=1.07, nearer=1.07, zoom=1.0)
    cameras = truth_plan(FRAMING).cameras
    moved = alignment.moved(cameras)
    assert torch.allclose(moved.project(there)[0], cameras.project(face)[0], atol=0.02)


def test_a_head_fitted_too_near_stays_in_the_middle_and_the_photos_camera_is_the_fitted_one() -> None:
    face, alignment, there = fitted(scale=0.9, nearer=0.8, zoom=0.9)
    cameras = truth_plan(FRAMING).cameras
    moved = alignment.moved(cameras)
    own = alignment.target.camera
    assert torch.allclose(moved[0].project(there)[0], own.project(there)[0], atol=0.01)
    # Seen from anywhere its middle is where it truly is, and it is as large: nearer, but with a shorter lens.
    middle, true_middle = moved.project(there.mean(0)[None])[0], cameras.project(face.mean(0)[None])[0]
    assert (middle - true_middle).abs().max() < 0.5
    spread, true_spread = (pixels.std(1) for pixels in (moved.project(there)[0], cameras.project(face)[0]))
    assert (spread / true_spread / (0.9 * 0.9 / 0.8) - 1).abs().max() < 0.06
    back = alignment.inverse().moved(moved)
    assert torch.allclose(back.world_to_camera, cameras.world_to_camera, atol=1e-4)
    assert torch.allclose(back.K, cameras.K, atol=1e-2)


def test_the_plan_goes_all_around_and_begins_with_the_photo() -> None:
    plan = truth_plan(FRAMING)
    yaw = yaws(plan.cameras)
    assert (plan.views, plan.frames, yaw[0], yaw[8]) == (16, 5, 0, 180)
    assert not plan.parameters.expression[0].any()
    assert {studio._bucket(angle) for angle in yaw} == set(BUCKETS)
    every, quick = StudioRun().places(plan), StudioRun(quick=True).places(plan, 2)
    assert len(every) == len(set(every)) == 80
    assert set(quick) < set(every)
    assert {studio._bucket(yaw[place.view]) for place in quick} == set(BUCKETS)
    assert {place.frame for place in quick} == set(range(5))


@pytest.mark.parametrize("quick", [False, True])
def test_of_generated_frames_heads_at_rest_are_judged(quick: bool) -> None:
    """Pictures of the face alone show too little of what the truth shows."""
    face = torch.tensor([[-0.07, -0.12, 0.05], [0.07, 0.06, 0.05], [0.0, -0.02, 0.12]])
    plan = make_plan(FRAMING, face, views=6, face_views=2, frames=3, size=32)
    places = StudioRun(quick=quick, generated=True).places(plan)
    assert places == [Place(view, 0) for view in range(6)]


@pytest.mark.parametrize(("yaw", "name"), [(0, "0-30°"), (-29.9, "0-30°"), (30, "30-60°"), (-120, "120-180°")])
def test_buckets_begin_at_their_lower_bound(yaw: float, name: str) -> None:
    assert studio._bucket(yaw) == name


def test_pictures_are_the_same_every_time_and_rendered_once(pack: Path, person: Truth, tmp_path: Path) -> None:
    again = TruthSet(pack, "cpu", SilentProgress(), tmp_path / "fresh")
    other = again.person(0)
    again.render_missing(other, PLACES[2:])
    for name in ("photo.png", "truth.safetensors", "frames/v004_t000.png"):
        assert (other.photo.parent / name).read_bytes() == (person.photo.parent / name).read_bytes()

    # A pack that is whole by its list of files, but of which no person can be made any more.
    broken = tmp_path / "pack"
    shutil.copytree(pack, broken)
    head = broken / "head_model.npz"
    head.write_bytes(bytes(head.stat().st_size))
    kept = TruthSet(broken, "cpu", SilentProgress(), person.photo.parents[2])
    kept.render_missing(kept.person(0), PLACES)
    with pytest.raises(AssetsError, match=r"head_model.npz is damaged"):
        kept.render_missing(kept.person(0), [Place(1, 0)])


def test_the_true_points_lie_on_the_true_face(person: Truth) -> None:
    """The person stands in the middle of the picture, and the mouth's points open with the jaw."""
    camera = person.plan.cameras[0]
    pixels = camera.project(person.landmarks[0])[0]
    alpha = person.picture(Place(0, 0))[..., 3]
    columns, rows = pixels[:, 0].long(), pixels[:, 1].long()
    assert (alpha[rows, columns] > 0.5).float().mean() > 0.95
    lips = person.landmarks[:, 13, 1] - person.landmarks[:, 14, 1]
    assert int(lips.argmax()) == list(EXPRESSIONS).index("open mouth")
    changed = (person.picture(Place(0, 2)) - person.picture(Place(0, 0))).abs().amax(-1)
    assert changed.max() > 0.05
    picture = np.array(Image.open(person.photo))
    assert picture.shape == (64, 64, 3)
    assert abs(int(picture[0, 0, 0]) - 191) <= 1  # the wall


def test_missing_assets_and_a_damaged_cache_are_one_line(pack: Path, person: Truth, tmp_path: Path) -> None:
    with pytest.raises(AssetsError, match=r"^no folder .*nowhere: the studio needs the pack"):
        TruthSet(tmp_path / "nowhere", "cpu", SilentProgress())
    truths = TruthSet(pack, "cpu", SilentProgress(), tmp_path)
    damaged = tmp_path / truths.version / "studio-00"
    damaged.mkdir(parents=True)
    (damaged / "truth.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(WorkspaceError, match=r"studio-00 is damaged .*: delete it"):
        truths.person(0)


def test_the_command_wants_assets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, code, message in (
        (["--benchmark", "studio"], 2, "--benchmark studio wants --assets FOLDER"),
        (["--quick"], 2, "add --benchmark studio"),
        (["--benchmark", "studio", "--assets", str(tmp_path / "nowhere")], 1, "nowhere: the studio needs the pack"),
    ):
        monkeypatch.setattr(sys, "argv", ["avatar", "eval", *arguments, "--device", "cpu"])
        with pytest.raises(SystemExit) as leaving:
            main()
        said = capsys.readouterr().err
        assert leaving.value.code == code
        assert message in said
        assert said.count("\n") == 1


def test_a_photo_without_a_face_is_a_row_with_its_reason(pack: Path, person: Truth, tmp_path: Path) -> None:
    shutil.copytree(person.photo.parents[1], tmp_path / person.photo.parents[1].name)
    photo = tmp_path / person.photo.parents[1].name / "studio-00" / "photo.png"
    Image.new("RGB", (256, 256), (190, 190, 190)).save(photo)
    run = StudioRun(people=1, quick=True, generated=True)
    report = evaluate_studio(
        run, pack, Workspace(tmp_path / "w"), CreateConfig(), "cpu", SilentProgress(), cache=tmp_path
    )
    ((name, reason, keys),) = report.failures()
    assert (name, keys) == ("studio-00", list(run.metric_keys()))
    assert "no face found" in reason
    assert report.settings["truth"] == person.photo.parents[1].name


def judge_of(result: Result, truth: Truth) -> Judge:
    """For pictures that are there already: no set renders any."""
    return Judge(result, StudioRun(), None, truth, Instruments("cpu"))  # type: ignore[arg-type]


def test_an_avatar_that_is_the_truth_is_perfect_and_a_shifted_one_is_not(
    person: Truth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVATAR_EVAL_WEIGHTS", str(tmp_path))

    def drawn(shift: int) -> Result:
        def draw(place: Place) -> Rasterized:
            picture = person.picture(place).roll(shift, dims=1)
            return Rasterized(picture[..., :3] + (1 - picture[..., 3:]), picture[..., 3])

        result = Result("perfect")
        judge_of(result, person).views("", person.plan, PLACES, person.picture, draw)
        return result

    perfect, shifted = drawn(0), drawn(3)
    assert perfect.values["0-30°.psnr"] > 45  # 8 bits
    assert perfect.values["0-30°.iou"] == pytest.approx(1)
    assert shifted.values["60-120°.psnr"] < 30
    assert shifted.values["60-120°.iou"] < 0.95
    # What no camera saw, and what has no weights, fails with its reason.
    assert perfect.failures["120-180°.iou"] == "no camera stands 120-180° from the front"
    assert "avatar weights judges" in perfect.failures["0-30°.lpips_alex"]
    assert [comparison.name for comparison in perfect.comparisons] == ["neutral 0°", "open mouth 0°", "neutral 90°"]


def test_a_frozen_face_is_found_out_by_the_known_points() -> None:
    """Every face of the truth moves the same points by a little; the picture stays as it is."""
    picture = np.array(Image.open(PHOTO).convert("RGB"))
    side = picture.shape[0]
    points = torch.from_numpy(detect_face(picture).points)
    camera = Camera(
        torch.eye(4)[None], torch.tensor([[[500.0, 0, side / 2], [0, 500, side / 2], [0, 0, 1]]]), side, side
    )
    neutral = camera[0].unproject(points, torch.ones(478))
    moves = torch.randn(len(EXPRESSIONS), 478, 3, generator=torch.Generator().manual_seed(0)) * 0.004
    moves[0], moves[..., 2] = 0, 0
    plan = truth_plan(FRAMING)
    frozen = Truth(0, "frozen", replace(plan, cameras=camera), neutral + moves, PHOTO, video=None)  # type: ignore[arg-type]
    result = Result("frozen")
    judge_of(result, frozen).faces("", [0], lambda place: picture)
    assert not result.failures
    assert result.values["neutral.akd"] < 0.1
    assert result.values["smile.akd"] > 3
    assert abs(result.values["expression.response"]) < 0.01
    # Nothing of what was driven is seen: the error is all of it.
    driven = plan.parameters.expression[1:]
    assert result.values["expression.scores"] == pytest.approx(float(driven[driven > 0].mean()), abs=1e-5)
    blank = Result("blank")
    judge_of(blank, frozen).faces("", [0], lambda place: np.zeros_like(picture))
    assert blank.failures["smile.akd"].startswith("neutral: no face found")
