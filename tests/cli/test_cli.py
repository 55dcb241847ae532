"""The command line: what it says, and how it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avatarcli import __version__
from avatarcli.config import CreateConfig, to_json
from avatarcli.records import Manifest
from avatarcli.workspace import Workspace
from toy_command import Avatar, is_one_line_error

COMMANDS = (
    "create", "preprocess", "generate", "distill", "render", "animate", "track", "view", "export", "eval", "list", "info",
    "doctor", "bench",
    "weights list", "weights verify", "weights pull", "weights judges", "weights null-text",
    "clip info", "clip convert", "clip trim", "clip retime", "clip mix", "clip flame-map",
)  # fmt: skip


def test_version(avatar: Avatar) -> None:
    done = avatar("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"avatarcli {__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_of_the_command(avatar: Avatar, command: str) -> None:
    done = avatar(*command.split(), "--help")
    assert done.returncode == 0
    assert f"Example: avatar {command}" in done.stdout


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom avatarcli.cli.main import app\ntry:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'mediapipe', 'numba', 'av', 'PIL', 'rich', 'scipy', 'safetensors'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"  {command.split()[0]} " in done.stdout for command in COMMANDS)
    assert done.stdout.endswith("loaded: []\n")


def test_who_reads_a_file_says_whether_it_can_be_read(
    avatar: Avatar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typer would ask the system, and refuse a whole batch as wrong usage for one photo; no command leaves that to it."""
    Image.new("RGB", (200, 200), "tan").save(tmp_path / "eve.png")
    (tmp_path / "take.json").write_text('[{"jawOpen": 0.1}]')
    monkeypatch.setattr(os, "access", lambda path, mode, **options: False)
    for command in (("create", "eve.png", "--dry-run"), ("clip", "info", "take.json")):
        assert avatar(*command).returncode == 0
    for command in (
        ("preprocess", "take.json"),
        ("track", "take.json"),
        ("clip", "speech", "take.json", "-o", "a.npz"),
    ):
        assert avatar(*command).returncode == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_photo_that_may_not_be_read_stops_no_others(avatar: Avatar, tmp_path: Path) -> None:
    for name in ("ada.png", "eve.png"):
        Image.new("RGB", (200, 200), "tan").save(tmp_path / name)
    (tmp_path / "ada.png").chmod(0)
    done = avatar("create", "ada.png", "eve.png", "--dry-run", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, [subject["subject"] for subject in document["subjects"]]) == (1, ["eve"])
    assert document["failed"] == [{"photo": "ada.png", "error": "cannot read ada.png: Permission denied"}]


