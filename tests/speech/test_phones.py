"""Sounds and their times in a real voice: 3.3 s of a LibriVox recording."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from avatarcli.head.expressions import EXPRESSION_NAMES
from avatarcli.speech.performance import perform
from avatarcli.speech.phones import Phone, broad_classes, find_phones
from avatarcli.speech.recording import RATE, Voice, read_recording

LipGap = Callable[[np.ndarray], np.ndarray]
TEXT = "He might even have been made amiable himself."
LIPS = ("P", "B", "M")
MOUTH = [name.startswith(("jaw", "mouth", "tongue")) for name in EXPRESSION_NAMES]


@pytest.fixture(scope="module")
def voice() -> Voice:
    return read_recording(Path(__file__).parent / "amiable.ogg")


@pytest.fixture(scope="module")
def aligned(voice: Voice) -> list[Phone]:
    pytest.importorskip("pocketsphinx")
    said: list[str] = []
    found = find_phones(voice, TEXT, "english", note=said.append, warn=said.append)
    assert said == []
    return found


def closures(gap: np.ndarray, fps: float) -> np.ndarray:
    """Moments at which the lips are shut."""
    return np.flatnonzero(gap < 1.0) / fps


def test_the_text_is_found_in_the_voice(voice: Voice, aligned: list[Phone]) -> None:
    names = [phone.name for phone in aligned if phone.name != "SIL"]
    assert [name for name in names if name in LIPS] == ["M", "B", "M", "M", "B", "M"]
    assert names[:4] == ["HH", "IY", "M", "AY"]
    assert names[-3:] == ["EH", "L", "F"]
    assert aligned[0].start == 0
    assert aligned[-1].end == pytest.approx(voice.seconds)
    assert all(a.end == b.start for a, b in pairwise(aligned))


@pytest.mark.parametrize("fps", [30.0, 60.0])
def test_lips_meet_within_60_ms_of_the_alignment(
    voice: Voice, aligned: list[Phone], lip_gap: LipGap, fps: float
) -> None:
    clip = perform(voice, aligned, seed=0).resample(fps)
    shut = closures(lip_gap(clip.expression), fps)
    for phone in (phone for phone in aligned if phone.name in LIPS):
        middle = 0.5 * (phone.start + phone.end)
        assert np.abs(shut - middle).min() < 0.06
    # And they do not meet in open vowels.
    for phone in (phone for phone in aligned if phone.name in ("AY", "AE", "EY")):
        assert np.abs(shut - 0.5 * (phone.start + phone.end)).min() > 0.01


def test_silence_around_a_voice_is_still(voice: Voice) -> None:
    pytest.importorskip("pocketsphinx")
    pause = np.zeros(RATE, np.float32)
    padded = Voice(voice.path, np.concatenate([pause, voice.samples, pause]))
    phones = find_phones(padded, TEXT, "english", note=print, warn=print)
    expression = perform(padded, phones, seed=0).expression[:, MOUTH]
    assert np.abs(expression[:50]).max() == 0
    assert np.abs(expression[-40:]).max() == 0
    assert np.abs(expression).max() > 0.2


def test_without_text_most_lip_sounds_are_heard(voice: Voice, aligned: list[Phone]) -> None:
    heard = find_phones(voice, None, "english", note=print, warn=print)
    moments = np.array([0.5 * (phone.start + phone.end) for phone in heard if phone.name in LIPS])
    wanted = [0.5 * (phone.start + phone.end) for phone in aligned if phone.name in LIPS]
    assert sum(np.abs(moments - moment).min() < 0.06 for moment in wanted) >= 4


def test_another_text_is_noticed_and_left_out(voice: Voice) -> None:
    pytest.importorskip("pocketsphinx")
    warned: list[str] = []
    phones = find_phones(voice, "The weather in winter is cold and wet.", "english", note=print, warn=warned.append)
    assert warned == ["the text does not match amiable.ogg; the sounds are recognised without it"]
    assert phones == find_phones(voice, None, "english", note=print, warn=print)


def test_words_that_no_dictionary_has_are_told(voice: Voice, aligned: list[Phone]) -> None:
    told: list[str] = []
    phones = find_phones(voice, TEXT.replace("amiable", "aymiabul"), "english", note=told.append, warn=told.append)
    assert told == ["not in the dictionary, so read by their letters: aymiabul"]
    assert [phone.name for phone in phones if phone.name in LIPS] == ["M", "B", "M", "M", "B", "M"]


def test_long_recordings_are_aligned_in_parts(voice: Voice) -> None:
    pytest.importorskip("pocketsphinx")
    pause = np.zeros(RATE // 2, np.float32)
    long = Voice(voice.path, np.concatenate([np.concatenate([voice.samples, pause])] * 5))
    warned: list[str] = []
    phones = find_phones(long, " ".join([TEXT] * 5), "english", note=print, warn=warned.append)
    assert warned == []
    assert [phone.name for phone in phones if phone.name in LIPS] == ["M", "B", "M", "M", "B", "M"] * 5
    first = [phone.start for phone in phones if phone.name == "B"][::2]
    np.testing.assert_allclose(np.diff(first), len(voice.samples) / RATE + 0.5, atol=0.03)


def test_other_languages_follow_loudness(voice: Voice) -> None:
    told: list[str] = []
    phones = find_phones(voice, None, "other", note=told.append, warn=told.append)
    assert len(told) == 1
    assert "loudness" in told[0]
    assert {phone.name for phone in phones} == {"SIL", "~V", "~S"}
    jaw = perform(voice, phones, seed=0).expression[:, EXPRESSION_NAMES.index("jawOpen")]
    levels = np.interp(np.arange(len(jaw)) / 60, np.arange(len(voice.levels)) / 100, voice.levels)
    assert np.corrcoef(jaw, levels)[0, 1] > 0.5


def test_broad_classes_tell_a_hiss_from_a_voice() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(RATE // 2) / RATE
    tone = np.sign(np.sin(2 * np.pi * 120 * t)) * 0.2
    hiss = np.diff(rng.standard_normal(RATE // 2 + 1)) * 0.1
    wave = np.concatenate([np.zeros(RATE // 2), tone, hiss]).astype(np.float32)
    phones = broad_classes(Voice(Path("a.wav"), wave))
    for name, start in (("SIL", 0.0), ("~V", 0.5), ("~S", 1.0)):
        spent = sum(
            min(p.end, start + 0.5) - max(p.start, start)
            for p in phones
            if p.name == name and p.end > start and p.start < start + 0.5
        )
        assert spent > 0.45, name


def test_the_seed_decides_blinks_and_head(voice: Voice) -> None:
    phones = broad_classes(voice)
    once, again, other = (perform(voice, phones, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once.expression, again.expression)
    np.testing.assert_array_equal(once.head_rotation, again.head_rotation)
    assert np.abs(once.head_rotation - other.head_rotation).max() > 0.005
    longer = replace(voice, samples=np.concatenate([voice.samples] * 10))
    clip = perform(longer, broad_classes(longer), seed=1)
    lids = clip.expression[:, EXPRESSION_NAMES.index("eyeBlinkLeft")] > 0.5
    assert 10 <= np.diff(lids.astype(int)).clip(min=0).sum() / longer.seconds * 60 <= 35  # blinks a minute
    assert np.degrees(np.abs(clip.head_rotation).max()) < 12
