"""`avatar data photos`, `multiview` and `skins`: what they say when they cannot work. What they make has tests of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from avatarcli.cli.main import main


def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, list[str]]:
    """Exit code, stdout and stderr's lines of `avatar data …`."""
    monkeypatch.setattr(sys, "argv", ["avatar", "data", *map(str, arguments)])
    capfd.readouterr()
    try:
        main()
        code = 0
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    said = capfd.readouterr()
    return code, said.out, said.err.splitlines()


@pytest.mark.parametrize("command", ["photos", "multiview", "skins"])
def test_help_has_an_example(command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(monkeypatch, capfd, command, "--help")
    assert code == 0
    assert f"Example: avatar data {command} --folder" in out


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("photos", "--folder", "gone", "--layout", "london"), 2, "gone"),
        (("photos", "--folder", "gone"), 2, "gone"),
        (("photos", "--folder", ".", "--size", 50), 2, "--size"),
        (("photos", "--folder", ".", "--layout", "faces"), 2, "faces"),
        (("multiview", "--folder", "gone", "--layout", "ava256"), 2, "gone"),
        (("multiview", "--folder", ".", "--layout", "nersemble"), 1, "camera_params.json"),
        (("multiview", "--folder", ".", "--frames", 2), 2, "--frames"),
        (("skins", "--folder", "gone"), 2, "gone"),
    ],
)
def test_what_cannot_work_leaves_no_files(
    arguments: tuple[object, ...],
    code: int,
    word: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    left, out, lines = run(monkeypatch, capfd, *arguments, "--out", "made")
    assert left == code
    assert out == ""
    assert word in "\n".join(lines)
    assert not any("Traceback" in line for line in lines)
    assert list(tmp_path.iterdir()) == []
