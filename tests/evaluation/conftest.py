"""An avatar of the example photo that was only laid out, not optimised: good enough to be judged, quick to make."""

from __future__ import annotations

import pytest
import torch

from avatarcli.config import CreateConfig, PreprocessConfig, to_json
from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.gaussians.correctives import new_correctives
from avatarcli.gaussians.initialise import start_gaussians
from avatarcli.gaussians.scene_samples import sample_scene
from avatarcli.multiview.framing import Framing
from avatarcli.progress import SilentProgress
from avatarcli.records import Manifest
from avatarcli.stages.person import Person
from avatarcli.stages.preprocess import preprocess_photo
from avatarcli.stages.source import Source
from avatarcli.workspace import Subject, Workspace
from example_photo import PHOTO


@pytest.fixture(scope="session")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A subject of a workspace with the files that an evaluation reads."""
    subject = Workspace(tmp_path_factory.mktemp("eval") / "avatars").new_subject("astronaut")
    preprocess_photo(
        Source.photo(PHOTO), subject.begin("preprocess", "f"), PreprocessConfig(crop_size=512), SilentProgress()
    )
    subject.commit("preprocess", "f", 0.0)
    scene = Person.load(subject.stage_path("preprocess")).seen.scene(0)
    generator = torch.Generator().manual_seed(0)
    start = start_gaussians(sample_scene(scene, 20_000, generator), SH_C0)
    Avatar(
        head=scene.head,
        correctives=new_correctives(len(start.means), 1, generator),
        framing=Framing.of(torch.cat([scene.head.neutral, scene.shell.vertices])),
        provenance={},
        **start._asdict(),
    ).save(subject.begin("distill", "f") / "avatar.safetensors")
    subject.commit("distill", "f", 0.0)
    subject.save_manifest(Manifest("astronaut", str(PHOTO), "0" * 64, to_json(CreateConfig())))
    return subject
