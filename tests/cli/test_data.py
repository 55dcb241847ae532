"""`avatar data studio`: what it says and how it leaves when it cannot work. What it makes is tested with the studio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

DataCommand = Callable[..., tuple[int, str, list[str]]]


def test_help_has_an_example_of_the_command(avatar_data: DataCommand) -> None:
    for command in (("--help",), ("studio", "--help")):
        code, out, _ = avatar_data(*command)
        assert code == 0
        assert "Example: avatar data studio --assets" in out


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--views", 0),
        ("--subjects", 0),
        ("--frames", 4),
        ("--size", 100),
        ("--split", "test"),
        ("--seed", -1),
        ("--device", "tpu"),
    ],
)
def test_wrong_usage_leaves_with_2_and_no_files(
    options: tuple[object, ...], tmp_path: Path, avatar_data: DataCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    places = ("--assets", "pack", "--out", "samples") if options else ()
    code, out, lines = avatar_data("studio", *places, *options)
    assert code == 2
    assert out == ""
    assert not any("Traceback" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_pack_says_where_it_comes_from(
    tmp_path: Path, avatar_data: DataCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, lines = avatar_data("studio", "--assets", "pack", "--out", "samples", "--device", "cpu")
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert "pack" in lines[0]
    assert "MakeHuman" in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_missing_clips_and_autoencoders_are_one_line(
    tmp_path: Path, avatar_data: DataCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    places = ("studio", "--assets", "pack", "--out", "samples", "--device", "cpu")
    for option in ("--clips", "--autoencoder"):
        code, _, lines = avatar_data(*places, option, "gone")
        assert (code, len(lines)) == (1, 1)
        assert lines[0].startswith("error: ")
        assert "gone" in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda_is_one_line(tmp_path: Path, avatar_data: DataCommand) -> None:
    places = ("--assets", tmp_path / "pack", "--out", tmp_path / "samples")
    code, _, lines = avatar_data("studio", *places, "--device", "cuda")
    assert (code, len(lines)) == (1, 1)
    assert "--device cpu" in lines[0]
