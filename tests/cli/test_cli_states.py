"""The command line on avatars that are damaged, out of date, gone or of another photo, and where results and errors go."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from avatarcli.cli.main import main
from avatarcli.gaussians.avatar import Avatar as ToyAvatar
from avatarcli.workspace import Workspace
from toy_command import Avatar, commit_stage, is_one_line_error


def test_list_says_what_is_cut_short_or_out_of_date(avatar: Avatar, ada: Workspace) -> None:
    subject = ada.subject("ada")

    def states() -> tuple[str, str]:
        stages = json.loads(avatar("list", "--json").stdout)["subjects"][0]["stages"]
        return re.split(r"\s{2,}", avatar("list").stdout.splitlines()[1])[1], stages[-1]["state"]

    assert states() == ("ready", "finished")
    (subject.stage_path("distill") / "avatar.safetensors").write_text("dis")
    assert states() == ("distill damaged (avatar.safetensors)", "damaged (avatar.safetensors)")
    commit_stage(subject, "distill", "distill", made_from=("preprocess", "generate"))
    assert states() == ("ready", "finished")
    commit_stage(subject, "preprocess", "another photo")
    assert states() == ("distill out of date", "out of date")
    assert "out of date" in avatar("info").stdout


@pytest.mark.parametrize(
    "rubbish", ["", "[]", "7", "[" * 99_999, '{"warnings": 3, "frames": 3, "photos": 3, "files": 3}']
)
@pytest.mark.parametrize(
    "file", ["manifest.json", "preprocess/stage.json", "preprocess/quality.json", "distill/fit.json"]
)
def test_rubbish_in_a_workspace_is_shown_as_damage(avatar: Avatar, ada: Workspace, file: str, rubbish: str) -> None:
    subject = ada.subject("ada")
    for stage, text in (("preprocess", '{"warnings": []}'), ("distill", "{    }")):
        name = "quality.json" if stage == "preprocess" else "fit.json"
        with subject.lock():
            (subject.begin(stage, "g") / name).write_text(text)
            subject.commit(stage, "g", 1.0)
    (subject.path / file).write_text(rubbish)
    for command in ("list", "info"):
        shown, told = avatar(command), avatar(command, "--json")
        assert (shown.returncode, shown.stderr, told.returncode, told.stderr) == (0, "", 0, "")
        entry = json.loads(told.stdout)
        states = [stage["state"] for stage in (entry["subjects"][0] if command == "list" else entry)["stages"]]
        assert ("?" in shown.stdout or "not known" in shown.stdout) == (file == "manifest.json")
        assert "None" not in shown.stdout
        assert any(state != "finished" for state in states) == (file != "manifest.json")


@pytest.mark.parametrize(
    "command",
    [
        ("render", "-o", "a.png"),
        ("animate", "--expr", "speech", "-o", "a.mp4"),
        ("export", "--format", "ply", "-o", "a.ply"),
        ("view", "--no-open"),
    ],
)
def test_an_avatar_that_is_out_of_date_is_never_shown(
    avatar: Avatar, ada: Workspace, tmp_path: Path, command: tuple[str, ...]
) -> None:
    commit_stage(ada.subject("ada"), "distill", "old", made_from=("preprocess", "generate"))
    commit_stage(ada.subject("ada"), "generate", "new views")
    is_one_line_error(avatar(*command), 1, "out of date", "`avatar distill --subject ada`")
    assert [path.name for path in tmp_path.iterdir()] == ["avatars"]


def test_results_go_to_stdout_and_sizes_are_told(
    ada: Workspace,
    make_avatar: Callable[..., ToyAvatar],
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    tmp_path: Path,
) -> None:
    subject = ada.subject("ada")
    with subject.lock():
        make_avatar(200).save(subject.begin("distill", "f") / "avatar.safetensors")
        subject.commit("distill", "f", 1.0)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[bytes, bytes]:
        monkeypatch.setattr(sys, "argv", ["avatar", *arguments])
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main()
        assert not leaving.value.code
        return capfdbinary.readouterr()

    picture, _ = run("render", "-o", "-", "--size", "31")
    with Image.open(io.BytesIO(picture)) as image:
        assert (image.format, image.size) == ("PNG", (31, 31))
    assert run("export", "--format", "ply", "-o", "-")[0].startswith(b"ply\n")
    said, notes = run("render", "--orbit", "9", "--seconds", "0.1", "--size", "31", "-o", "a.mp4", "--json")
    assert json.loads(said)["size"] == [32, 32]
    assert "32 × 32 pixels" in notes.decode()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "avatars"]


def test_another_photo_needs_another_name_or_replace(avatar: Avatar, ada: Workspace, tmp_path: Path) -> None:
    (tmp_path / "ben.jpg").write_text("no picture")
    for command in ("create", "preprocess"):
        done = avatar(command, "ben.jpg", "--subject", "ada", "--quiet")
        is_one_line_error(done, 2, "another photo (ada.jpg)", "--replace")
        done = avatar(command, "ben.jpg", "--subject", "ada", "--quiet", "--replace")
        is_one_line_error(done, 1, "not a picture")


def test_the_last_avatar_is_gone(avatar: Avatar, ada: Workspace) -> None:
    ada.remember("ben")
    done = avatar("info", "--json")
    assert json.loads(done.stdout)["subject"] == "ada"
    assert "'ben', is gone: taking the newest, ada" in done.stderr


@pytest.mark.parametrize(
    ("command", "code", "key"),
    [
        (("create", "gone.jpg"), 1, "failed"),
        (("create", "gone.jpg", "--preset", "best"), 2, "error"),
        (("create", "gone.jpg", "--subject", "../a"), 2, "error"),
        (("info",), 1, "error"),
        (("render", "--size", "2"), 2, "error"),
        (("clip", "info", "gone.npz"), 1, "error"),
        (("list", "-w", __file__), 1, "error"),
    ],
)
def test_json_is_one_document_also_of_a_failure(avatar: Avatar, command: tuple[str, ...], code: int, key: str) -> None:
    done = avatar(*command, "--json")
    document = json.loads(done.stdout)
    assert done.returncode == code
    reason = document["failed"][0]["error"] if key == "failed" else document["error"]
    assert reason in done.stderr


def test_errors_are_known_before_anything_heavy_is_loaded(ada: Workspace, tmp_path: Path) -> None:
    """Every command here fails for what its arguments say, and none of them has loaded torch."""
    (tmp_path / "notes.txt").write_text("no picture")
    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "mine.png").write_text("")
    commands = [
        ["create", "gone.jpg"],
        ["create", "notes.txt"],
        ["render", "--subject", "ben"],
        ["render", "-o", "a.avi"],
        ["render", "-o", "frames"],
        ["render", "-o", "notes.txt/a.png"],
        ["render", "--fps", "60", "-o", "a.gif"],
        ["render", "--orbit", "90", "-o", "-"],
        ["animate", "--video", "gone.mp4"],
        ["animate", "--expr", "speech", "-o", "a.png"],
        ["export", "--format", "html", "--subject", "ben"],
        ["export", "--format", "transforms", "-o", "frames"],
        ["view", "--host", "192.0.2.1", "--no-open"],
        ["track", "gone.mp4"],
        ["track", "gone.mp4", "-o", "a.mp3"],
        ["eval", "ben"],
        ["eval", "--benchmark", "rome", "--data", "."],
    ]
    code = (
        "import json, sys\nfrom avatarcli.cli.main import main\n"
        "for command in json.loads(sys.argv[1]):\n    sys.argv = ['avatar', *command]\n    try:\n        main()\n"
        "    except SystemExit as leaving:\n        print(bool(leaving.code), 'torch' in sys.modules, *command)"
    )
    arguments = [sys.executable, "-c", code, json.dumps(commands)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines() == [" ".join(["True False", *command]) for command in commands]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        (("view", "--no-open"), "viser", "view"),
        (("train", "mmvdm", "-o", "runs"), "accelerate", "train"),
        (("create", "eve.png", "--cluster", "auto"), "ray", "ray"),
    ],
)
def test_what_an_extra_brings_is_named_where_it_is_missing(
    avatar: Avatar, ada: Workspace, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], package: str, extra: str
) -> None:
    Image.new("RGB", (200, 200)).save("eve.png")
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    is_one_line_error(avatar(*command), 2, package, f"pip install 'avatarcli[{extra}]'")
    checks = {check["name"]: check for check in json.loads(avatar("doctor", "--json").stdout)["checks"]}
    assert checks[f"extra {extra}"]["state"] == "optional"
    assert package in checks[f"extra {extra}"]["detail"]
