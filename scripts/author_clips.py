"""Writes the example clips, `examples/clips/*.npz`. Deterministic: the committed files are this script's output.

Usage: python scripts/author_clips.py [folder]

* tour: each of the 52 expressions by itself, half a second each; the head is still.
* speech: one spoken sentence. Visemes blend by dominance (Cohen and Massaro 1993), lips meet on m, b and p; blinks,
  brow accents, small head motion and saccades as in conversation.
* look_around: the gaze leaps, the head follows (after about 0.1 s, and covers some 60 % of the way), lids follow the
  eyes, and large shifts take a blink with them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatarcli.clips.acting import Curve, add_action, add_eyes, add_side_noise, bump, drift, fixations, head_turns, ramp
from avatarcli.clips.clip import Clip
from avatarcli.clips.files import save_clip
from avatarcli.head.expressions import EXPRESSION_INDEX, EXPRESSION_NAMES
from avatarcli.speech.visemes import VISEMES

FPS = 30

# Consonants that fail if the lips do not get there win over the vowels beside them.
DOMINANCE = {"p": 4.0, "f": 2.5, "s": 1.5}

# "Hello. From one photo, I can move, speak, and smile at you." Words as (sound, milliseconds); a capital P is a pause.
SENTENCE: list[tuple[str, list[tuple[str, int]]]] = [
    ("P", [("rest", 450)]),
    ("hello", [("e", 130), ("t", 60), ("o", 190)]),
    ("P", [("rest", 260)]),
    ("from", [("f", 90), ("r", 60), ("u-as-in-but", 80), ("p", 90)]),
    ("one", [("u", 80), ("u-as-in-but", 100), ("t", 70)]),
    ("photo", [("f", 100), ("o", 140), ("t", 70), ("o", 170)]),
    ("P", [("rest", 240)]),
    ("I", [("a", 120), ("i", 90)]),
    ("can", [("k", 60), ("e", 80), ("t", 60)]),
    ("move", [("p", 90), ("u", 180), ("f", 100)]),
    ("P", [("rest", 160)]),
    ("speak", [("s", 100), ("p", 80), ("i", 160), ("k", 100)]),
    ("P", [("rest", 180)]),
    ("and", [("e", 80), ("t", 60)]),
    ("smile", [("s", 100), ("p", 90), ("a", 130), ("i", 100), ("t", 90)]),
    ("at", [("e", 70), ("t", 60)]),
    ("you", [("i", 60), ("u", 200)]),
    ("P", [("rest", 1500)]),
]
STRESSED = ("hello", "photo", "move", "smile")


def author_tour() -> Clip:
    """Every expression up to 1 and back, in the order of EXPRESSION_NAMES, with rest between."""
    slot = FPS // 2 + 2  # odd, so that a frame falls on the peak
    pulse = np.sin(np.linspace(0, math.pi, slot)) ** 2
    expression = np.zeros((slot * len(EXPRESSION_NAMES), len(EXPRESSION_NAMES)))
    # Closing the lips means something only over an open jaw, and the tongue needs a gap to come out of.
    jaw_with = {"mouthClose": 1.0, "tongueOut": 0.4}
    for index, name in enumerate(EXPRESSION_NAMES):
        frames = slice(index * slot, (index + 1) * slot)
        expression[frames, index] = pulse
        expression[frames, EXPRESSION_INDEX["jawOpen"]] += jaw_with.get(name, 0.0) * pulse
    return _clip(expression, np.zeros((len(expression), 3)))


def author_speech() -> Clip:
    """The sentence, ending in a smile."""
    rng = np.random.default_rng(7)
    words, end = _timed_words()
    t = np.arange(math.ceil(end * FPS)) / FPS
    expression = _mouth(t)

    envelope = ramp(t, 0.0, 0.4) * (1 - ramp(t, end - 0.5, 0.4))
    accents, nods = np.zeros(len(t)), np.zeros(len(t))
    for start, duration in words:
        accents += bump(t, start - 0.1, 0.2, duration - 0.1, 0.3)
        nods += bump(t, start - 0.1, 0.35, 0.0, 0.5)
    add_action(expression, "browInnerUp", 0.28 * accents)
    add_action(expression, "browOuterUp", 0.2 * accents)
    smile = bump(t, end - 1.5, 0.45, 0.45, 0.5)
    for name, weight in {"mouthSmile": 0.55, "cheekSquint": 0.35, "eyeSquint": 0.2, "mouthUpperUp": 0.1}.items():
        add_action(expression, name, weight * smile)
    add_side_noise(expression, FPS, rng)

    noise = drift(len(t), FPS, 6, rng) * envelope[:, None]
    yaw, pitch, roll = (noise[:, :3] * np.radians([1.6, 1.0, 0.9])).T
    pitch = pitch - math.radians(2.5) * nods
    translation = noise[:, 3:] * 0.0015

    aim = fixations(t, rng) * envelope[:, None]
    blinks = _blink_times(rng, end)
    return _with_eyes(expression, t, np.stack([yaw, pitch, roll], 1), aim, blinks, translation)


def author_look_around() -> Clip:
    """Left, right, up, down and back."""
    targets = np.radians(
        [(0, 0), (34, 3), (-36, 0), (12, 22), (-8, -24), (0, 0)]
    )  # yaw to the subject's left, pitch up
    starts = np.array([0.0, 0.6, 2.0, 3.6, 5.0, 6.3])
    t = np.arange(round(7.6 * FPS)) / FPS
    aim, head, blinks = np.zeros((len(t), 2)), np.zeros((len(t), 2)), []
    for start, before, after in zip(starts[1:], targets[:-1], targets[1:], strict=True):
        shift = after - before
        angle = float(np.hypot(*shift))
        aim += shift * ramp(t, start, 0.03 + 0.12 * angle)[:, None]  # saccades: about 2.2 ms a degree (main sequence)
        head += 0.6 * shift * ramp(t, start + 0.1, 0.35 + 0.25 * angle)[:, None]
        if angle > math.radians(20):
            blinks.append(start - 0.03)
    roll = -0.12 * head[:, 0]  # a turning head leans a little into the turn
    expression = np.zeros((len(t), len(EXPRESSION_NAMES)))
    up = (aim[:, 1] / math.radians(22)).clip(0, 1)
    add_action(expression, "browInnerUp", 0.3 * up)
    add_action(expression, "browOuterUp", 0.25 * up)
    return _with_eyes(expression, t, np.column_stack([head, roll]), aim, blinks, None)


CLIPS: dict[str, Callable[[], Clip]] = {
    "tour": author_tour,
    "speech": author_speech,
    "look_around": author_look_around,
}


def _mouth(t: Curve) -> Curve:
    """Visemes over time: each pulls towards its shape with a bell around its middle, and the pulls are averaged."""
    expression, total = np.zeros((len(t), len(EXPRESSION_NAMES))), np.zeros(len(t))
    start = 0.0
    for word, sounds in SENTENCE:
        strength = 1.15 if word in STRESSED else 0.9
        for sound, milliseconds in sounds:
            duration = milliseconds / 1000
            # A long rest is rest all along, not only in its middle.
            distance = (np.abs(t - start - duration / 2) - max(0.0, duration / 2 - 0.1)).clip(min=0)
            pull = DOMINANCE.get(sound, 1.0) * np.exp(-((distance / (0.4 * min(duration, 0.2) + 0.02)) ** 2)) + 1e-9
            for name, weight in VISEMES[sound].items():
                add_action(expression, name, strength * weight * pull)
            total += pull
            start += duration
    expression /= total[:, None]
    close, jaw = EXPRESSION_INDEX["mouthClose"], EXPRESSION_INDEX["jawOpen"]
    expression[:, close] = np.minimum(expression[:, close], expression[:, jaw])  # else the lips pass through each other
    return expression


def _timed_words() -> tuple[list[tuple[float, float]], float]:
    """(start, duration) of the stressed words, and the end of the sentence, in seconds."""
    stressed, time = [], 0.0
    for word, sounds in SENTENCE:
        duration = sum(milliseconds for _, milliseconds in sounds) / 1000
        if word in STRESSED:
            stressed.append((time, duration))
        time += duration
    return stressed, time


def _blink_times(rng: np.random.Generator, end: float) -> list[float]:
    times = [0.85]
    while times[-1] + 2 < end - 0.5:
        times.append(times[-1] + rng.uniform(2, 3.2))
    return times


def _with_eyes(
    expression: Curve, t: Curve, head: Curve, aim: Curve, blinks: list[float], translation: Curve | None
) -> Clip:
    """Eyes that hold their aim [T, 2] while the head [T, 3] (yaw, pitch, roll) moves, lids that follow, and blinks."""
    eyes = add_eyes(expression, t, head, aim, blinks)
    return _clip(expression, head_turns(head), translation, np.stack([eyes, eyes], axis=1))


def _clip(expression: Curve, rotation: Curve, translation: Curve | None = None, gaze: Curve | None = None) -> Clip:
    def stored(values: Curve, step: float) -> NDArray[np.float32]:
        return (np.rint(values / step) * step).astype(np.float32)  # steps far below what shows; the files become small

    return Clip(
        expression=stored(expression.clip(0, 1), 1e-4),
        head_rotation=stored(rotation, 1e-5),
        head_translation=None if translation is None else stored(translation, 1e-6),
        gaze=None if gaze is None else stored(gaze, 1e-5),
        fps=float(FPS),
    )


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "examples" / "clips"
    for name, author in CLIPS.items():
        path = folder / f"{name}.npz"
        save_clip(path, author())
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
