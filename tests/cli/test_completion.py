"""What the shell offers after Tab: commands, options, their values, and the names of avatars."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from avatarcli.workspace import Workspace

LINES = {
    "avatar ren": ["render"],
    "avatar create --pres": ["--preset"],
    "avatar create --preset ": ["draft", "standard", "high"],
    "avatar clip tr": ["trim"],
    "avatar render --subject ": ["ada", "adele"],
    "avatar eval adel": ["adele"],
    "avatar info --workspace empty --subject ": [],
}
ASKED = {  # how typer's functions for these shells ask
    "zsh": lambda line: {"_AVATAR_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line},
    "fish": lambda line: {
        "_AVATAR_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_WORD_TO_COMPLETE": line.split(" ")[-1],
    },
}


@pytest.fixture
def shell(ada: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with avatars of ada and adele, and with `avatar` on the path."""
    shutil.copytree(ada.root / "ada", ada.root / "adele")
    command = tmp_path / "bin" / "avatar"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from avatarcli.cli.main import main; main()" "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("AVATAR_WORKSPACE", raising=False)
    monkeypatch.chdir(tmp_path)
    return command


def said(*command: str, **environment: str) -> str:
    return subprocess.run(
        command, env={**os.environ, **environment}, check=True, capture_output=True, text=True, timeout=60
    ).stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes(shell: Path) -> None:
    script = 'eval "$(_AVATAR_COMPLETE=source_bash avatar)"\n'
    for line in LINES:
        words = " ".join(f"'{word}'" for word in line.split(" "))
        script += (
            f'COMP_WORDS=({words}); COMP_CWORD={line.count(" ")}; _avatar_completion avatar; echo "${{COMPREPLY[*]}}"\n'
        )
    offered = said("bash", "--norc", "-c", script).splitlines()
    assert dict(zip(LINES, offered, strict=True)) == {line: " ".join(words) for line, words in LINES.items()}


@pytest.mark.parametrize("name", sorted(ASKED))
def test_other_shells_are_offered_the_same(shell: Path, name: str) -> None:
    assert f"complete_{name}" in said(str(shell), _AVATAR_COMPLETE=f"source_{name}")
    for line in ("avatar ren", "avatar render --subject "):
        offered = said(str(shell), **ASKED[name](line))
        assert all(word in offered for word in LINES[line])
        assert "Traceback" not in offered


def test_a_workspace_that_cannot_be_read_offers_nothing(shell: Path) -> None:
    asked = {"_AVATAR_COMPLETE": "complete_bash", "COMP_WORDS": "avatar info -w bin/avatar -s ", "COMP_CWORD": "5"}
    assert said(str(shell), **asked).strip() == ""
