"""Blinks shut the eyes of every head, and no more than that."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from avatarcli.geometry.cameras import orbit_cameras
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.model import HeadModel, PersonalHead, still_head
from avatarcli.head.shutting import shut_at_one


def _head(model: HeadModel, seed: int) -> PersonalHead:
    generator = torch.Generator().manual_seed(seed)
    return PersonalHead.create(model, 0.8 * torch.randn(model.identity_size, generator=generator))


def _eye_pixels(head: PersonalHead, blink: float) -> Tensor:
    """How many pixels of each eye [2] a picture from the front shows."""
    model = head.model
    vertices = head.posed(still_head({"eyeBlinkLeft": blink, "eyeBlinkRight": blink}))[0]
    lids = head.neutral[model.in_regions("eyelid")]
    front = torch.zeros(1)
    camera = orbit_cameras(front, front, distance=1.0, target=lids.mean(0), focal=400 / 0.14, size=400)[0]
    raster = rasterize_mesh(vertices, model.faces, camera)
    part = model.face_part[raster.face.clamp(min=0)]
    return torch.stack([(raster.covered & (part == side)).sum() for side in (1, 2)])


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_lids_are_open_before_the_end_of_a_blink_and_shut_at_it(model: HeadModel, seed: int) -> None:
    head = _head(model, seed)
    opened = _eye_pixels(head, 0.0)
    assert (opened > 200).all()
    assert (_eye_pixels(head, 0.5) > 0.25 * opened).all()
    assert (_eye_pixels(head, 0.8) > 0.02 * opened).all()
    assert (_eye_pixels(head, 1.0) < 0.01 * opened).all()


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_the_upper_lid_stays_above_the_cheek(model: HeadModel, seed: int) -> None:
    # MediaPipe's points: the middle of the upper and of the lower lid of both eyes.
    head = _head(model, seed)
    points = model.landmarks(head.posed(still_head({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}))[0])
    apart = points[[386, 159], 1] - points[[374, 145], 1]
    assert (apart > 0).all()
    assert (apart < 0.002).all()
    raw = replace(head, expression_basis=model.expression_basis)
    points = model.landmarks(raw.posed(still_head({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}))[0])
    assert (points[[386, 159], 1] < points[[374, 145], 1]).any()  # as the model blinks


def test_other_expressions_are_the_models(model: HeadModel) -> None:
    own = shut_at_one(model, model.mean)
    blinks = [EXPRESSION_INDEX["eyeBlinkLeft"], EXPRESSION_INDEX["eyeBlinkRight"]]
    others = [index for index in range(len(own)) if index not in blinks]
    assert torch.equal(own[others], model.expression_basis[others])
    way, wanted = own[blinks], model.expression_basis[blinks]
    assert torch.equal(way.any(-1), wanted.any(-1))
    cosine = torch.cosine_similarity(way, wanted, dim=-1)[wanted.any(-1)]
    assert (cosine > 1 - 1e-4).all()


def test_eyes_that_are_shut_at_rest_keep_the_models_blink(model: HeadModel) -> None:
    shut = PersonalHead.create(model, torch.zeros(model.identity_size))
    neutral = shut.posed(still_head({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}))[0]
    assert torch.isfinite(shut_at_one(model, neutral)).all()


def test_a_wide_eye_is_given_a_longer_way_than_a_narrow_one(model: HeadModel) -> None:
    head = PersonalHead.create(model, torch.zeros(model.identity_size))
    reach = []
    for weights in ({"eyeWideLeft": 1.0}, {"eyeSquintLeft": 1.0}):
        neutral = head.posed(still_head(weights))[0]
        reach.append(float(shut_at_one(model, neutral)[EXPRESSION_INDEX["eyeBlinkLeft"]].norm(dim=-1).amax()))
    assert reach[0] > 1.1 * reach[1]
