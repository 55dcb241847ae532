"""Photos of the average head at rest, for tests of what an avatar is fitted to."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.gaussians.correctives import new_correctives
from avatarcli.gaussians.initialise import start_gaussians
from avatarcli.gaussians.scene_samples import sample_skin, skin_weights
from avatarcli.gaussians.start import Start
from avatarcli.geometry.cameras import Camera
from avatarcli.head.model import REGIONS, PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.head.photo_fit import PhotoFit
from avatarcli.multiview.framing import Framing

SIZE = 128


def view(head: PersonalHead, degrees: float) -> Camera:
    return Framing.of(head.neutral).cameras(torch.deg2rad(torch.tensor([degrees])), torch.zeros(1), SIZE)[0]


def track_of(head: PersonalHead, camera: Camera, landmarks: Tensor) -> PhotoFit:
    """The head at rest, found in a photo with these landmarks [478, 2]."""
    rest, zeros = HeadParameters.at_rest(), torch.zeros(head.model.identity_size)
    return PhotoFit(camera, zeros, head.neutral * 0, rest.expression[0], rest.gaze[0], landmarks, rest.expression[0])


def bare(head: PersonalHead) -> Avatar:
    """A start that covers the whole head, grey."""
    generator = torch.Generator().manual_seed(0)
    texture = torch.full((32, 32, 3), 0.5)
    samples = sample_skin(head, texture, skin_weights(head, dict.fromkeys(REGIONS, 1.0)), 4000, generator)
    return Avatar(
        head=head,
        correctives=new_correctives(4000, 1, generator),
        framing=Framing.of(head.neutral),
        provenance={},
        **start_gaussians(samples, SH_C0)._asdict(),
    )


def start_of(head: PersonalHead) -> Start:
    """`bare`, as pictures are prepared with it."""
    return Start(bare(head), "cpu")
