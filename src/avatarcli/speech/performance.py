"""A voice as a motion clip: the mouth by its sounds, jaw by its loudness, and a face and head that go along.

Heads nod and brows rise with the stresses of a voice (Munhall et al., *Visual prosody and speech intelligibility*, 2004; Cavé et
al., *About the relationship between eyebrow movements and F0 variations*, 1996), and people who talk blink about 26 times a
minute, often in pauses (Bentivoglio et al., *Analysis of blink rate patterns in normal subjects*, 1997).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from avatarcli.arrays import Float32
from avatarcli.clips.acting import Curve, add_action, add_eyes, add_side_noise, bump, drift, fixations, head_turns
from avatarcli.clips.clip import Clip
from avatarcli.speech.phones import SILENCE, Phone
from avatarcli.speech.recording import STEPS, Voice
from avatarcli.speech.visemes import mouth

FPS = 60.0  # so that lips that meet for 40 ms are seen, also after resampling to 30
# A sound that is 20 dB louder than usual opens the mouth 1.8 times as far, within these limits: shouting is not gaping.
_DECIBELS, _LEAST_GAIN, _MOST_GAIN = 80.0, 0.55, 1.3
_STRESS_WIDTH, _STRESS_APART = 0.1, 0.45  # seconds: about a syllable; nods do not follow each other faster
_STRESS = 2.0  # decibels by which a stressed syllable stands out of the ones around it
_NOD, _BROW = math.radians(2.2), 0.3
_DRIFT = np.radians([1.5, 0.9, 0.8])  # yaw, pitch, roll while talking
_STILL = 0.35  # of that drift in pauses
_SHIFT = 0.0012  # metres
_BLINK_APART, _BLINK_WITHIN = 1.2, (2.0, 4.5)  # seconds: at least, and the usual wait for the next
_LONG_PAUSE = 0.25  # seconds: pauses in which people blink


def perform(recording: Voice, phones: Sequence[Phone], *, seed: int, fps: float = FPS) -> Clip:
    """The clip of a voice whose sounds are known. The same seed gives the same blinks and turns of the head."""
    rng = np.random.default_rng(seed)
    t: Curve = np.arange(max(1, math.ceil(recording.seconds * fps))) / fps
    expression = mouth(phones, _gains(recording, phones), t)
    add_side_noise(expression, fps, rng)
    talking = _talking(phones, t)
    stresses = _stresses(recording)
    nod = np.zeros(len(t))
    for moment, strength in stresses:
        if rng.random() < 0.7:
            nod += strength * bump(t, moment - 0.2, 0.3, 0.0, 0.45)
        if strength > 0.6:
            brows = _BROW * strength * bump(t, moment - 0.2, 0.2, 0.12, 0.35)
            add_action(expression, "browInnerUp", brows)
            add_action(expression, "browOuterUp", 0.7 * brows)
    noise = drift(len(t), fps, 6, rng) * (_STILL + (1 - _STILL) * talking)[:, None]
    head = noise[:, :3] * _DRIFT
    head[:, 1] -= _NOD * nod
    eyes = add_eyes(expression, t, head, fixations(t, rng) * talking[:, None], _blinks(phones, recording.seconds, rng))
    return Clip(
        expression=_stored(expression.clip(0, 1)),
        head_rotation=_stored(head_turns(head)),
        head_translation=_stored(noise[:, 3:] * _SHIFT),
        gaze=_stored(np.stack([eyes, eyes], axis=1)),
        fps=fps,
    )


def _gains(recording: Voice, phones: Sequence[Phone]) -> list[float]:
    """How far each sound opens the mouth, by its loudness against the voice's usual one."""
    levels = recording.levels
    loudest = []
    for phone in phones:
        first = min(int(phone.start * STEPS), len(levels) - 1)
        loudest.append(float(levels[first : max(first + 1, round(phone.end * STEPS))].max()))
    said = [level for level, phone in zip(loudest, phones, strict=True) if phone.name != SILENCE]
    # The louder half of what is said are the vowels; this is the middle of that half.
    usual = float(np.percentile(said, 75)) if said else recording.loud
    return [float(np.clip(10 ** ((level - usual) / _DECIBELS), _LEAST_GAIN, _MOST_GAIN)) for level in loudest]


def _talking(phones: Sequence[Phone], t: Curve) -> Curve:
    """1 while something is said, 0 in pauses, with slow passages between [T]."""
    said = np.zeros(len(t))
    for phone in phones:
        if phone.name != SILENCE:
            said[slice(*np.searchsorted(t, [phone.start, phone.end]))] = 1.0
    step = float(t[1] - t[0]) if len(t) > 1 else 1.0
    return np.asarray(gaussian_filter1d(said, sigma=0.25 / step, mode="nearest"))


def _stresses(recording: Voice) -> list[tuple[float, float]]:
    """(moment, strength in 0…1) of the syllables that stand out by loudness."""
    levels = recording.levels.clip(min=recording.loud - 30)
    syllables = gaussian_filter1d(levels, sigma=_STRESS_WIDTH * STEPS)
    standing = syllables - gaussian_filter1d(levels, sigma=8 * _STRESS_WIDTH * STEPS)
    peaks, _ = find_peaks(standing, height=_STRESS, distance=round(_STRESS_APART * STEPS))
    return [(float(peak) / STEPS, float(np.clip(standing[peak] / (4 * _STRESS), 0, 1))) for peak in peaks]


def _blinks(phones: Sequence[Phone], seconds: float, rng: np.random.Generator) -> list[float]:
    """When lids begin to close: at the beginning of most long pauses, else every few seconds."""
    pauses = [p.start + 0.05 for p in phones if p.name == SILENCE and p.start > 0 and p.end - p.start > _LONG_PAUSE]
    taken = [moment for moment in pauses if rng.random() < 0.6]
    times: list[float] = []
    time = rng.uniform(0.4, 2.0)
    while time < seconds - 0.3:  # a blink takes that long
        soon = [moment for moment in taken if time - 1.0 < moment <= time + 0.5]
        if soon and (not times or soon[0] - times[-1] >= _BLINK_APART):
            time = soon[0]
        times.append(float(time))
        time += rng.uniform(*_BLINK_WITHIN)
    return times


def _stored(values: Curve) -> Float32:
    """Steps of 1e-4 are far below what shows, and make the file smaller."""
    return (np.rint(values * 1e4) / 1e4).astype(np.float32)
