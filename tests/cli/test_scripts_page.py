"""docs/scripts.md: what it promises of `--json` is what commands print."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from avatarcli.cli.main import app
from avatarcli.gaussians.avatar import Avatar as ToyAvatar
from avatarcli.workspace import Workspace
from toy_command import Avatar

_ROOT = Path(__file__).resolve().parents[2]


def promised() -> dict[str, list[str]]:
    """The keys of each command's document by the page's table."""
    found = {}
    for line in (_ROOT / "docs" / "scripts.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 2 and cells[1].startswith("`"):
            keys = re.findall(r"`(\w+)`", cells[1])
            found.update(dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), keys))
    return found


@pytest.fixture
def drawable(ada: Workspace, make_avatar: Callable[..., ToyAvatar]) -> Workspace:
    """The workspace with an avatar that can be drawn."""
    subject = ada.subject("ada")
    with subject.lock():
        make_avatar(50).save(subject.begin("distill", "f") / "avatar.safetensors")
        subject.commit("distill", "f", 1.0)
    return ada


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("create", ("gone.jpg",)),
        ("create --dry-run", ("gone.jpg",)),
        ("list", ()),
        ("info", ()),
        ("config show", ()),
        ("render", ("--size", "16", "-o", "a.png")),
        ("animate", ("--expr", "speech", "--at", "1", "--size", "16", "-o", "a.png")),
        ("export", ("--format", "ply")),
        ("clip info", ("speech",)),
        ("clip trim", ("speech", "--to", "1", "-o", "a.npz")),
        ("clip retime", ("speech", "--speed", "2", "-o", "a.npz")),
        ("doctor", ()),
        ("weights list", ()),
        ("weights verify", ()),
    ],
)
def test_json_has_the_keys_that_the_page_names(
    avatar: Avatar, drawable: Workspace, command: str, arguments: tuple[str, ...]
) -> None:
    document = json.loads(avatar(*command.split(), *arguments, "--json").stdout)
    assert list(document) == promised()[command]


def with_json(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The names of all commands below a group that have --json."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from with_json(inner, (*path, name))
    if any("--json" in parameter.opts for parameter in command.params):
        yield " ".join(path)


def test_the_page_names_every_command_that_has_json() -> None:
    page = (_ROOT / "docs" / "scripts.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert set(with_json(get_command(app))) - named == set()


def test_every_variable_that_the_page_names_is_read() -> None:
    page = (_ROOT / "docs" / "scripts.md").read_text(encoding="utf-8")
    source = "".join(path.read_text(encoding="utf-8") for path in (_ROOT / "src").rglob("*.py"))
    ours = re.findall(r"^\| `(AVATAR_\w+)`", page, re.MULTILINE)
    assert set(ours) == set(re.findall(r'"(AVATAR_(?!STUDIO)\w+)"', source))