@pytest.mark.parametrize("group", ["", "clip", "config", "data", "train", "weights"])
def test_lists_of_commands_cut_no_sentence_off(avatar: Avatar, group: str) -> None:
    commands = avatar(*group.split(), "--help").stdout.split("Commands:")[1]
    assert "..." not in commands


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("create",),
        ("create", "a.jpg", "--preset", "best"),
        ("create", "a.jpg", "--device", "tpu"),
        ("create", "a.jpg", "--seed", "x"),
        ("create", "a.jpg", "b.jpg", "--subject", "both"),
        ("create", "a.jpg", "--subject", "../escape"),
        ("create", "a.jpg", "b.jpg", "--jobs", "0"),
        ("create", "a.jpg", "b.jpg", "--jobs", "2", "--gpus", "2"),
        ("clip", "trim", "speech", "--from", "soon", "-o", "a.npz"),
        ("clip", "trim", "speech", "-o", "a.csv"),
        ("clip", "trim", "speech", "--from", "2", "--to", "1", "-o", "a.npz"),
        ("clip", "info", "speach"),
        ("clip", "convert", "speech"),
        ("clip", "retime", "speech", "--speed", "0", "-o", "a.npz"),
        ("clip", "retime", "speech", "--fps", "1000", "-o", "a.npz"),
        ("clip", "mix", "speech", "tour", "--region", "nose", "-o", "a.npz"),
        ("clip", "mix", "speech", "tour", "--weights", "1", "-o", "a.npz"),
        ("clip", "mix", "speech", "tour", "--weights", "-1,1", "-o", "a.npz"),
        ("clip", "mix", "speech", "tour", "--crossfade", "1", "--loop", "-o", "a.npz"),
        ("clip", "mix", "speech", "tour", "--crossfade", "nan", "-o", "a.npz"),
        ("create", "a.jpg", "--gpus", "0"),
        ("create", "a.jpg", "--seed", "-1"),
        ("create", "a.jpg", "--seed", str(2**64)),
        ("animate",),
        ("animate", "--video", "0"),
        ("export", "--format", "transforms", "-o", "-"),
        ("render", "--size", "2"),
        ("render", "--expression", "grin=1"),
        ("render", "--background", "whitish"),
        ("render", "--orbit", "360", "--yaw", "20", "--yaw", "30"),
        ("render", "--orbit", "360", "--pitch", "20"),
        ("render", "--pitch", "20", "--elevation", "10"),
        ("render", "--yaw", "20", "--seconds", "2"),
        ("render", "--size", "wide"),
        ("animate", "--expr", "speech", "-o", "-"),
        ("bench", __file__, "--preset", "best"),
    ],
)
def test_wrong_usage_leaves_with_2(avatar: Avatar, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = avatar(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [("create", ""), ("render", "-o", ""), ("list", "--workspace="), ("list", "--workspace", "", "--json")],
)
def test_an_empty_argument_is_not_this_folder(avatar: Avatar, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """It is what a script says whose variable is not set."""
    done = avatar(*arguments)
    assert done.returncode == 2
    assert "error: empty argument" in done.stderr
    assert ("--json" in arguments) == bool(done.stdout)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "a.jpg", "--preset", "best"), "'--preset': 'best' is not one of"),
        (("create", "a.jpg", "--jobs", "x"), "'--jobs': it should be a valid integer"),
        (("create", "a.jpg", "--jobs", "0"), "'--jobs': it should be greater than or equal to 1"),
    ],
)
def test_wrong_values_are_told_without_the_words_of_a_library(
    avatar: Avatar, arguments: tuple[str, ...], said: str
) -> None:
    done = avatar(*arguments, "--json")
    for text in (done.stderr, json.loads(done.stdout)["error"]):
        assert said in text
        assert "Value error" not in text
        assert "Input should be" not in text
        assert "unable to parse" not in text


def test_a_missing_photo_and_a_folder(avatar: Avatar, tmp_path: Path) -> None:
    is_one_line_error(avatar("create", "gone.jpg"), 1, "gone.jpg", "no such file")
    (tmp_path / "photos").mkdir()
    is_one_line_error(avatar("create", "photos"), 1, "photos is a folder", "avatar create photos/*.jpg")
    is_one_line_error(avatar("create", "a" * 300 + ".jpg"), 1, "shorten it")
    os.mkfifo("pipe.jpg")
    is_one_line_error(avatar("create", "pipe.jpg"), 1, "pipe.jpg is a pipe")
    is_one_line_error(avatar("bench", "pipe.jpg"), 1, "pipe.jpg is a pipe")
    is_one_line_error(avatar("bench", "gone.jpg"), 1, "there is no file gone.jpg")
    assert not (tmp_path / "avatars").exists()


def test_commands_without_any_avatar_name_the_mend(avatar: Avatar, tmp_path: Path) -> None:
    clip = tmp_path / "clip.npz"
    np.savez(clip, expression=np.zeros((2, 52), np.float32))
    for command in (("info",), ("generate",), ("distill",), ("render",), ("animate", "--expr", clip), ("preprocess",)):
        is_one_line_error(avatar(*command), 1, "avatar create photo.jpg")


def test_an_unknown_subject(avatar: Avatar, ada: Workspace) -> None:
    is_one_line_error(avatar("info", "--subject", "bob"), 1, "no subject 'bob'", "there are: ada")


def test_rendering_refuses_a_damaged_avatar(avatar: Avatar, ada: Workspace, tmp_path: Path) -> None:
    (tmp_path / "avatars" / "ada" / "distill" / "avatar.safetensors").write_text("distilL")
    is_one_line_error(avatar("render", "-o", "a.mp4"), 1, "damaged", "avatar distill --subject ada")
    assert not (tmp_path / "a.mp4").exists()


