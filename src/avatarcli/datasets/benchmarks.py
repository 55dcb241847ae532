"""Benchmarks as data: which photo each avatar is made of, and which other photos of the person judge it.

`cases/<name>.json` lists the people of a photo set that the user has. The benchmark `self` needs no file: it
takes any folder of portraits and judges every avatar by its own photo. `studio` has no photos: see `evaluation.studio`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from avatarcli.errors import UsageError
from avatarcli.workspace import slug

SELF, STUDIO = "self", "studio"
_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp"}
_FOLDER = Path(__file__).with_name("cases")


@dataclass(frozen=True)
class Target:
    """Another photo of the person. yaw: the camera's angle in degrees (positive: on the subject's left) where no face
    can be found in the photo, so that the silhouette must do; None where the tracker finds the pose."""

    name: str
    photo: Path
    yaw: float | None


@dataclass(frozen=True)
class Case:
    """One avatar to make and to judge."""

    name: str
    photo: Path
    targets: tuple[Target, ...]


def benchmark_names() -> list[str]:
    """`self` and those that come as files: all that judge by photos."""
    return [SELF, *sorted(path.stem for path in _FOLDER.glob("*.json"))]


def load_benchmark(name: str, data: Path, limit: int | None = None) -> list[Case]:
    """The cases of a benchmark, at most `limit` of them, on the photos in the folder `data`. The photos need not
    exist: a case without them fails when it is run.

    Raises:
        UsageError: there is no such benchmark or folder, or it has no cases.
    """
    if name not in benchmark_names():
        raise UsageError(f"no benchmark is called '{name}'; there are {', '.join([*benchmark_names(), STUDIO])}")
    if not data.is_dir():
        raise UsageError(f"{data} is not a folder of photos: name the one that benchmark {name} needs with --data")
    cases = _folder_cases(data) if name == SELF else _file_cases(_FOLDER / f"{name}.json", data)
    if not cases[:limit]:
        raise UsageError(f"benchmark {name} has no cases: there are no portraits in {data}")
    return cases[:limit]


def _folder_cases(data: Path) -> list[Case]:
    photos = sorted(path for path in data.iterdir() if path.suffix.lower() in _PICTURES)
    return [Case(slug(photo.stem), photo, ()) for photo in photos]


def _file_cases(path: Path, data: Path) -> list[Case]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return [
        Case(
            name=f"{content['name']}-{person}",
            photo=data / content["source"].format(person=person),
            targets=tuple(
                Target(entry["name"], data / entry["photo"].format(person=person), entry.get("yaw"))
                for entry in content["targets"]
            ),
        )
        for person in content["people"]
    ]
