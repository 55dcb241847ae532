"""Does the face embedding tell people apart? Rank-1 identification on the Face Research Lab London Set.

    python scripts/check_identity.py london

Every smiling or three-quarter photo is looked up among all frontal neutral ones; the nearest should be the same person.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from avatarcli.capture.identity import FaceEmbedder
from avatarcli.capture.landmarks import detect_face
from avatarcli.capture.photo import read_photo

GALLERY = "neutral_front"
PROBES = ("smiling_front", "neutral_left_3quarter", "neutral_right_3quarter")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("london", type=Path, help="folder of <id>_<neutral|smiling>_<view>.jpg")
    parser.add_argument("--limit", type=int, help="only the first N people")
    options = parser.parse_args()
    torch.set_num_threads(1)
    people = sorted({path.name.split("_")[0] for path in options.london.glob(f"*_{GALLERY}.jpg")})[: options.limit]
    embed = FaceEmbedder()
    gallery = embeddings(embed, options.london, people, GALLERY)
    for view in PROBES:
        distance = torch.cdist(embeddings(embed, options.london, people, view), gallery)
        same = distance.diagonal()
        other = distance[~torch.eye(len(people), dtype=torch.bool)]
        right = int((distance.argmin(1) == torch.arange(len(people))).sum())
        print(
            f"{view:24} rank-1 {100 * right / len(people):5.1f} % ({right} of {len(people)}), "
            f"same {same.mean():.3f} (max {same.max():.3f}), other {other.mean():.3f} (min {other.min():.3f})"
        )


def embeddings(embed: FaceEmbedder, folder: Path, people: list[str], view: str) -> Tensor:
    """[N, 128], in the order of `people`."""
    found = []
    for person in people:
        picture = read_photo(folder / f"{person}_{view}.jpg")
        found.append(embed(picture, detect_face(picture).points))
    return torch.stack(found)


if __name__ == "__main__":
    main()
