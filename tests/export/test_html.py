"""The HTML page: whole, closed to the network, and moving as the avatar does."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import zlib
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avatarcli.clips.clip import Clip
from avatarcli.clips.files import load_clip
from avatarcli.export.html import write_page
from avatarcli.export.origin import Origin
from avatarcli.gaussians.avatar import Avatar
from avatarcli.geometry.rotations import quaternion_to_matrix
from avatarcli.head.parameters import HeadParameters
from origin_reader import from_json


class _Page(HTMLParser):
    """What a browser would find: addresses, metadata, and the text of elements with an id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.meta: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        self._inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.addresses += [values[name] for name in ("src", "href", "srcset", "data", "action") if name in values]
        if tag == "meta":
            self.meta[values.get("name") or values.get("http-equiv", "")] = values.get("content", "")
        self._inside = values.get("id")

    def handle_data(self, data: str) -> None:
        if self._inside is not None:
            self.texts[self._inside] = self.texts.get(self._inside, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._inside = None


@pytest.fixture(scope="module")
def clip() -> Clip:
    return load_clip("tour")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory, toy: Avatar, clip: Clip, mark: Origin) -> str:
    path = tmp_path_factory.mktemp("html") / "toy.html"
    write_page(path, toy, {"tour": clip}, mark)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> _Page:
    return _Page(text)


def _unpack(page: _Page) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    content = zlib.decompress(base64.b64decode(page.texts["avatar-data"]))
    length = int.from_bytes(content[:4], "little")
    header = json.loads(content[4 : 4 + length])
    arrays = {}
    for name, entry in header["arrays"].items():
        start, count = 4 + length + entry["start"], int(np.prod(entry["shape"]))
        values = np.frombuffer(content, "<" + entry["type"], count, start).reshape(entry["shape"])
        arrays[name] = values * entry["scale"] + entry["offset"] if "scale" in entry else values
    return header, arrays


def test_nothing_is_loaded_from_anywhere(text: str, page: _Page) -> None:
    assert page.addresses == ["data:,"]  # the icon that browsers would ask for
    assert "default-src 'none'" in page.meta["Content-Security-Policy"]
    assert "connect-src" not in page.meta["Content-Security-Policy"]
    without_metadata = re.sub(r"<meta[^>]*>", "", text)
    assert not re.search(r"https?://|\bfetch\(|XMLHttpRequest|WebSocket|\bimport\b|@import|url\(", without_metadata)


def test_the_sources_are_in_it_whole(text: str) -> None:
    files = [
        file for file in (resources.files("avatarcli.export") / "player").iterdir() if file.name != "template.html"
    ]
    assert len(files) >= 8
    assert all(file.read_text(encoding="utf-8") in text for file in files)
    assert "{{" not in text


def test_the_page_says_what_it_is(page: _Page, mark: Origin) -> None:
    assert from_json(page.meta["avatarcli:origin"]) == mark
    assert page.meta["digitalsourcetype"] == mark.source_uri
    assert page.texts["origin"] == mark.statement()  # where people see it, too


def test_quantised_data_is_close(page: _Page, toy: Avatar, clip: Clip) -> None:
    header, arrays = _unpack(page)
    assert np.abs(arrays["means"] - toy.means.numpy()).max() < 1e-5  # metres
    assert np.abs(arrays["basis"] - toy.correctives.basis.numpy()).max() < 1e-6
    assert np.abs(arrays["opacities"] - toy.opacity_logits.sigmoid().numpy()).max() < 1 / 255
    assert np.abs(arrays["clip0.expression"] - clip.expression).max() < 1 / 255
    assert header["clips"] == [{"name": "tour", "fps": clip.fps, "frames": len(clip)}]


@pytest.mark.skipif(shutil.which("node") is None, reason="runs the player's JavaScript in Node")
def test_the_player_moves_gaussians_as_we_do(tmp_path: Path, page: _Page, toy: Avatar) -> None:
    """rig.js against `Avatar.splats`, with everything that moves."""
    generator = torch.Generator().manual_seed(3)
    parameters = HeadParameters(
        expression=0.5 * torch.rand(1, 52, generator=generator) ** 2,
        gaze=torch.tensor([[[0.3, -0.1], [0.2, 0.1]]]),
        neck=torch.tensor([[0.2, 0.4, -0.1]]),
        head_pose=torch.eye(4)[None].clone(),
    )
    parameters.head_pose[0, :3, 3] = torch.tensor([0.01, -0.02, 0.03])
    pose = {
        "expression": parameters.expression[0].tolist(),
        "gaze": parameters.gaze.flatten().tolist(),
        "neck": parameters.neck[0].tolist(),
        "translation": parameters.head_pose[0, :3, 3].tolist(),
    }
    player = resources.files("avatarcli.export") / "player"
    (tmp_path / "data.txt").write_text(page.texts["avatar-data"])
    script = (
        "\n".join((player / name).read_text() for name in ("decode.js", "rig.js"))
        + f"""
        decodeAvatar(require("fs").readFileSync("data.txt", "latin1")).then((avatar) => {{
          const rig = new Rig(avatar);
          const triangles = new Float32Array(rig.triangleCount * 16), means = new Float32Array(rig.gaussianCount * 4);
          rig.pose({json.dumps(pose)}, triangles, means);
          console.log(JSON.stringify([Array.from(triangles), Array.from(means)]));
        }});"""
    )
    (tmp_path / "run.js").write_text(script)
    done = subprocess.run(["node", "run.js"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    triangles, means = (np.array(values) for values in json.loads(done.stdout))

    rig = toy.rig()
    motion = rig.motion(parameters)
    ours = toy.splats(rig, parameters).means
    assert np.abs(means.reshape(-1, 4)[:, :3] - ours.numpy()).max() < 2e-5  # metres
    columns = triangles.reshape(-1, 4, 4)[rig.carrier.numpy()]
    affine = columns[:, :3, :3].transpose(0, 2, 1)
    assert np.abs(affine - motion.affine.numpy()).max() < 5e-3
    turn = np.stack([columns[:, :3, 3], columns[:, 3, :3]], axis=-1)
    assert np.abs(turn - quaternion_to_matrix(motion.turn)[..., :2].numpy()).max() < 5e-3
