"""Running `avatar` as a user does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from avatarcli.config import CreateConfig, to_json
from avatarcli.records import Manifest
from avatarcli.workspace import Workspace
from toy_command import Avatar, Done, commit_stage, run_main

DataCommand = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def avatar_data(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> DataCommand:
    """Exit code, stdout and stderr's lines of `avatar data …`."""

    def run(*arguments: object) -> tuple[int, str, list[str]]:
        done = run_main(monkeypatch, capfd, "data", *arguments)
        return done.returncode, done.stdout, done.stderr.splitlines()

    return run


@pytest.fixture
def avatar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Avatar:
    """Runs `avatar` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("AVATAR_WORKSPACE", "AVATAR_WEIGHTS", "AVATAR_DEBUG"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object, **environment: str) -> Done:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            return run_main(patch, capfd, *arguments)

    return run


@pytest.fixture
def ada(tmp_path: Path) -> Workspace:
    """A workspace with one subject, whose stages are files of no meaning."""
    workspace = Workspace(tmp_path / "avatars")
    subject = workspace.new_subject("ada")
    for stage in ("preprocess", "generate", "distill"):
        commit_stage(subject, stage, stage)
    subject.save_manifest(Manifest("ada", "ada.jpg", "0" * 64, to_json(CreateConfig())))
    workspace.remember("ada")
    return workspace
