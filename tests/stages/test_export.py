"""`avatar export`: what it accepts, and whole files or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gsply
import numpy as np
import pytest
import trimesh

from avatarcli.clips.clip import Clip
from avatarcli.config import CreateConfig, to_json
from avatarcli.errors import AvatarError, ExportError, UsageError, WorkspaceError
from avatarcli.export.formats import FORMATS
from avatarcli.gaussians.avatar import Avatar
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.progress import SilentProgress
from avatarcli.records import Manifest
from avatarcli.stages.driver import Driver
from avatarcli.stages.export import export_subject
from avatarcli.stages.export_request import ExportRequest, ExportResult
from avatarcli.workspace import Subject, Workspace


@pytest.fixture
def ada(tmp_path: Path, make_avatar: Callable[..., Avatar]) -> Subject:
    """A subject with an avatar and nothing else."""
    subject = Workspace(tmp_path / "avatars").new_subject("ada")
    with subject.lock():
        make_avatar(200, corrective=0.001).save(subject.begin("distill", "f") / "avatar.safetensors")
        subject.commit("distill", "f", 1.0)
    subject.save_manifest(Manifest("ada", "ada.jpg", "0" * 64, to_json(CreateConfig())))
    return subject


@pytest.fixture
def driver() -> Driver:
    """Five frames in which the jaw drops and the head turns."""
    expression = np.zeros((5, 52), np.float32)
    expression[:, EXPRESSION_INDEX["jawOpen"]] = np.linspace(0, 0.8, 5)
    turn = np.zeros((5, 3), np.float32)
    turn[:, 1] = np.linspace(0, 0.5, 5)
    return Driver(Clip(expression, turn, None, None, 10.0), "drop")


def _export(subject: Subject, out: Path, **request: Any) -> ExportResult:
    return export_subject(subject, out, ExportRequest(**request), progress=SilentProgress())


def _positions(path: Path) -> np.ndarray:
    """What trimesh reads from a PLY [G, 3]."""
    return np.asarray(trimesh.load(path).vertices)


def _heights(path: Path) -> np.ndarray:
    return _positions(path)[:, 1]


def test_the_expression_is_in_the_file(tmp_path: Path, ada: Subject) -> None:
    result = _export(ada, tmp_path / "rest.ply", format="ply")
    _export(ada, tmp_path / "open.ply", format="ply", expression={"jawOpen": 1.0})
    assert (result.files, result.bytes) == (1, (tmp_path / "rest.ply").stat().st_size)
    moved = _heights(tmp_path / "open.ply") - _heights(tmp_path / "rest.ply")
    assert len(moved) == 200
    assert moved.min() < -0.01
    assert np.abs(moved[3::4]).max() < 0.01  # these are bound to the copy that keeps still


def test_a_sequence_has_a_file_a_frame(tmp_path: Path, ada: Subject, driver: Driver) -> None:
    result = _export(ada, tmp_path / "seq", format="ply-sequence", driver=driver)
    names = sorted(path.name for path in (tmp_path / "seq").iterdir())
    assert names == [f"frame_{index:05d}.ply" for index in range(5)]
    assert result.files == 5
    jaws = [_heights(tmp_path / "seq" / name).min() for name in names]
    assert len(set(jaws)) > 1


def test_a_sequence_can_be_resampled_and_the_head_kept_still(tmp_path: Path, ada: Subject, driver: Driver) -> None:
    assert _export(ada, tmp_path / "slow", format="ply-sequence", driver=driver, fps=5.0).files == 3
    _export(ada, tmp_path / "still", format="ply-sequence", driver=driver, head_motion=False)
    first, last = (_positions(tmp_path / "still" / f"frame_0000{i}.ply") for i in (0, 4))
    assert np.abs(first[3::4] - last[3::4]).max() < 0.01


def test_the_page_plays_the_users_clip_first(tmp_path: Path, ada: Subject, driver: Driver) -> None:
    plain = _export(ada, tmp_path / "plain.html", format="html")
    own = _export(ada, tmp_path / "own.html", format="html", driver=driver)
    assert own.bytes > plain.bytes


@pytest.mark.parametrize("name", [name for name, rules in FORMATS.items() if rules.suffix])
def test_a_wrong_ending_is_refused(tmp_path: Path, ada: Subject, name: Any) -> None:
    with pytest.raises(UsageError, match="ends in"):
        _export(ada, tmp_path / "ada.xyz", format=name)
    assert not (tmp_path / "ada.xyz").exists()


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"format": "glb", "expression": {"jawOpen": 1.0}}, "ply, spz"),
        ({"format": "ply", "driver": Driver.load("speech")}, "ply-sequence"),
        ({"format": "ply-sequence"}, "--expr"),
        ({"format": "html", "fps": 30.0}, "--fps is about a clip: add --expr"),
        ({"format": "ply", "fps": 30.0}, "--fps fits the formats ply-sequence"),
        ({"format": "html", "head_motion": False}, "--no-head-motion is about a clip: add --expr"),
        ({"format": "glb", "head_motion": False}, "--no-head-motion fits the formats ply-sequence"),
        ({"format": "ply-sequence", "driver": Driver.load("speech"), "fps": 0.0}, "1 to 240"),
        ({"format": "glb-splats", "up": "z"}, "ply, ply-sequence, spz, sog"),
        ({"format": "ply", "sh_degree": 4}, "0 to 3"),
        ({"format": "spz", "sh_degree": 3}, "ply-sequence"),
        ({"format": "ply", "spz_version": 4}, "spz"),
    ],
)
def test_what_does_not_fit_the_format_is_refused(request_: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ExportRequest(**request_)


def test_a_folder_for_a_file_and_a_full_folder_are_refused(tmp_path: Path, ada: Subject, driver: Driver) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept.txt").write_text("mine")
    with pytest.raises(ExportError, match="not empty"):
        _export(ada, tmp_path / "full", format="ply-sequence", driver=driver)
    with pytest.raises(UsageError, match="leave out the ending"):
        _export(ada, tmp_path / "seq.ply", format="ply-sequence", driver=driver)
    assert (tmp_path / "full" / "kept.txt").read_text() == "mine"


@pytest.mark.parametrize(("name", "out"), [("transforms", "set"), ("glb", "ada.glb")])
def test_a_missing_stage_is_named_and_leaves_nothing(tmp_path: Path, ada: Subject, name: Any, out: str) -> None:
    with pytest.raises(AvatarError, match="avatar create"):
        _export(ada, tmp_path / out, format=name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["avatars"]


def test_a_damaged_avatar_is_refused(tmp_path: Path, ada: Subject) -> None:
    file = ada.stage_path("distill") / "avatar.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(WorkspaceError, match="damaged"):
        _export(ada, tmp_path / "ada.ply", format="ply")
    assert not (tmp_path / "ada.ply").exists()


def test_too_many_frames_leave_no_folder(tmp_path: Path, ada: Subject) -> None:
    frames = 2000
    endless = Clip(np.zeros((frames, 52), np.float32), np.zeros((frames, 3), np.float32), None, None, 30.0)
    with pytest.raises(ExportError, match="cut the clip"):
        _export(ada, tmp_path / "bound", format="gaussianavatars", driver=Driver(endless, "endless"))
    assert not (tmp_path / "bound").exists()


def test_splat_files_stand_as_asked(ada: Subject, tmp_path: Path) -> None:
    heights = {}
    for up in (None, "-y", "z"):
        _export(ada, tmp_path / f"{up}.ply", format="ply", up=up, sh_degree=1)
        data = gsply.plyread(tmp_path / f"{up}.ply")
        heights[up] = np.array(data.means)[:, 2 if up == "z" else 1]
        assert np.array(data.shN).size == 9 * len(heights[up])
    assert np.allclose(heights[None], heights["z"], atol=1e-6)
    assert np.allclose(heights[None], -heights["-y"], atol=1e-6)
    _export(ada, tmp_path / "face.glb", format="glb-splats", expression={"jawOpen": 0.5})
    _export(ada, tmp_path / "face.sog", format="sog")
    # PlayCanvas' readers turn it upright again.
    assert np.median(np.array(gsply.sogread(tmp_path / "face.sog").means)[:, 1]) == pytest.approx(
        -np.median(heights[None]), abs=1e-3
    )
    _export(ada, tmp_path / "face.spz", format="spz", spz_version=4)
    assert (tmp_path / "face.spz").read_bytes()[:5] == b"NGSP\x04"


def test_default_names() -> None:
    names = {request.format: str(request.default_output("ada")) for request in map(_plain, FORMATS)}
    assert names["ply"] == "ada.ply"
    assert names["ply-sequence"] == "ada-speech-ply"
    assert names["gaussianavatars"] == "ada-gaussianavatars"
    assert len(set(names.values())) == len(FORMATS)


def _plain(name: Any) -> ExportRequest:
    return ExportRequest(name, driver=Driver.load("speech") if name == "ply-sequence" else None)
