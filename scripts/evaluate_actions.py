"""How well `avatar track` finds single actions of the face, on pictures of synthetic people whose coefficients are known.

    python scripts/evaluate_actions.py --assets DIR [--people 3:8]

Every person of the studio is drawn before a plain camera at rest, with each action alone at 0.5 and 1, and with actions and
turns of the head that could be taken for them. The pictures are held for some frames each, filmed (H.264, 400 × 400, with
sensor noise) and tracked. Printed, over all people: what is found where an action is at 1, where it is at 0.5 and where it is
at 0 (mean and 95 % quantile), and the mean error where it is above 0. `avatarcli.tracking.lids` took its constants from people 0 to
2, `avatarcli.capture.tongue` from people 20 to 31: judge by others.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avatarcli.capture.face_sequence import detect_faces
from avatarcli.capture.video import probe_video
from avatarcli.export.origin import Origin
from avatarcli.export.video import write_frames
from avatarcli.head.expressions import EXPRESSION_INDEX, NAMED_EXPRESSIONS, expression_vector
from avatarcli.head.model import load_head_model, still_head
from avatarcli.multiview.framing import Framing
from avatarcli.studio.assemble import assemble
from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.backdrop import draw_backdrop
from avatarcli.studio.lights import draw_light
from avatarcli.studio.reference import draw_photo_faults, take_photo, through_lens
from avatarcli.studio.render import render
from avatarcli.studio.subject import draw_subject
from avatarcli.tracking.video import fit_video

SIZE, SPAN = 400, 0.34  # pixels; metres: a face of some 230 pixels
FIRST = 9 << 32  # number of the first subject: none that training sees
HOLD = 6  # frames of one picture
NOISE = 2.0  # standard deviation of a pixel, of 255
FPS = 30.0
JUDGED = ("eyeBlink", "eyeWide", "noseSneer", "cheekPuff", "tongueOut")
ALONG = {"tongueOut": {"jawOpen": 0.3}}  # what an action cannot do without


@dataclass(frozen=True)
class Picture:
    """One face: coefficients by name, and how the head is held (rotation vector, radians)."""

    weights: dict[str, float]
    neck: tuple[float, float, float] = (0.0, 0.0, 0.0)


def both(name: str, weight: float) -> dict[str, float]:
    """An action of both sides, or of the middle."""
    return {key: weight for key in EXPRESSION_INDEX if key in (name, f"{name}Left", f"{name}Right")}


RESTING = tuple(Picture({}, (0.02 * k - 0.03, 0.05 * (-1) ** k, 0.01 * k)) for k in range(4))
ACTING = (
    *(Picture({**both(name, weight), **ALONG.get(name, {})}) for name in JUDGED for weight in (0.5, 1.0)),
    *(Picture({f"{name}Left": 1.0}) for name in ("eyeBlink", "eyeWide")),
    *(Picture(both(name, 1.0), (0.0, 0.25, 0.0)) for name in ("eyeBlink", "eyeWide")),
    Picture({"tongueOut": 1.0, "jawOpen": 0.5}, (0.0, 0.25, 0.0)),
    Picture(NAMED_EXPRESSIONS["smile"]), Picture({"jawOpen": 0.7}), Picture(both("eyeSquint", 0.8)),
    Picture({**NAMED_EXPRESSIONS["smile"], "jawOpen": 0.3}), Picture({"jawOpen": 0.3}), Picture({"mouthFunnel": 1.0}),
    Picture({"browInnerUp": 1.0, **both("browOuterUp", 1.0)}),
    Picture(both("eyeLookDown", 0.8)), Picture(both("eyeLookUp", 0.7)),
    Picture({}, (0.0, 0.35, 0.0)), Picture({}, (-0.2, 0.0, 0.0)), Picture({}, (0.2, 0.0, 0.0)),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, required=True, help="the pack of MakeHuman's CC0 assets")
    parser.add_argument("--people", default="3:8", help="first and end (default: 3:8)")
    arguments = parser.parse_args()
    first, end = map(int, arguments.people.split(":"))
    assets = StudioAssets.load(arguments.assets, skin_height=640)
    wanted, found = [], []
    for number in range(first, end):
        truth, tracked = judge(list(drawn(assets, number)))
        wanted.append(truth)
        found.append(tracked)
        print(f"person {number}", flush=True)
    report(np.concatenate(wanted), np.concatenate(found))


def drawn(assets: StudioAssets, number: int) -> Iterator[NDArray[np.uint8]]:
    """The pictures of a person, at rest first."""
    seed = FIRST + number
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    subject = draw_subject(assets, seed)
    mesh, poser = assemble(assets, subject, "cpu")
    yaw, pitch = (torch.tensor([rng.normal(0, spread)]) for spread in (0.08, 0.06))
    camera = Framing((0.0, 0.0, 0.0), SPAN).cameras(yaw, pitch, SIZE)
    light = draw_light(rng, float(np.mean(subject.skin.tone)))
    faults = replace(draw_photo_faults(generator), jpeg=85, blur=0.0, sharpness=1.0)
    backdrop = draw_backdrop(rng, SIZE)
    for picture in (*RESTING, *ACTING):
        motion = replace(still_head(picture.weights), neck=torch.tensor([picture.neck]))
        clean = render(mesh, poser(motion), camera, light).rgba[0, 0]
        yield (take_photo(through_lens(clean, faults), backdrop, faults, generator) * 255).round().byte().numpy()


def judge(pictures: list[NDArray[np.uint8]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """True and tracked coefficients [P, 52] of the pictures of one person, filmed one after the other."""
    resting = len(RESTING)
    rows = [row for row in range(resting) for _ in range(2 * HOLD)]
    for row in range(resting, len(pictures)):
        rows += [row] * HOLD + [row % resting] * (HOLD // 2)
    random = np.random.default_rng(0)
    noisy = (
        (pictures[row] + random.normal(0, NOISE, pictures[row].shape)).clip(0, 255).round().astype(np.uint8)
        for row in rows
    )
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "film.mp4"
        write_frames(video, noisy, FPS, origin=Origin("Test", "0", "compositeSynthetic", None))
        face = detect_faces(probe_video(video), FPS)
    track = fit_video(load_head_model(), face.points, face.scores, face.seen, (face.width, face.height), FPS)
    shown = np.array(rows)[: len(track.clip)]
    # The first frames of a picture still carry the one before, which the tracker smooths into it.
    held = [np.flatnonzero(shown == row)[2:HOLD] for row in range(len(pictures))]
    found = np.array([track.clip.expression[frames].mean(0) for frames in held], np.float64)
    truth = np.array([expression_vector(picture.weights) for picture in (*RESTING, *ACTING)])
    return truth, found


def report(truth: NDArray[np.float64], found: NDArray[np.float64]) -> None:
    print(f"{'action':12s} {'at 1':>6s} {'at 0.5':>6s} {'at 0':>6s} {'95 %':>6s} {'error':>6s}")
    for name in JUDGED:
        columns = [EXPRESSION_INDEX[key] for key in both(name, 1.0)]
        there, seen = truth[:, columns], found[:, columns]
        still = seen[there == 0]
        figures = (
            seen[there == 1].mean(), seen[there == 0.5].mean(), still.mean(), np.quantile(still, 0.95),
            np.abs(seen - there)[there > 0].mean(),
        )  # fmt: skip
        print(f"{name:12s} " + " ".join(f"{figure:6.3f}" for figure in figures))


if __name__ == "__main__":
    torch.set_num_threads(1)  # pictures are small: more threads wait for each other
    main()
