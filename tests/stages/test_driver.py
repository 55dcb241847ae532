"""What drives a face: a clip, its name, and the sound beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from avatarcli.clips.files import save_clip
from avatarcli.errors import UnknownClipError
from avatarcli.stages.driver import Driver
from toy_clips import make_clip


def test_a_clip_comes_with_its_name_and_the_sound_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "me.npz"
    save_clip(path, make_clip(9))
    silent = Driver.load(path)
    assert (silent.name, len(silent.clip), silent.sound) == ("me", 9, None)
    (tmp_path / "me.audio.m4a").write_bytes(b"")
    assert Driver.load(path).sound == tmp_path / "me.audio.m4a"


def test_a_shipped_clip_is_known_by_its_word() -> None:
    assert Driver.load("speech").name == "speech"
    with pytest.raises(UnknownClipError, match="did you mean speech"):
        Driver.load("speach")
