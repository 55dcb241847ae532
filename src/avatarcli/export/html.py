"""One self-contained HTML page: the avatar, its player and the clips. No server, no network, nothing loaded.

The player's sources are the files of the folder `player` beside this module; they are put into the page as they are.
The page's content security policy forbids every request, so the browser itself holds it to that.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from avatarcli.clips.clip import Clip
from avatarcli.errors import ExportError
from avatarcli.export.origin import Origin
from avatarcli.export.player_data import pack_player_data
from avatarcli.gaussians.avatar import Avatar

# The player's index of vertices and triangles is 16 bits wide.
_MOST_ROWS = 1 << 16

_SCRIPTS = ("decode.js", "camera.js", "renderer.js", "panel.js", "player.js")
_WORKER_SCRIPTS = ("rig.js", "sort.js", "worker.js")


def write_page(path: Path, avatar: Avatar, clips: Mapping[str, Clip], origin: Origin) -> None:
    """Write the page. Raises ExportError when the avatar is too large for the player, OSError."""
    if len(avatar.rig().corners) > _MOST_ROWS:
        raise ExportError("the avatar uses more triangles than the HTML player can hold (65536)")
    about = {"title": origin.title, "statement": origin.statement(), "source": origin.source_uri, "tool": origin.tool}
    data = pack_player_data(avatar, clips, about)
    # The data goes in last and unsearched: everything else is small and ours.
    page = _source("template.html")
    pieces = {
        "title": html.escape(origin.title),
        "statement": html.escape(origin.statement()),
        "tool": html.escape(origin.tool),
        "source_type": html.escape(origin.source_uri),
        "origin": html.escape(origin.to_json()),
        "style": _source("player.css"),
        "worker": "\n".join(map(_source, _WORKER_SCRIPTS)),
        "script": "\n".join(map(_source, _SCRIPTS)),
    }
    for name, text in pieces.items():
        page = page.replace("{{" + name + "}}", text)
    before, after = page.split("{{data}}")
    path.write_text(before + data + after, encoding="utf-8")


def _source(name: str) -> str:
    return (resources.files("avatarcli.export") / "player" / name).read_text(encoding="utf-8")
