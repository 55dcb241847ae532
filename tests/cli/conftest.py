"""Running `avatar` as a user does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from avatarcli.cli.main import main
from avatarcli.config import CreateConfig, to_json
from avatarcli.records import Manifest
from avatarcli.workspace import Workspace
from toy_command import Avatar, Done, commit_stage

DataCommand = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def avatar_data(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> DataCommand:
    """Exit code, stdout and stderr's lines of `avatar data …`."""

    def run(*arguments: object) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "argv", ["avatar", "data", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        said = capfd.readouterr()
        return code, said.out, said.err.splitlines()

    return run


@pytest.fixture
def avatar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Avatar:
    """Runs `avatar` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("AVATAR_WORKSPACE", "AVATAR_WEIGHTS", "AVATAR_DEBUG"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object, **environment: str) -> Done:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["avatar", *map(str, arguments)])
            for name, value in environment.items():
                patch.setenv(name, value)
            capfd.readouterr()
            try:
                main()
                code = 0
            except SystemExit as leaving:
                code = int(leaving.code or 0)
        said = capfd.readouterr()
        return Done(code, said.out, said.err)

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
