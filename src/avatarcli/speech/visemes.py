"""Sounds → what jaw and lips do, as curves of ARKit's actions.

Neighbouring sounds shape each other. After Cohen and Massaro, *Modeling coarticulation in synthetic visual speech* (Models and
Techniques in Computer Animation, 1993): each sound i pulls every articulator towards its own shape with a dominance
D_i(t) = α_i exp(-θ_i |t - t_i|^c) about its middle, and an articulator stands at the mean of the shapes, weighted by dominance:
F(t) = Σ D_i(t) T_i / Σ D_i(t). α says how much an articulator matters to a sound: the lips to `f`, the jaw to `s`. c is 2 here,
which leaves no kinks at the middles.

Lips that must meet are beyond a mean: over p, b and m they are shut by a plateau of their own, whatever the jaw does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from avatarcli.clips.acting import Curve, add_action, bump
from avatarcli.head.expressions import EXPRESSION_INDEX, EXPRESSION_NAMES
from avatarcli.speech.phones import SILENCE, Phone

# What the face does on each group of sounds; names without a side stand for both. Made by eye on the shipped head, where the
# inner lips stand 2 mm apart at rest, -0.4 at "p", 4 at "s" and "f", 7 at "t" and "i", 11 at "e", 18 at "a".
VISEMES: dict[str, dict[str, float]] = {
    "rest": {},
    "p": {"jawOpen": 0.07, "mouthClose": 0.07, "mouthPress": 0.28, "mouthRollLower": 0.22, "mouthRollUpper": 0.18},
    "f": {"jawOpen": 0.08, "mouthRollLower": 0.45, "mouthUpperUp": 0.18, "mouthShrugUpper": 0.08},
    "th": {"jawOpen": 0.12, "mouthLowerDown": 0.22, "mouthUpperUp": 0.08, "tongueOut": 0.08},
    "t": {"jawOpen": 0.13, "mouthLowerDown": 0.2, "mouthUpperUp": 0.08, "mouthStretch": 0.05},
    "k": {"jawOpen": 0.17, "mouthLowerDown": 0.15},
    "s": {"jawOpen": 0.05, "mouthStretch": 0.2, "mouthSmile": 0.1, "mouthLowerDown": 0.2, "mouthDimple": 0.08},
    "sh": {"jawOpen": 0.06, "mouthFunnel": 0.4, "mouthPucker": 0.2, "mouthLowerDown": 0.1},
    "r": {"jawOpen": 0.12, "mouthFunnel": 0.25, "mouthPucker": 0.25},
    "a": {"jawOpen": 0.45, "mouthLowerDown": 0.22, "mouthUpperUp": 0.1},
    "u-as-in-but": {"jawOpen": 0.28, "mouthLowerDown": 0.12},
    "e": {"jawOpen": 0.24, "mouthStretch": 0.2, "mouthSmile": 0.18, "mouthLowerDown": 0.2, "mouthUpperUp": 0.1},
    "i": {"jawOpen": 0.14, "mouthSmile": 0.32, "mouthStretch": 0.25, "mouthLowerDown": 0.18, "mouthUpperUp": 0.08},
    "o": {"jawOpen": 0.32, "mouthFunnel": 0.5, "mouthPucker": 0.2},
    "u": {"jawOpen": 0.12, "mouthPucker": 0.6, "mouthFunnel": 0.25},
}  # fmt: skip

# ARPAbet, without stress, and the broad classes → one group, or two for sounds that glide. `h` takes its neighbours' shape.
_SHOWN: dict[str, tuple[str, ...]] = {
    SILENCE: ("rest",), "P": ("p",), "B": ("p",), "M": ("p",), "F": ("f",), "V": ("f",), "TH": ("th",), "DH": ("th",),
    "T": ("t",), "D": ("t",), "N": ("t",), "L": ("t",), "K": ("k",), "G": ("k",), "NG": ("k",), "HH": (), "S": ("s",),
    "Z": ("s",), "CH": ("sh",), "JH": ("sh",), "SH": ("sh",), "ZH": ("sh",), "R": ("r",), "ER": ("r",), "W": ("u",),
    "Y": ("i",), "AA": ("a",), "AE": ("a",), "AH": ("u-as-in-but",), "EH": ("e",), "IH": ("i",), "IY": ("i",),
    "AO": ("o",), "UH": ("u",), "UW": ("u",), "AY": ("a", "i"), "EY": ("e", "i"), "OW": ("o", "u"), "AW": ("a", "u"),
    "OY": ("o", "i"), "~V": ("u-as-in-but",), "~S": ("s",),
}  # fmt: skip
_VOWELS = frozenset({"a", "u-as-in-but", "e", "i", "o", "u"})
# α of (jaw, lips). What is not here pulls with 1, 1.
_DOMINANCE: dict[str, tuple[float, float]] = {
    "rest": (1.0, 1.0), "p": (0.8, 0.0), "f": (1.5, 4.0), "th": (1.0, 0.6), "t": (0.8, 0.4), "k": (0.5, 0.2),
    "s": (2.5, 0.8), "sh": (2.0, 2.0), "r": (0.8, 1.2), "u": (1.0, 2.5), "o": (1.0, 2.0),
}  # fmt: skip
_JAW, _LIPS = 0, 1
_ARTICULATOR = np.array([_JAW if name in ("jawOpen", "tongueOut") else _LIPS for name in EXPRESSION_NAMES])
# Seconds in which the dominance falls to 1/e: a share of the sound's length, and what is left for the shortest.
_REACH, _LEAST_REACH, _LONGEST_SOUND = 0.4, 0.02, 0.2
_ROUND_AHEAD = 0.05  # seconds: rounding begins earlier than other shapes (Bell-Berti and Harris 1982)
_STEADY = 0.1  # seconds from its ends at which a long sound has its full shape
_FAR = 3.0  # reaches; beyond, exp(-9) moves nothing

# The lips' meeting: how fast they come together and part, and for how long they stay at least (two frames at 30 a second).
_SHUTTING, _OPENING, _SHUT = 0.08, 0.08, 0.07
# What keeps lips apart, and is taken back where they meet.
_PARTING = ("mouthLowerDown", "mouthUpperUp", "mouthFunnel", "mouthShrugUpper", "mouthStretch")
# A pause shorter than this is bridged by the sounds beside it; in longer ones the mouth comes to rest and is still.
_LEAST_REST, _TO_REST, _FROM_REST = 0.3, 0.15, 0.12
_AMOUNT = 0.85  # of the shapes above, which are those of careful speech, for the ordinary kind


@dataclass(frozen=True)
class _Pull:
    """One shape that sound makes."""

    group: str
    start: float
    end: float
    gain: float


def mouth(phones: Sequence[Phone], gains: Sequence[float], t: Curve) -> Curve:
    """Actions of jaw, lips and tongue [T, 52] at moments `t` [T] (seconds, ascending), 0 where nothing is said.

    phones: without gaps. gains: of each, how much of its shape it takes; 1 is usual, louder is more.
    """
    expression, weights = np.zeros((len(t), len(EXPRESSION_NAMES))), np.full((len(t), 2), 1e-9)
    for pull in _pulls(phones, gains):
        ahead = _ROUND_AHEAD if pull.group in ("u", "o", "sh") else 0.0
        reach = _REACH * min(pull.end - pull.start, _LONGEST_SOUND) + _LEAST_REACH
        rows = slice(*np.searchsorted(t, [pull.start - _FAR * (reach + ahead), pull.end + _FAR * reach]))
        middle, half = 0.5 * (pull.start + pull.end), 0.5 * (pull.end - pull.start)
        offset = t[rows] - middle
        distance = (np.abs(offset) - max(0.0, half - _STEADY)).clip(min=0)
        dominance = np.exp(-((distance / np.where(offset < 0, reach + ahead, reach)) ** 2))
        pulls = dominance[:, None] * np.array(_DOMINANCE.get(pull.group, (1.0, 1.0)))
        shape = np.zeros((1, len(EXPRESSION_NAMES)))
        for name, weight in VISEMES[pull.group].items():
            add_action(shape, name, np.array([weight * pull.gain * _AMOUNT]))
        expression[rows] += pulls[:, _ARTICULATOR] * shape
        weights[rows] += pulls
    expression /= weights[:, _ARTICULATOR]
    _rest(expression, phones, t)
    _shut(expression, phones, t)
    return expression


def _pulls(phones: Sequence[Phone], gains: Sequence[float]) -> Iterator[_Pull]:
    for phone, gain in zip(phones, gains, strict=True):
        groups = _SHOWN[phone.name]
        length = (phone.end - phone.start) / max(1, len(groups))
        for index, group in enumerate(groups):
            begin = phone.start + index * length
            yield _Pull(group, begin, begin + length, gain if group in _VOWELS else 1.0)


def _rest(expression: Curve, phones: Sequence[Phone], t: Curve) -> None:
    """Still lips in pauses."""
    for index, phone in enumerate(phones):
        if phone.name != SILENCE or phone.end - phone.start < _LEAST_REST:
            continue
        rows = slice(*np.searchsorted(t, [phone.start, phone.end]))
        # At the recording's ends nothing is said beside the pause.
        fall = _TO_REST if index > 0 else 0.0
        rise = _FROM_REST if index + 1 < len(phones) else 0.0
        into = bump(t[rows], phone.start - 1e-6, fall + 1e-6, phone.end - phone.start - fall - rise, rise + 1e-6)
        expression[rows] *= 1 - into[:, None]


def _shut(expression: Curve, phones: Sequence[Phone], t: Curve) -> None:
    """Lips that meet over p, b and m."""
    seal = np.zeros(len(t))
    for phone in phones:
        if _SHOWN[phone.name] != ("p",):
            continue
        spare = max(0.0, _SHUT - (phone.end - phone.start)) / 2
        start, end = phone.start - spare, phone.end + spare
        rows = slice(*np.searchsorted(t, [start - _SHUTTING, end + _OPENING]))
        seal[rows] = np.maximum(seal[rows], bump(t[rows], start - _SHUTTING, _SHUTTING, end - start, _OPENING))
    for name in _PARTING:
        add_action(expression, name, -seal * expression[:, _column(name)])
    for name, weight in VISEMES["p"].items():
        if name not in ("jawOpen", "mouthClose"):
            add_action(expression, name, seal * (weight - expression[:, _column(name)]).clip(min=0))
    # On this head, as in ARKit, mouthClose takes back exactly what jawOpen parts.
    jaw, close = EXPRESSION_INDEX["jawOpen"], EXPRESSION_INDEX["mouthClose"]
    expression[:, close] = seal * expression[:, jaw]


def _column(name: str) -> int:
    """Where an action stands; of two sides the left one, as both do the same here."""
    return EXPRESSION_INDEX[name] if name in EXPRESSION_INDEX else EXPRESSION_INDEX[name + "Left"]
