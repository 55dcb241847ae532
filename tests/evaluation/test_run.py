"""The evaluation of a real avatar, and what becomes of failures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from avatarcli.capture.preprocessed import Preprocessed
from avatarcli.config import CreateConfig
from avatarcli.datasets.benchmarks import Case, Target, load_benchmark
from avatarcli.errors import UsageError
from avatarcli.evaluation.alignment import whole_photo
from avatarcli.evaluation.behaviour import expression_scores
from avatarcli.evaluation.html import report_page
from avatarcli.evaluation.results import Comparison, Report, Result, report_table
from avatarcli.evaluation.run import evaluate_cases, evaluate_subjects, metric_keys
from avatarcli.evaluation.sitter import SIZE, Sitter
from avatarcli.evaluation.targets import align
from avatarcli.evaluation.views import compare, photo_view, pixel_scores, silhouette_overlap
from avatarcli.progress import SilentProgress
from avatarcli.workspace import Subject, Workspace
from example_photo import PHOTO


@pytest.fixture(scope="module")
def sitter(astronaut: Subject) -> Sitter:
    avatar = astronaut.stage_path("distill") / "avatar.safetensors"
    return Sitter.load("astronaut", astronaut.stage_path("preprocess"), avatar, seconds=1.0, device="cpu")


def test_without_weights_everything_else_is_measured_and_the_rest_fails_aloud(
    astronaut: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVATAR_EVAL_WEIGHTS", str(tmp_path))
    report = evaluate_subjects([astronaut], "cpu", SilentProgress())
    (result,) = report.results
    needs_weights = {
        key for key in metric_keys(()) if key.rsplit(".", 1)[-1] in ("lpips_alex", "lpips_vgg", "l2", "csim")
    }
    assert set(result.failures) == needs_weights
    assert set(result.values) == set(metric_keys(())) - needs_weights
    assert all("run `avatar weights judges`" in reason for reason in result.failures.values())
    rows = {row[0]: row for row in report_table(report)}
    assert rows["photo.lpips_alex"][2:] == ("failed", "", "", "0 of 1, 1 failed")
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["summary"]["photo.psnr"]["measured"] == 1
    page = report_page(report)
    assert "avatar weights judges" in page
    assert page.count("data:image/jpeg") == 4  # photo, truth, render, error
    # An avatar laid out from the photo looks like it, and its landmarks agree.
    assert result.values["photo.psnr"] > 17
    assert result.values["photo.iou"] > 0.85
    assert result.values["3d.triangulation"] < 5
    assert result.values["temporal.flicker"] < 3


def test_the_place_of_the_crop_is_kept_and_found_again_for_older_workspaces(sitter: Sitter, tmp_path: Path) -> None:
    sitter.photo.save(tmp_path)
    kept = Preprocessed.load(tmp_path)
    assert kept.place == sitter.photo.place
    (tmp_path / "crop.json").unlink()
    older = Preprocessed.load(tmp_path)
    assert older.place is None
    camera, again = whole_photo(kept, PHOTO), whole_photo(older, PHOTO)
    with Image.open(PHOTO) as picture:
        assert (camera.width, camera.height) == (again.width, again.height) == picture.size
    assert (camera.K - again.K).abs().max() < 2  # pixels
    moved = whole_photo(replace(kept, place=replace(kept.place, left=kept.place.left + 30)), PHOTO)
    assert float(moved.K[0, 2] - camera.K[0, 2]) == pytest.approx(30)


def test_a_frozen_face_is_found_out(sitter: Sitter) -> None:
    """Bound to the still mesh, the Gaussians do not follow the face."""
    faces = len(sitter.avatar.head.model.faces)
    avatar = replace(sitter.avatar, binding=sitter.avatar.binding % faces + faces)
    frozen = replace(sitter, avatar=avatar, rig=avatar.rig())
    distance, response, error = expression_scores(sitter)
    frozen_distance, frozen_response, frozen_error = expression_scores(frozen)
    assert response > 0.7
    assert abs(frozen_response) < 0.1
    assert frozen_distance > distance
    assert frozen_error > error + 0.1


def test_another_view_than_the_photos_is_found_out(sitter: Sitter) -> None:
    comparison, iou = photo_view(sitter)
    camera = sitter.photo.track.camera.resized(SIZE, SIZE).cropped(20, 0, SIZE, SIZE)
    drawn = sitter.draw(sitter.photo.track.parameters(), camera)
    portrait, everywhere = sitter.photo.portrait.resized(SIZE), torch.ones(SIZE, SIZE)
    shifted = compare("shifted", portrait, drawn, everywhere)
    assert pixel_scores(shifted)[0] < pixel_scores(comparison)[0] - 0.5
    assert pixel_scores(shifted)[1] < pixel_scores(comparison)[1]
    assert silhouette_overlap(portrait, drawn, everywhere) < iou


def test_alignment_finds_the_photos_own_camera(sitter: Sitter) -> None:
    """By landmarks and by silhouette alike, the photo that the avatar was made of is its best view."""
    _, iou = photo_view(sitter)
    for yaw in (None, 0.0):
        aligned = align(sitter, Target("again", PHOTO, yaw))
        drawn = sitter.draw(aligned.parameters, aligned.camera)
        assert (aligned.face is None) == (yaw is not None)
        assert silhouette_overlap(aligned.portrait, drawn, aligned.region) > iou - 0.08


def test_a_subject_that_cannot_be_made_costs_all_its_numbers(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    case = Case("empty", tmp_path / "empty.jpg", (Target("profile", tmp_path / "none.jpg", 90.0),))
    report = evaluate_cases("self", [case], Workspace(tmp_path / "w"), CreateConfig(), "cpu", SilentProgress())
    assert report.failures() == [("empty", report.results[0].failures["photo.psnr"], list(metric_keys(case.targets)))]
    assert "empty.jpg is empty" in report.results[0].failures["profile.iou"]


def test_the_mean_names_what_it_leaves_out_and_the_page_begins_with_the_worst() -> None:
    blank = torch.zeros(16, 16, 3)
    good = Result("good", {"photo.lpips_alex": 0.1, "photo.psnr": 30.0})
    bad = Result("bad", {"photo.lpips_alex": 0.5, "photo.psnr": 20.0})
    lost = Result("lost")
    lost.fail(("photo.lpips_alex", "photo.psnr"), "no face in the photo")
    for result in (good, bad):
        result.comparisons.append(Comparison("photo", blank, blank, blank[..., 0]))
    report = Report("self", {}, [good, bad, lost])
    rows = {row[0]: row for row in report_table(report)}
    assert rows["photo.psnr"] == ("photo.psnr", "↑", "25.00 dB", "20.00", "bad", "2 of 3, 1 failed")
    assert rows["photo.lpips_alex"][2:5] == ("0.300", "0.500", "bad")
    page = report_page(report)
    places = [page.index(f"<h2>{name}</h2>") for name in ("lost", "bad", "good")]
    assert places == sorted(places)


def test_benchmarks_are_lists_of_cases(tmp_path: Path) -> None:
    (tmp_path / "Anna Maria.JPG").write_bytes(b"x")
    (tmp_path / "notes.txt").write_bytes(b"x")
    assert load_benchmark("self", tmp_path) == [Case("anna-maria", tmp_path / "Anna Maria.JPG", ())]
    london = load_benchmark("london", tmp_path)
    assert len(london) == 20
    assert [target.yaw for target in london[0].targets] == [None, None, 90, -90, None]
    assert london[-1].photo == tmp_path / "173_neutral_front.jpg"
    assert len(load_benchmark("london", tmp_path, limit=3)) == 3


def test_given_photos_make_the_avatar_and_do_not_judge_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = load_benchmark("london", tmp_path, limit=1, given=("profile-left", "3/4-right"))
    (case,) = cases
    assert [photo.name for photo in case.further] == ["123_neutral_right_3quarter.jpg", "123_neutral_left_profile.jpg"]
    assert [target.name for target in case.targets] == ["3/4-left", "profile-right", "smiling"]
    # The avatar of the front alone keeps its place in the workspace.
    assert case.name != load_benchmark("london", tmp_path, limit=1)[0].name

    made_of: list[Path] = []

    def refuse(subject: Subject, photo: Path, *_: object, further: tuple[Path, ...]) -> None:
        made_of.extend([photo, *further])
        raise UsageError("not today")

    monkeypatch.setattr("avatarcli.evaluation.run.run_pipeline", refuse)
    report = evaluate_cases("london", cases, Workspace(tmp_path / "w"), CreateConfig(), "cpu", SilentProgress())
    assert made_of == [case.photo, *case.further]
    judged_by = {key.rsplit(".", 1)[0] for key in report.results[0].failures}
    assert judged_by >= {"3/4-left", "profile-right", "smiling"}
    assert not judged_by & {"3/4-right", "profile-left"}


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("london", ["profile"], "no photo that is called 'profile': it has 3/4-left, 3/4-right, profile-left"),
        ("london", ["3/4-left", "3/4-right", "profile-left", "profile-right", "smiling"], "leave out one --given"),
        ("self", ["profile-left"], "one photo of each person"),
    ],
)
def test_photos_that_cannot_be_given_are_refused(name: str, given: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match=message):
        load_benchmark(name, tmp_path, given=given)


@pytest.mark.parametrize(
    ("name", "message"), [("paris", "no benchmark is called 'paris'; there are self, london"), ("self", "has no cases")]
)
def test_a_benchmark_without_cases_is_refused(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        load_benchmark(name, tmp_path)
