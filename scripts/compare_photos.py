"""One photo of a person against several: both avatars, judged by photos that neither was made of.

    python scripts/compare_photos.py --data london --workspace compared 123 125 127

Makes of each person of a London-style folder (<id>_neutral_<view>.jpg) one avatar of the front alone and one of front, left
profile and right three-quarter together; prints PSNR and LPIPS in the cameras of the other profile and the other three-quarter
photo, and writes a sheet of pictures: the photo, the front alone, all together.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from avatarcli.config import resolve
from avatarcli.datasets.benchmarks import Target
from avatarcli.evaluation.run import load_sitter
from avatarcli.evaluation.sitter import Instruments
from avatarcli.evaluation.targets import align
from avatarcli.evaluation.views import compare, perceptual_scores, pixel_scores
from avatarcli.pictures import to_bytes
from avatarcli.progress import SilentProgress
from avatarcli.stages.pipeline import RunOptions, run_pipeline
from avatarcli.workspace import Workspace

Pixels = NDArray[np.uint8]

_GIVEN = ("left_profile", "right_3quarter")
_HELD_OUT: dict[str, float | None] = {"left_3quarter": None, "right_profile": -90.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", nargs="+")
    parser.add_argument("--data", type=Path, required=True, help="folder of the photos")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--preset", default="draft", choices=("draft", "standard", "high"))
    arguments = parser.parse_args()
    place, config = Workspace(arguments.workspace), resolve(arguments.preset)
    options = RunOptions("cpu", SilentProgress())
    instruments = Instruments("cpu")
    rows: list[Pixels] = []
    scores: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for person in arguments.people:
        front, *given = (arguments.data / f"{person}_neutral_{view}.jpg" for view in ("front", *_GIVEN))
        sitters = []
        for kind, further in (("front", ()), ("together", given)):
            subject = place.new_subject(f"{kind[0]}{person}")
            run_pipeline(subject, front, config, options, further=further)
            sitters.append((kind, load_sitter(subject, "cpu")))
        for view, yaw in _HELD_OUT.items():
            target = Target(view, arguments.data / f"{person}_neutral_{view}.jpg", yaw)
            row: list[Pixels] = []
            for kind, sitter in sitters:
                aligned = align(sitter, target)
                drawn = sitter.draw(aligned.parameters, aligned.camera)
                pair = compare(view, aligned.portrait, drawn, aligned.region)
                found = (pixel_scores(pair)[0], perceptual_scores(pair, instruments)[0])
                scores.setdefault((view, kind), []).append(found)
                print(f"{person} {view:15} {kind:9} PSNR {found[0]:5.2f} LPIPS {found[1]:.3f}", flush=True)
                row += [aligned.picture] if not row else []
                row.append(to_bytes(drawn.color + (1 - drawn.alpha)[..., None]))
            rows.append(np.concatenate(row, axis=1))
    for (view, kind), pairs in scores.items():
        mean = torch.tensor(pairs).mean(0)
        print(f"mean {view:15} {kind:9} PSNR {mean[0]:5.2f} LPIPS {mean[1]:.3f}")
    Image.fromarray(np.concatenate(rows)).save(arguments.workspace / "sheet.png")


if __name__ == "__main__":
    main()
