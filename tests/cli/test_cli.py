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


def test_a_misspelt_clip(avatar: Avatar, ada: Workspace) -> None:
    for command in (("animate", "--expr"), ("export", "--format", "html", "--expr"), ("clip", "info")):
        is_one_line_error(avatar(*command, "speach"), 2, "no clip 'speach'", "did you mean speech?")


def test_films_sounds_and_folders_are_no_clips(avatar: Avatar, ada: Workspace, tmp_path: Path) -> None:
    for name, mend in (("me.MP4", "avatar animate --video"), ("voice.wav", "avatar animate --audio")):
        (tmp_path / name).touch()
        is_one_line_error(avatar("clip", "info", name), 1, name, mend)
    (tmp_path / "speech").mkdir()  # what `avatar export --expr speech -o speech` made
    assert avatar("clip", "info", "speech").returncode == 0


def test_a_missing_clip(avatar: Avatar, ada: Workspace) -> None:
    is_one_line_error(avatar("animate", "--expr", "gone.npz"), 1, "gone.npz", "no such file")


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
    # Without Ray the error is that.
    is_one_line_error(done, 1, "pip install" if find_spec("ray") is None else "no Ray cluster at 127.0.0.1:9")


# Clips


def test_clips_are_converted_cut_retimed_and_mixed(avatar: Avatar, tmp_path: Path) -> None:
    frames = [{"time": row / 25, "jawOpen": row / 50, "grin": 1} for row in range(50)]
    (tmp_path / "take.json").write_text(json.dumps(frames))
    done = avatar("clip", "convert", "take.json", "-o", "made/take.npz")
    assert (done.returncode, done.stdout) == (0, "made/take.npz: 50 frames, 25 frames/s, 2.00 s\n")
    assert done.stderr == "left out 1 names that are not ARKit's: grin\n"
    found = json.loads(avatar("clip", "info", "made/take.npz", "--json").stdout)
    assert (found["frames"], found["fps"], found["seconds"], found["gaze"]) == (50, 25, 2, None)
    assert list(found["actions"]) == ["jawOpen"]
    assert found["actions"]["jawOpen"]["high"] == pytest.approx(0.98)
    cut = json.loads(
        avatar("clip", "trim", "take.json", "--from", "1.0", "--to", "40f", "-o", "cut.npz", "--json").stdout
    )
    assert cut == {"path": "cut.npz", "frames": 15, "fps": 25.0, "seconds": 0.6}
    assert "30 frames, 25 frames/s" in avatar("clip", "retime", "cut.npz", "--speed", "0.5", "-o", "slow.npz").stdout
    assert "36 frames, 60 frames/s" in avatar("clip", "retime", "cut.npz", "--fps", "60", "-o", "fast.npz").stdout
    assert avatar("clip", "mix", "speech", "cut.npz", "--region", "mouth", "--loop", "-o", "mixed.npz").returncode == 0
    with np.load(tmp_path / "mixed.npz") as mixed:
        names = mixed["names"].tolist()
        assert len(mixed["expression"]) == 195
        assert mixed["expression"][:, names.index("jawOpen")].min() >= 0.5
        assert not mixed["expression"][:, names.index("mouthSmileLeft")].any()
    joined = avatar("clip", "mix", "cut.npz", "speech", "--crossfade", "0.2", "-o", "joined.npz")
    assert "25 frames/s" in joined.stdout
    one = avatar("clip", "trim", "cut.npz", "--to", "1f", "-o", "one.npz")
    assert "1 frames" in one.stdout
    assert "jawOpen" in avatar("clip", "info", "one.npz").stdout
    shown = avatar("clip", "info", "speech").stdout
    assert "195 frames, 30 frames/s, 6.50 s" in shown
    assert "eyeBlinkLeft" in shown


def test_bad_clips_are_one_line_and_write_nothing(avatar: Avatar, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('[{"jawOpen": "wide"}]')
    (tmp_path / "bad.csv").write_text("Timecode,JawOpen\n00:00:00:00,0.1\n")
    np.savez(tmp_path / "flame.npz", expr=np.zeros((3, 5)))
    (tmp_path / "flame.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    there = sorted(tmp_path.iterdir())
    home = {"XDG_DATA_HOME": str(tmp_path / "none")}
    for command, words in (
        (("convert", "bad.json"), ("bad.json", "'jawOpen' of frame 0 is the text 'wide'")),
        (("convert", "bad.csv"), ("bad.csv", "no column browDownLeft")),
        (("convert", "flame.npz"), ("flame.npz", "avatar clip flame-map FLAME_FILE")),
        (("convert", "flame.npz", "--map", "gone.npz"), ("gone.npz", "no such file")),
        (("trim", "speech", "--from", "3", "--to", "99"), ("frames 90 to 2970", "195 frames")),
        (("mix", "speech", "bad.csv"), ("bad.csv",)),
        (("flame-map", "flame.pkl"), ("flame.pkl", "system: refused")),
        (("flame-map", "flame.npz"), ("'v_template' is missing",)),
    ):
        is_one_line_error(avatar("clip", *command, "-o", "out.npz", **home), 1, *words)
    assert sorted(tmp_path.iterdir()) == there
    (tmp_path / "file").write_text("")
    is_one_line_error(avatar("clip", "trim", "speech", "-o", "file/out.npz"), 1, "cannot write file/out.npz")


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


def test_a_defect_shows_its_traceback_only_on_demand() -> None:
    code = (
        "import sys\nfrom avatarcli.cli import main\n"
        "@main.app.command()\ndef burst(): raise KeyError('deep inside')\n"
        "sys.argv = ['avatar', 'burst']\nmain.main()"
    )
    for debug in ("", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True, text=True, env={**os.environ, "AVATAR_DEBUG": debug}, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert ("Traceback" in done.stderr) == bool(debug)
        assert "error: this is a defect of avatarcli: KeyError: 'deep inside'" in done.stderr.splitlines()[-1]


def test_a_closed_pipe_is_silent() -> None:
    writer = subprocess.Popen(
        [sys.executable, "-m", "avatarcli", "weights", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert writer.stdout is not None
    writer.stdout.close()
    assert writer.stderr is not None
    assert writer.stderr.read() == b""
    writer.stderr.close()
    writer.wait()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("command", [("weights", "list"), ("weights", "list", "--json"), ("--help",)])
def test_a_full_disk_under_stdout_is_one_line(command: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "avatarcli", *command], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "error: the disk is full: free some space and run the command again\n"


def test_sigterm_ends_a_command_as_an_error_does(tmp_path: Path) -> None:
    """`timeout`, `docker stop` and queues of jobs send it: nothing half-written may stay."""
    code = (
        "import signal\nfrom pathlib import Path\nfrom avatarcli.cli import main\nfrom avatarcli.files import finished_output\n"
        "@main.app.command()\ndef work():\n"
        "    with finished_output(Path('out.txt'), folder=False) as place:\n"
        "        place.write_text('half')\n        signal.raise_signal(signal.SIGTERM)\n"
        "import sys\nsys.argv = ['avatar', 'work']\nmain.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_the_program_is_being_loaded_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    done = subprocess.run(
        [sys.executable, "-m", "avatarcli", "list"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
