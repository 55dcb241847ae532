"""What lips and jaw do for sounds whose times are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.speech.phones import Phone
from avatarcli.speech.visemes import mouth

LipGap = Callable[[np.ndarray], np.ndarray]
CLOSED, OPEN = 1.0, 4.0  # millimetres between the inner lips, which stand 2 apart at rest


def phones(*sounds: tuple[str, float]) -> list[Phone]:
    """Sounds with their seconds, one after the other."""
    ends = np.cumsum([seconds for _, seconds in sounds])
    return [Phone(name, float(end - seconds), float(end)) for (name, seconds), end in zip(sounds, ends, strict=True)]


def shown(said: Sequence[Phone], fps: float = 60.0, gain: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    t = np.arange(round(said[-1].end * fps)) / fps
    return t, mouth(said, [gain] * len(said), t)


@pytest.mark.parametrize("fps", [25.0, 30.0, 60.0])
@pytest.mark.parametrize("consonant", ["P", "B", "M"])
@pytest.mark.parametrize("vowel", ["AA", "AO", "UW", "EH"])
def test_lips_meet_and_part(lip_gap: LipGap, consonant: str, vowel: str, fps: float) -> None:
    said = phones(("SIL", 0.5), (vowel, 0.16), (consonant, 0.05), (vowel, 0.16), ("SIL", 0.5))
    t, expression = shown(said, fps)
    gap = lip_gap(expression)
    assert gap[(t >= said[2].start) & (t <= said[2].end)].max() < CLOSED
    for open_sound in (said[1], said[3]):
        assert gap[(t >= open_sound.start) & (t <= open_sound.end)].max() > OPEN
    assert gap.min() > -2.5  # lips that pass through each other


def test_no_motion_in_pauses() -> None:
    said = phones(("SIL", 0.8), ("M", 0.08), ("AA", 0.2), ("SIL", 0.9), ("OW", 0.2), ("P", 0.1), ("SIL", 0.8))
    t, expression = shown(said)
    for pause in (part for part in said if part.name == "SIL"):
        inside = (t >= pause.start + 0.16) & (t <= pause.end - 0.13)
        assert inside.sum() > 20
        assert np.abs(expression[inside]).max() == 0
    assert np.abs(expression[(t > 0.85) & (t < 1.0)]).max() > 0.1


def test_neighbours_shape_a_sound() -> None:
    """The t of "too two" is rounder than the t of "tea tea", and its jaw no different by much."""
    between = {}
    for vowel in ("UW", "IY"):
        t, expression = shown(phones((vowel, 0.15), ("T", 0.06), (vowel, 0.15)))
        between[vowel] = expression[np.abs(t - 0.18).argmin()]
    pucker, jaw = EXPRESSION_INDEX["mouthPucker"], EXPRESSION_INDEX["jawOpen"]
    assert between["UW"][pucker] > between["IY"][pucker] + 0.2
    assert between["UW"][jaw] == pytest.approx(between["IY"][jaw], abs=0.05)


def test_louder_is_wider_and_nothing_jumps() -> None:
    said = phones(
        ("SIL", 0.4), ("B", 0.06), ("AA", 0.2), ("S", 0.1), ("UW", 0.15), ("F", 0.08), ("AY", 0.25), ("SIL", 0.4)
    )
    soft, usual = (shown(said, gain=gain)[1] for gain in (0.6, 1.0))
    jaw = EXPRESSION_INDEX["jawOpen"]
    assert soft[:, jaw].max() < 0.75 * usual[:, jaw].max()
    assert usual.min() >= -1e-9
    assert usual.max() <= 1
    # Between frames at 60 a second; the quickest natural opening of the jaw takes some 80 ms.
    assert np.abs(np.diff(usual, axis=0)).max() < 0.2


def test_long_recordings_are_taken_in_pieces() -> None:
    """Every sound touches only the moments near it: the same shapes late as early."""
    early = phones(("SIL", 1.0), ("M", 0.1), ("AA", 0.2), ("SIL", 1.0))
    late = phones(("SIL", 601.0), ("M", 0.1), ("AA", 0.2), ("SIL", 1.0))
    first, second = shown(early)[1], shown(late)[1]
    np.testing.assert_allclose(second[600 * 60 :], first, atol=1e-6)
