"""The recipes of docs/batch.md, run as they stand there, with a program that only notes how it was called as `avatar`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "batch.md"
NOTE = """#!/bin/bash
echo "${OMP_NUM_THREADS:-}|${CUDA_VISIBLE_DEVICES:-}|$*" >> calls.txt
for argument; do [[ $argument != *bad* ]] || exit 1; done
"""


def recipe(language: str, word: str) -> str:
    """The code block that holds a word."""
    blocks = re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    (found,) = [block for block in blocks if word in block]
    return str(found)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photos and the noting program."""
    (tmp_path / "photos").mkdir()
    for name in ("ada", "bad", "eve"):
        (tmp_path / "photos" / f"{name}.jpg").write_text(name)
    program = tmp_path / "bin" / "avatar"
    program.parent.mkdir()
    program.write_text(NOTE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(script: str) -> tuple[int, list[str]]:
    """The script's exit code, and the calls of `avatar`, sorted."""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    calls = Path("calls.txt").read_text().splitlines() if Path("calls.txt").exists() else []
    return done.returncode, sorted(calls)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make(place: Path) -> None:
    (place / "Makefile").write_text(recipe("make", "PHOTOS"))
    code, calls = run(recipe("bash", "make -j"))
    assert code == 2  # make's, for a bad photo
    assert calls == [
        f"4||create photos/{name}.jpg --workspace avatars --subject {name} --quiet" for name in ("ada", "bad", "eve")
    ]


def test_xargs(place: Path) -> None:
    code, calls = run(recipe("bash", "xargs"))
    assert code == 123  # xargs', for a bad photo
    assert calls == ["4||create --quiet photos/ada.jpg photos/bad.jpg photos/eve.jpg"]


@pytest.mark.skipif(shutil.which("parallel") is None, reason="GNU parallel is not installed")
def test_parallel(place: Path) -> None:
    code, calls = run(recipe("bash", "parallel"))
    assert code == 1
    assert [call.split("|")[2] for call in calls] == [
        f"create photos/{name}.jpg --quiet" for name in ("ada", "bad", "eve")
    ]
    assert all(call.split("|")[1] in "0123" for call in calls)


def test_a_slurm_array(place: Path) -> None:
    (place / "photos.txt").write_text("photos/ada.jpg\nphotos/with space.jpg\n")
    script = recipe("bash", "#SBATCH")
    for task in range(2):
        assert run(f"export SLURM_ARRAY_TASK_ID={task} SLURM_CPUS_PER_TASK=4\n{script}")[0] == 0
    assert run("true")[1] == [
        f"4||create photos/{name}.jpg --workspace avatars --quiet" for name in ("ada", "with space")
    ]
