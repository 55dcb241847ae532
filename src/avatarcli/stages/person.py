"""The person of a preprocess folder, as the later stages know them: files are read once, the scene is built once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from avatarcli.capture.preprocessed import Preprocessed
from avatarcli.head.model import load_head_model
from avatarcli.reproject.scene import SeenPerson
from avatarcli.stages.artefacts import fitted_photos
from avatarcli.stages.photos import BY_LANDMARKS


@dataclass(frozen=True)
class Person:
    """photos: all that there are, the frontal one first."""

    photos: Sequence[Preprocessed]

    @classmethod
    def load(cls, preprocess: Path) -> Person:
        further = [
            Preprocessed.load(preprocess / entry["folder"], exact=entry["fitted_by"] == BY_LANDMARKS)
            for entry in fitted_photos(preprocess)[1:]
        ]
        return cls([Preprocessed.load(preprocess), *further])

    @property
    def frontal(self) -> Preprocessed:
        return self.photos[0]

    @cached_property
    def seen(self) -> SeenPerson:
        """As the frontal photo shows them."""
        return SeenPerson.of(load_head_model(), self.frontal)
