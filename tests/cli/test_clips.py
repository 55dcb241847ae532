"""The command line on clips: which files are taken for some, and what can be done with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from avatarcli.workspace import Workspace
from toy_command import Avatar, is_one_line_error


def test_clips_are_worked_on_quietly(avatar: Avatar, tmp_path: Path) -> None:
    (tmp_path / "take.json").write_text('[{"jawOpen": 0.1}, {"jawOpen": 0.3}]')
    commands = (("info",), ("convert", "-o", "a.npz"), ("trim", "-o", "a.npz"), ("retime", "-o", "a.npz"))
    for name, *options in (*commands, ("mix", "speech", "-o", "a.npz")):
        loud, quiet = (
            avatar("clip", name, "take.json", *options),
            avatar("clip", name, "take.json", *options, "--quiet"),
        )
        assert loud.stderr == "the file does not say its frame rate: 30 frames/s assumed\n"
        assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, loud.stdout, "")


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
        (("convert", "speech", "--map", "gone.npz"), ("no FLAME sequence", "leave out --map")),
        (("trim", "speech", "--from", "3", "--to", "99"), ("--to 99", "ends at 6.50 s, or 195f")),
        (("trim", "speech", "--from", "195f"), ("--from 195f", "ends at 6.50 s, or 195f")),
        (("mix", "speech", "bad.csv"), ("bad.csv",)),
        (("flame-map", "flame.pkl"), ("flame.pkl", "system: refused")),
        (("flame-map", "flame.npz"), ("'v_template' is missing",)),
    ):
        is_one_line_error(avatar("clip", *command, "-o", "out.npz", **home), 1, *words)
    assert sorted(tmp_path.iterdir()) == there
    (tmp_path / "file").write_text("")
    is_one_line_error(avatar("clip", "trim", "speech", "-o", "file/out.npz"), 1, "cannot write file/out.npz")


def test_another_rate_of_a_file(avatar: Avatar, tmp_path: Path) -> None:
    """`clip convert --fps` counts for every kind of file, also for our own."""
    (tmp_path / "take.json").write_text(json.dumps([{"jawOpen": row / 50} for row in range(50)]))
    for name, said in (("take.json", "50 frames, 25 frames/s, 2.00 s"), ("speech", "195 frames, 25 frames/s, 7.80 s")):
        assert avatar("clip", "convert", name, "--fps", "25", "-o", "out.npz").stdout == f"out.npz: {said}\n"
        is_one_line_error(
            avatar("clip", "convert", name, "--fps", "0", "-o", "none.npz"), 2, "--fps 0: choose 1 to 240"
        )
    assert not (tmp_path / "none.npz").exists()
