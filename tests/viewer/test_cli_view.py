"""`avatar view` as a command: what it prints, and how it leaves."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from avatarcli.cli.main import main
from avatarcli.config import CreateConfig, to_json
from avatarcli.gaussians.avatar import Avatar
from avatarcli.records import Manifest
from avatarcli.workspace import Workspace

COMMAND = [sys.executable, "-m", "avatarcli", "view", "--no-open"]


@pytest.fixture
def folder(toy: Avatar, tmp_path: Path) -> Path:
    """A workspace with one subject."""
    workspace = Workspace(tmp_path / "avatars")
    subject = workspace.new_subject("ada")
    with subject.lock():
        toy.save(subject.begin("distill", "f") / "avatar.safetensors")
        subject.commit("distill", "f", 1.0)
    subject.save_manifest(Manifest("ada", "ada.jpg", "0" * 64, to_json(CreateConfig())))
    workspace.remember("ada")
    return workspace.root


def test_it_prints_the_address_and_ends_on_ctrl_c(folder: Path) -> None:
    command = [*COMMAND, "--workspace", str(folder), "--port", "0", "--json", "--quiet", "--device", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = ""
    while not said.endswith("}\n"):
        line = process.stdout.readline()
        assert line, process.stderr
        said += line
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, rest, errors) == (0, "", "")
    document = json.loads(said)
    assert set(document) == {"subject", "url", "device"}
    assert (document["subject"], document["device"]) == ("ada", "cpu")
    assert document["url"].startswith("http://127.0.0.1:")


def test_bad_usage_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AVATAR_DEBUG", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for options, words, code in (
            (["--port", port], f"--port {port} is in use", 2),
            (["--background", "transparent"], "a page has one color", 2),
            (["--expr", "gone.npz"], "no such file", 1),
            (["--subject", "bob"], "no subject 'bob'", 1),
        ):
            arguments = ["avatar", "view", "--no-open", "--workspace", str(folder), *options]
            monkeypatch.setattr(sys, "argv", arguments)
            with pytest.raises(SystemExit) as leaving:
                main()
            said = capfd.readouterr()
            assert leaving.value.code == code
            assert said.err.startswith("error: ")
            assert words in said.err
            assert len(said.err.splitlines()) == 1
            assert said.out == ""
