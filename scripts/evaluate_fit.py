"""How well the tracker fits a folder of multi-view portraits.

    python scripts/evaluate_fit.py --photos DIR [--people 20] [--matte]

DIR holds pictures called `<person>_<neutral|smiling>_<front|left_3quarter|right_3quarter>.jpg`, as the Face Research
Lab London Set does. Printed are medians over people of the median over 478 landmarks of the 2D error, in % of the
distance between the irises: for the own fit of each view, and for three-quarter views to which only pose and
expression were fitted while the identity came from the frontal photo of the same expression.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from avatarcli.capture.landmarks import FaceLandmarks, detect_face
from avatarcli.capture.matte import person_matte
from avatarcli.capture.photo import read_photo
from avatarcli.errors import PhotoError
from avatarcli.head.model import HeadModel, PersonalHead, load_head_model
from avatarcli.head.photo_fit import PhotoFit
from avatarcli.tracking.fit import fit_photo, fit_pose_expression

IRISES = (473, 468)


def landmark_error(model: HeadModel, track: PhotoFit) -> float:
    """Median distance between the fitted and the detected landmarks, % of the projected inter-ocular distance (as if
    the face looked at the camera)."""
    points = model.landmarks(PersonalHead.of(model, track).posed(track.parameters())[0])
    pixels, depth = track.camera.project(points)
    left, right = IRISES
    scale = float(track.camera.K[0, 0] / depth[[left, right]].mean())
    interocular = float((points[left] - points[right]).norm()) * scale
    return float((pixels - track.landmarks).norm(dim=-1).median()) / interocular * 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--people", type=int, default=0, help="only this many, spread over the set (default: all)")
    parser.add_argument("--matte", action="store_true", help="use the matte's outline too")
    arguments = parser.parse_args()
    model = load_head_model()
    people = sorted({path.name.split("_")[0] for path in arguments.photos.glob("*_front.jpg")})
    if arguments.people:
        people = people[:: max(1, len(people) // arguments.people)][: arguments.people]
    rows: dict[str, list[tuple[float, float]]] = {}
    seconds: list[float] = []
    missing = 0
    for person in people:
        for expression in ("neutral", "smiling"):
            fronts: tuple[PhotoFit, PhotoFit] | None = None
            for view in ("front", "left_3quarter", "right_3quarter"):
                try:
                    photo = read_photo(arguments.photos / f"{person}_{expression}_{view}.jpg")
                    face = detect_face(photo)
                except PhotoError:
                    missing += 1
                    continue
                start = time.perf_counter()
                own = _fits(model, photo, face, arguments.matte)
                seconds.append((time.perf_counter() - start) / 2)
                name = "front" if view == "front" else "three-quarter"
                rows.setdefault(f"{expression} {name}", []).append(_errors(model, own))
                if view == "front":
                    fronts = own
                elif fronts is not None:
                    carried = tuple(_carried(model, front, photo, face) for front in fronts)
                    rows.setdefault(f"{expression} three-quarter, front's identity", []).append(_errors(model, carried))
    print(
        f"{len(people)} people, {len(seconds)} photos, {missing} without a usable face, {np.mean(seconds):.2f} s a fit"
    )
    print(f"{'median error, % inter-ocular':45s} {'residual':>9s} {'p90':>6s} {'linear':>9s} {'p90':>6s}")
    for label, pairs in sorted(rows.items()):
        values = np.array(pairs)
        median, high = np.median(values, axis=0), np.percentile(values, 90, axis=0)
        print(f"{label:45s} {median[0]:9.2f} {high[0]:6.2f} {median[1]:9.2f} {high[1]:6.2f}")


def _fits(model: HeadModel, photo: np.ndarray, face: FaceLandmarks, with_matte: bool) -> tuple[PhotoFit, PhotoFit]:
    height, width = photo.shape[:2]
    matte = person_matte(photo) if with_matte else None
    with_residual, linear = (
        fit_photo(model, face.points, face.scores, width, height, matte=matte, free_form=free) for free in (True, False)
    )
    return with_residual, linear


def _carried(model: HeadModel, front: PhotoFit, photo: np.ndarray, face: FaceLandmarks) -> PhotoFit:
    height, width = photo.shape[:2]
    return fit_pose_expression(model, front.identity, front.residual, face.points, face.scores, width, height)


def _errors(model: HeadModel, tracks: tuple[PhotoFit, ...]) -> tuple[float, float]:
    return landmark_error(model, tracks[0]), landmark_error(model, tracks[1])


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
