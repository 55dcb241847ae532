"""Fetching models, from a hub on this machine that speaks as much of Hugging Face's protocol as is used."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.checkpoints import load_transformer, save_int8
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import UsageError, WeightsError
from avatarcli.progress import SilentProgress
from avatarcli.weights.download import pull_model
from avatarcli.weights.models import ENVIRONMENT_VARIABLE, find_model, find_transformer, model_digest

LARGE = "transformer/large.safetensors"
COMMIT = "a" * 40


class Hub(ThreadingHTTPServer):
    """A hub with one repository. cut: break down after so many bytes of a file; requests: the Range of every file's request."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.sizes: dict[str, int] = {}
        self.cut: int | None = None
        self.requests: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def listing(self) -> dict[str, Any]:
        siblings = []
        for name, content in self.files.items():
            size = self.sizes.get(name, len(content))
            entry: dict[str, Any] = {"rfilename": name, "size": size}
            entry["blobId"] = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            if name.endswith(".safetensors"):
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": size, "pointerSize": 130}
            siblings.append(entry)
        return {"id": "ada/toy-model", "sha": COMMIT, "siblings": siblings}


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/ada/toy-model/revision/main"):
            return self._answer(200, json.dumps(self.server.listing()).encode())
        prefix = f"/ada/toy-model/resolve/{COMMIT}/"
        name = self.path.removeprefix(prefix)
        if not self.path.startswith(prefix) or name not in self.server.files:
            return self._answer(404, b"{}")
        content, wanted = self.server.files[name], self.headers.get("Range")
        self.server.requests.append((name, wanted))
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if self.server.cut == 0:
            return self._answer(500, b"{}")
        extra = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if wanted else {}
        self._answer(206 if wanted else 200, content[start:], extra, self.server.cut)
        if self.server.cut is not None and len(content) - start > self.server.cut:
            self.server.cut = 0
        return None

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: int | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None and cut < len(body):
            self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A toy model, and what must not be fetched beside it."""
    folder = tmp_path_factory.mktemp("toy")
    torch.manual_seed(0)
    save_int8(MultiViewVideoTransformer(1, 16, 1, time_embed_dim=8), folder / "transformer")
    save_int8(SmallVideoAutoencoder((8, 8, 8), 8), folder / "vae")
    content = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    # The hub's library writes ten mebibytes at a time.
    large = random.Random(0).randbytes(24 << 20)
    return {
        **content,
        LARGE: large,
        "README.md": b"# toy",
        "transformer/code.py": b"print()",
        "transformer/old.bin": b"pickle",
    }


@pytest.fixture
def hub(files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "models"))
    server = Hub(dict(files))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_pulled_model_is_found_by_name_and_loads(hub: Hub, tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = pull_model("ada/toy-model", None, SilentProgress())
    assert folder == tmp_path / "models" / "toy-model" == find_model("toy-model")
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    wanted = {name for name in files if name.startswith(("transformer/", "vae/")) and name[-3:] not in (".py", "bin")}
    assert found.keys() == wanted | {"source.json"}
    assert all(found[name].read_bytes() == files[name] for name in wanted)
    assert json.loads(found["source.json"].read_text())["commit"] == COMMIT
    assert load_transformer(find_transformer("toy-model")).config.num_layers == 1
    asked = len(hub.requests)
    assert pull_model("ada/toy-model", None, SilentProgress()) == folder
    assert len(hub.requests) == asked  # nothing is fetched twice

    # By its page's address, to another place; the place does not change what it is.
    elsewhere = pull_model(f"{hub.address}/ada/toy-model/tree/main", tmp_path / "here", SilentProgress())
    assert elsewhere == tmp_path / "here"
    assert model_digest(elsewhere) == model_digest(folder)


def test_a_fetch_that_was_cut_off_goes_on_where_it_was(hub: Hub) -> None:
    # The hub's library writes ten mebibytes at a time.
    hub.files[LARGE] = random.Random(0).randbytes(24 << 20)
    hub.cut = 22 << 20
    with pytest.raises(WeightsError, match="run the command again; it continues where it stopped") as caught:
        pull_model("ada/toy-model", None, SilentProgress())
    assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match="no model of that name was pulled"):
        find_model("toy-model")
    hub.cut = None
    hub.requests.clear()
    folder = pull_model("ada/toy-model", None, SilentProgress())
    assert (folder / LARGE).read_bytes() == hub.files[LARGE]
    ranges = dict(hub.requests)
    assert int((ranges[LARGE] or "bytes=0-").removeprefix("bytes=").rstrip("-")) >= 10 << 20
    assert len(hub.requests) == len(ranges)
    assert not list(folder.parent.glob(".*"))


def test_damage_on_the_way_is_noticed(hub: Hub, tmp_path: Path) -> None:
    for name in ("vae/model.int8.safetensors", "transformer/config.json"):
        whole, listing = hub.files[name], hub.listing()
        hub.files[name] = bytes([whole[0] ^ 1]) + whole[1:]
        hub.listing = lambda listing=listing: listing  # type: ignore[method-assign]
        with pytest.raises(WeightsError, match=f"{name} of ada/toy-model arrived damaged"):
            pull_model("ada/toy-model", None, SilentProgress())
        hub.files[name] = whole
    pull_model("ada/toy-model", None, SilentProgress())


def test_what_cannot_be_fetched_is_said_in_a_line(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(name: str, words: str, kind: type[Exception] = WeightsError, to: Path | None = None) -> None:
        with pytest.raises(kind, match=words) as caught:
            pull_model(name, to, SilentProgress())
        assert "\n" not in str(caught.value)

    refused("ada/other", "cannot fetch ada/other")
    refused("ftp://x/a/b", "names no model", UsageError)
    refused("just-a-name", "names no model: use cogvideox-2b", UsageError)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    refused("ada/toy-model", "taken is in the way", to=tmp_path / "taken")
    hub.sizes["vae/model.int8.safetensors"] = 10**18
    refused("ada/toy-model", "1000000000.0 GB are to be fetched .* --to")
    for name in [name for name in hub.files if name.startswith("vae/")]:
        del hub.files[name]
    refused("ada/toy-model", "is not a model for avatarcli: it needs transformer/ and autoencoder/ or vae/")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    refused("cogvideox-2b", "cannot fetch zai-org/CogVideoX-2b from http://127.0.0.1:9")
    assert not (tmp_path / "models").exists() or not list((tmp_path / "models").iterdir())
