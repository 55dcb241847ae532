"""`avatar data photos`, `multiview` and `skins`: what they say when they cannot work. What they make has tests of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

DataCommand = Callable[..., tuple[int, str, list[str]]]


@pytest.mark.parametrize("command", ["photos", "multiview", "skins"])
def test_help_has_an_example(command: str, avatar_data: DataCommand) -> None:
    code, out, _ = avatar_data(command, "--help")
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
    avatar_data: DataCommand,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    left, out, lines = avatar_data(*arguments, "--out", "made")
    assert left == code
    assert out == ""
    assert word in "\n".join(lines)
    assert not any("Traceback" in line for line in lines)
    assert list(tmp_path.iterdir()) == []
