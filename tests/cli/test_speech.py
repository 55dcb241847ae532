"""`avatar clip speech` and `avatar animate --audio`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from avatarcli.clips.files import load_clip
from avatarcli.gaussians.avatar import Avatar as Person
from avatarcli.workspace import Workspace
from toy_command import Avatar, is_one_line_error

VOICE = Path(__file__).parents[1] / "speech" / "amiable.ogg"


def test_a_voice_becomes_a_clip_with_its_sound(avatar: Avatar, tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx")
    done = avatar(
        "clip", "speech", VOICE, "--text", "He might even have been made amiable himself", "-o", "a.npz", "--json"
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    clip = load_clip(tmp_path / "a.npz")
    assert (document["frames"], document["fps"]) == (len(clip), 60)
    assert document["seconds"] == pytest.approx(3.29, abs=0.05)
    assert sum(name in "PBM" for name, _, _ in document["phones"]) == 6
    with av.open(document["sound"]) as sound:
        assert sound.duration / av.time_base == pytest.approx(clip.duration, abs=0.06)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.audio.m4a", "a.npz"]


def test_a_voice_drives_an_avatar(
    avatar: Avatar, ada: Workspace, make_avatar: Callable[..., Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = ada.subject("ada")
    with subject.lock():
        make_avatar(300).save(subject.begin("distill", "f") / "avatar.safetensors")
        subject.commit("distill", "f", 0.0)
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)  # other languages do without
    arguments = ("--language", "other", "--size", 32, "--fps", 10, "--device", "cpu", "-o", "talking.mp4")
    done = avatar("animate", "--audio", VOICE, *arguments)
    assert done.returncode == 0, done.stderr
    assert "loudness" in done.stderr
    with av.open("talking.mp4") as video:
        assert len(video.streams.audio) == 1
        assert sum(1 for _ in video.decode(video=0)) == 33
    with av.open("talking.mp4") as video:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in video.decode(audio=0)])
    assert np.abs(heard).max() > 0.05


def test_without_pocketsphinx_the_install_command_is_named(avatar: Avatar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    done = avatar("clip", "speech", VOICE, "-o", "a.npz")
    is_one_line_error(done, 2, "pip install 'avatarcli[speech]'", "--language other")


def test_wrong_usage_and_bad_sound(avatar: Avatar, ada: Workspace, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    for arguments, code, reason in (
        (("clip", "speech", "gone.wav", "-o", "a.npz"), 1, "there is no file gone.wav"),
        (("clip", "speech", "text.wav", "-o", "a.npz"), 1, "not sound that can be read"),
        (("clip", "speech", VOICE, "-o", "a.csv"), 2, "written as .npz"),
        (("clip", "speech", VOICE, "-o", "a.npz", "--text", "  "), 2, "--text is empty"),
        (("clip", "speech", VOICE, "-o", "a.npz", "--text", "a", "--language", "other"), 2, "only with English"),
        (("animate", "--audio", VOICE, "--expr", "speech"), 2, "give one of"),
        (("animate", "--expr", "speech", "--text", "hello"), 2, "go with --audio"),
        (("animate", "--audio", VOICE, "-o", "a.png"), 2, "a.png"),
    ):
        is_one_line_error(avatar(*arguments), code, reason)
    assert not (tmp_path / "a.npz").exists()
