"""`avatar create --dry-run`: what would be done is said, and nothing is done. And names for scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from avatarcli.config import CreateConfig, to_json
from avatarcli.records import Manifest
from avatarcli.stages.naming import photo_hash
from avatarcli.stages.pipeline import PIPELINE
from avatarcli.stages.runner import stage_fingerprint
from avatarcli.workspace import Subject, Workspace
from toy_command import Avatar, commit_stage


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "eve.png"
    Image.new("RGB", (200, 200), "tan").save(path)
    return path


def make(subject: Subject, photo: Path, *names: str) -> None:
    """Finish stages as if the pipeline had run them."""
    sha256 = photo_hash(photo)
    for stage in PIPELINE:
        if stage.name not in names:
            continue
        fingerprint = stage_fingerprint(stage, subject, sha256, CreateConfig())
        records = [subject.record(earlier) for earlier in stage.after]
        with subject.lock():
            (subject.begin(stage.name, fingerprint) / "file").write_text(stage.name)
            inputs = {name: r.content for name, r in zip(stage.after, records, strict=True) if r is not None}
            subject.commit(stage.name, fingerprint, 1.0, inputs)
    subject.save_manifest(Manifest(subject.name, str(photo), sha256, to_json(CreateConfig())))


def test_what_is_finished_is_not_to_do(avatar: Avatar, photo: Path, tmp_path: Path) -> None:
    def to_do(*options: str) -> list[str]:
        (subject,) = json.loads(avatar("create", photo, "--dry-run", "--json", *options).stdout)["subjects"]
        assert (subject["subject"], subject["photo"]) == ("eve", str(photo))
        stages: list[str] = subject["to_do"]
        return stages

    assert to_do() == ["preprocess", "generate", "distill"]
    assert [path.name for path in tmp_path.iterdir()] == ["eve.png"]  # and no workspace
    subject = Workspace(tmp_path / "avatars").new_subject("eve")
    make(subject, photo, "preprocess")
    assert to_do() == ["generate", "distill"]
    make(subject, photo, "generate", "distill")
    assert to_do() == []
    assert to_do("--set", "distill.gaussians=5000") == ["distill"]
    assert to_do("--force") == ["preprocess", "generate", "distill"]
    assert avatar("create", photo, "--dry-run").stdout == "eve: up to date\n"


def test_what_cannot_work_is_known_before(avatar: Avatar, photo: Path, ada: Workspace, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no picture")
    Image.new("RGB", (40, 400)).save(tmp_path / "small.png")
    done = avatar("create", photo, "notes.jpg", "gone.jpg", "small.png", "--dry-run", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert [subject["subject"] for subject in document["subjects"]] == ["eve"]
    assert [failure["photo"] for failure in document["failed"]] == ["notes.jpg", "gone.jpg", "small.png"]
    assert done.stderr.count("error: ") == 3
    assert avatar("create", photo, "--dry-run", "--subject", "ada").returncode == 2  # ada is of another photo
    assert avatar("create", photo, "--dry-run", "--subject", "ada", "--replace").returncode == 0


def test_names_are_of_those_that_can_be_used(avatar: Avatar, ada: Workspace) -> None:
    commit_stage(ada.new_subject("ben"), "preprocess", "only")
    assert avatar("list", "--names").stdout == "ada\n"
    assert avatar("list", "--names", "--json").returncode == 2


def test_a_list_of_nothing_says_so_beside_stdout(avatar: Avatar) -> None:
    done = avatar("list")
    assert (done.returncode, done.stdout) == (0, "")
    assert "avatar create photo.jpg" in done.stderr
