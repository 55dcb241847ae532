"""What tests of the command line share: how a command ended, and stages without meaning."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from avatarcli.cli.main import main
from avatarcli.workspace import Subject


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


Avatar = Callable[..., Done]


def run_main(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: object) -> Done:
    """What `avatar` with these arguments says, and how it leaves, in this process."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["avatar", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as leaving:
            code = int(leaving.code or 0)
    said = capfd.readouterr()
    return Done(code, said.out, said.err)


def commit_stage(subject: Subject, stage: str, text: str, made_from: tuple[str, ...] = ()) -> None:
    """Finish a stage whose one file holds a text."""
    name = {"preprocess": "source.jpg", "generate": "transforms.json", "distill": "avatar.safetensors"}[stage]
    records = {earlier: subject.record(earlier) for earlier in made_from}
    with subject.lock():
        (subject.begin(stage, "f") / name).write_text(text)
        inputs = {earlier: record.content for earlier, record in records.items() if record is not None}
        subject.commit(stage, "f", 1.0, inputs)


def is_one_line_error(done: Done, code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert all(word in lines[0] for word in words), lines[0]
    assert done.stdout == ""
