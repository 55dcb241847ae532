"""The person of a preprocess folder, as the later stages know them: files are read once, the scene is built once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from avatarcli.capture.preprocessed import TRACK_FILE, Preprocessed
from avatarcli.head.model import load_head_model
from avatarcli.reproject.scene import SeenPerson
from avatarcli.reproject.side_light import side_lift, softened
from avatarcli.stages.artefacts import fitted_photos
from avatarcli.stages.photos import BY_LANDMARKS
from avatarcli.workspace import Subject


def preprocess_folder(subject: Subject) -> Path:
    """The folder of a subject's preprocessed photos. Raises WorkspaceError when it is missing, damaged or out of date."""
    return subject.whole("preprocess", TRACK_FILE).parent


@dataclass(frozen=True)
class Person:
    """photos: all that there are, the frontal one first; lift [N, 3]: how much lighter they show the head's vertices than they were
    taken, see `side_lift`; taken: the photos as they were taken."""

    photos: Sequence[Preprocessed]
    lift: Tensor
    taken: Sequence[Preprocessed]

    @classmethod
    def load(cls, preprocess: Path) -> Person:
        """Read a preprocess folder. Raises OSError when a file is missing.

        A single photo that is lit from one side gets softer light. Several photos know how the sides look.
        """
        further = [
            Preprocessed.load(preprocess / entry["folder"], exact=entry["fitted_by"] == BY_LANDMARKS)
            for entry in fitted_photos(preprocess)[1:]
        ]
        frontal, model = Preprocessed.load(preprocess), load_head_model()
        lift = torch.zeros_like(model.mean) if further else side_lift(model, frontal)
        return cls([softened(model, frontal, lift), *further], lift, [frontal, *further])

    @property
    def frontal(self) -> Preprocessed:
        return self.photos[0]

    @cached_property
    def seen(self) -> SeenPerson:
        """As the frontal photo shows them."""
        return SeenPerson.of(load_head_model(), self.frontal)