def test_a_workspace_that_is_a_file(avatar: Avatar, tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(photo)
    (tmp_path / "avatars").write_text("")
    is_one_line_error(avatar("create", photo, "--quiet"), 1, "cannot write to avatars")


@pytest.mark.parametrize("options", [(), ("--jobs", "2", "--device", "cpu")], ids=["in turn", "in processes"])
def test_of_several_photos_that_fail_all_are_named(avatar: Avatar, tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photo")
    done = avatar("create", "gone.jpg", "broken.jpg", *options, "--json", "--quiet")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["subjects"] == []
    assert [failure["photo"] for failure in document["failed"]] == ["gone.jpg", "broken.jpg"]
    assert "2 of 2 photos failed: gone.jpg, broken.jpg" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "avatars").glob("[!.]*"))


def test_a_cluster_that_is_not_there(avatar: Avatar, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    done = avatar("create", "a.png", "--cluster", "127.0.0.1:9", "--quiet")
    if find_spec("ray") is None:
        is_one_line_error(done, 2, "pip install 'avatarcli[ray]'")
    else:
        is_one_line_error(done, 1, "no Ray cluster at 127.0.0.1:9")


def test_list_and_info(avatar: Avatar, ada: Workspace) -> None:
    assert "ada" in avatar("list").stdout
    listed = json.loads(avatar("list", "--json").stdout)
    assert [subject["subject"] for subject in listed["subjects"]] == ["ada"]
    shown = json.loads(avatar("info", "--json").stdout)
    assert shown["config"] == to_json(CreateConfig())
    assert {stage["stage"]: stage["state"] for stage in shown["stages"]} == dict.fromkeys(
        ("preprocess", "generate", "distill"), "finished"
    )
    (ada.subject("ada").stage_path("generate") / "transforms.json").write_text("")
    assert "damaged (transforms.json)" in avatar("info").stdout


def test_the_workspace_comes_from_the_environment_too(avatar: Avatar, ada: Workspace, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    ada.root.rename(elsewhere)
    assert json.loads(avatar("list", "--json").stdout)["subjects"] == []
    assert len(json.loads(avatar("list", "--json", AVATAR_WORKSPACE=str(elsewhere)).stdout)["subjects"]) == 1
    assert len(json.loads(avatar("list", "--json", "--workspace", elsewhere).stdout)["subjects"]) == 1


def test_settings_of_another_version(avatar: Avatar, ada: Workspace) -> None:
    subject = ada.subject("ada")
    subject.save_manifest(Manifest("ada", "ada.jpg", "0" * 64, {"preset": "standard"}))
    is_one_line_error(avatar("generate"), 1, "another version", "avatar create")


def test_doctor_names_what_is_missing(avatar: Avatar, tmp_path: Path) -> None:
    (tmp_path / "avatars").write_text("")
    done = avatar("doctor", "--json")
    assert done.returncode == 1
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["workspace"]["state"] == "missing"
    assert "--workspace" in checks["workspace"]["mend"]
    assert checks["weights"]["state"] == checks["Python"]["state"] == "ok"


def test_weights_are_listed_and_verified(avatar: Avatar, tmp_path: Path) -> None:
    done = avatar("weights", "verify", "--json")
    assert done.returncode == 0
    assert all(file["error"] is None for file in json.loads(done.stdout)["files"])
    assert "head/head.safetensors" in avatar("weights", "list").stdout
    (tmp_path / "manifest.json").write_text(
        json.dumps(
            {
                "format_version": 1,
                "files": {"a": {"sha256": "0", "bytes": 1, "licence": "CC0", "source": "", "description": ""}},
            }
        )
    )
    is_one_line_error(avatar("weights", "verify", AVATAR_WEIGHTS=str(tmp_path)), 1, str(tmp_path / "a"), "missing")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda_is_one_line(avatar: Avatar, ada: Workspace) -> None:
    done = avatar("render", "--device", "cuda", "-o", "a.mp4")
    is_one_line_error(done, 1, "--device cuda", "--device cpu")
