"""What a subject's folder says of itself: its manifest, and a record of every finished stage, as JSON.

The files may have been edited, or be another program's: what is read is checked, so that nothing later trips over it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

FORMAT_VERSION = 1


def fingerprint_of(value: dict[str, Any]) -> str:
    """SHA-256 of plain JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class FileRecord:
    """What a finished file must look like. Raises TypeError for other kinds of values."""

    size: int  # bytes
    sha256: str

    def __post_init__(self) -> None:
        _check_kinds(self, size=int, sha256=str)


@dataclass(frozen=True)
class StageRecord:
    """What a finished stage says of itself. Raises TypeError for other kinds of values."""

    stage: str
    fingerprint: str
    seconds: float  # spent working; a resumed stage counts only its last run
    files: dict[str, FileRecord]  # by path relative to the stage's folder, with forward slashes
    inputs: dict[str, str] = field(default_factory=dict)  # earlier stages and what they held then: their `content`

    def __post_init__(self) -> None:
        _check_kinds(self, stage=str, fingerprint=str, seconds=(int, float), files=dict, inputs=dict)
        if not all(isinstance(content, str) for content in self.inputs.values()):
            raise TypeError("inputs must be text")

    @classmethod
    def from_json(cls, content: Any) -> StageRecord:
        """The inverse of `asdict`. Raises TypeError, KeyError, ValueError or AttributeError when it is something else."""
        files = {name: FileRecord(**entry) for name, entry in content.pop("files").items()}
        return cls(files=files, **content)

    @property
    def content(self) -> str:
        """One hash for everything that the stage wrote: what the next stage depends on."""
        return fingerprint_of({name: entry.sha256 for name, entry in self.files.items()})

    @property
    def bytes(self) -> int:
        return sum(entry.size for entry in self.files.values())


@dataclass(frozen=True)
class Manifest:
    """What is known of a subject beside its stages. Raises TypeError for other kinds of values."""

    subject: str
    photo: str  # path of the (first) photo as the user gave it
    photo_sha256: str  # of several photos: one hash for all of them
    config: dict[str, Any]  # the resolved CreateConfig
    further_photos: list[str] = field(default_factory=list)  # paths of others of the same person
    format_version: int = field(default=FORMAT_VERSION)

    def __post_init__(self) -> None:
        _check_kinds(self, subject=str, photo=str, photo_sha256=str, config=dict, further_photos=list)
        if not all(isinstance(photo, str) for photo in self.further_photos):
            raise TypeError("further_photos must be text")


def _check_kinds(record: object, **kinds: type | tuple[type, ...]) -> None:
    for name, kind in kinds.items():
        value = getattr(record, name)
        if not isinstance(value, kind):
            raise TypeError(f"{name} cannot be {value!r}")
