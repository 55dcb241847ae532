"""Benchmarks as data: which photo each avatar is made of, and which other photos of the person judge it.

`cases/<name>.json` lists the people of a photo set that the user has. The benchmark `self` needs no file: it
takes any folder of portraits and judges every avatar by its own photo. `studio` has no photos: see `evaluation.studio`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    """One avatar to make and to judge. further: what it is made of beside `photo`; `targets` are all others."""

    name: str
    photo: Path
    targets: tuple[Target, ...]
    further: tuple[Path, ...] = ()

    def with_given(self, names: Sequence[str]) -> Case:
        """The case whose avatar is made of the targets of these names too; those are not judged."""
        if not names:
            return self
        given = [target for target in self.targets if target.name in names]
        return replace(
            self,
            # An avatar of its own: it would replace the one of a single photo, and be replaced by it.
            name="-".join([self.name, "with", *(slug(target.name) for target in given)]),
            targets=tuple(target for target in self.targets if target.name not in names),
            further=tuple(target.photo for target in given),
        )


def benchmark_names() -> list[str]:
    """`self` and those that come as files: all that judge by photos."""
    return [SELF, *sorted(path.stem for path in _FOLDER.glob("*.json"))]


def load_benchmark(name: str, data: Path, limit: int | None = None, given: Sequence[str] = ()) -> list[Case]:
    """The cases of a benchmark, at most `limit` of them, on the photos in the folder `data`. The photos need not
    exist: a case without them fails when it is run. given: names of targets that avatars are made of too.

    Raises:
        UsageError: there is no such benchmark, folder or target, it has no cases, or no target is left to judge by.
    """
    if name not in benchmark_names():
        raise UsageError(f"no benchmark is called '{name}'; there are {', '.join([*benchmark_names(), STUDIO])}")
    if not data.is_dir():
        raise UsageError(f"{data} is not a folder of photos: name the one that benchmark {name} needs with --data")
    cases = _folder_cases(data) if name == SELF else _file_cases(_FOLDER / f"{name}.json", data)
    if not cases[:limit]:
        raise UsageError(f"benchmark {name} has no cases: there are no portraits in {data}")
    names = [target.name for target in cases[0].targets]
    for wanted in given:
        if wanted not in names:
            there = f"it has {', '.join(names)}" if names else "it has one photo of each person"
            raise UsageError(f"benchmark {name} has no photo that is called '{wanted}': {there}")
    if names and set(given) == set(names):
        raise UsageError("all photos are given: leave out one --given at least, to judge by")
    return [case.with_given(given) for case in cases[:limit]]


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
