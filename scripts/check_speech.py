"""Are the lips shut where a voice says p, b and m, and still where it says nothing? Numbers for docs/speech.md.

Usage: python scripts/check_speech.py voice.wav text.txt [voice2.wav text2.txt …]

For every file: how far from the middle of each aligned p, b or m the lips of the mean head are shut (inner lips less than 1 mm
apart, 2 mm at rest), at 30 frames a second; how many of these sounds are found without the text; the largest motion of the
mouth in pauses of 0.3 s or more; how far the mouth opens.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avatarcli.clips.clip import Clip
from avatarcli.head.expressions import EXPRESSION_NAMES
from avatarcli.head.model import PersonalHead, load_head_model
from avatarcli.speech.performance import perform
from avatarcli.speech.phones import SILENCE, Phone, find_phones
from avatarcli.speech.recording import read_recording

_FPS = 30.0
_SHUT = 1.0  # millimetres
_NEAR = 0.06  # seconds
_UPPER, _LOWER = 13, 14  # MediaPipe's landmarks of the inner lips' middles
_MOUTH = [name.startswith(("jaw", "mouth", "tongue")) for name in EXPRESSION_NAMES]


def main() -> None:
    model = load_head_model()
    head = PersonalHead.create(model, torch.zeros(model.identity_size))
    print(
        "| voice | p, b, m | shut within (ms: mean, most) | found without text | motion in pauses | opening (mm: 50 %, 95 %) |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for voice, text in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        recording = read_recording(Path(voice))
        phones = find_phones(recording, Path(text).read_text(), "english", note=_tell, warn=_tell)
        heard = find_phones(recording, None, "english", note=_tell, warn=_tell)
        clip = perform(recording, phones, seed=0).resample(_FPS)
        gap = _gap(head, clip)
        shut = np.flatnonzero(gap < _SHUT) / _FPS
        wanted, found = _lip_sounds(phones), _lip_sounds(heard)
        away = [_nearest(shut, moment) for moment in wanted]
        recognised = sum(_nearest(found, moment) < _NEAR for moment in wanted)
        low, high = np.percentile(gap, [50, 95])
        print(
            f"| {Path(voice).stem} | {len(wanted)} | {1000 * np.mean(away):.0f}, {1000 * np.max(away):.0f} | {recognised} |"
            f" {_motion_in_pauses(clip, phones):.3f} | {low:.1f}, {high:.1f} |"
        )


def _gap(head: PersonalHead, clip: Clip) -> NDArray[np.float64]:
    """Millimetres between the inner lips [T]."""
    vertices = head.vertices(torch.from_numpy(clip.expression), torch.zeros(len(clip), 2, 2), torch.zeros(len(clip), 3))
    points = head.model.landmarks(vertices).double().numpy() * 1000
    return np.asarray(points[:, _UPPER, 1] - points[:, _LOWER, 1])


def _lip_sounds(phones: list[Phone]) -> NDArray[np.float64]:
    return np.array([0.5 * (phone.start + phone.end) for phone in phones if phone.name in ("P", "B", "M")])


def _nearest(moments: NDArray[np.float64], moment: float) -> float:
    return float(np.abs(moments - moment).min()) if len(moments) else float("inf")


def _motion_in_pauses(clip: Clip, phones: list[Phone]) -> float:
    """The largest coefficient of the mouth, apart from coming to rest and beginning anew."""
    t = np.arange(len(clip)) / clip.fps
    most = 0.0
    for pause in phones:
        if pause.name == SILENCE and pause.end - pause.start >= 0.3:
            inside = (t >= pause.start + 0.16) & (t <= pause.end - 0.13)
            most = max(most, float(np.abs(clip.expression[inside][:, _MOUTH]).max(initial=0.0)))
    return most


def _tell(message: str) -> None:
    print(message, file=sys.stderr)


if __name__ == "__main__":
    main()
