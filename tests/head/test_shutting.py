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
from avatarcli.head.parameters import HeadParameters
from avatarcli.head.shutting import Blinks, shut_at_one


def _head(model: HeadModel, seed: int) -> PersonalHead:
    generator = torch.Generator().manual_seed(seed)
    return PersonalHead.create(model, 0.8 * torch.randn(model.identity_size, generator=generator))


def _blink(blink: float, **others: float) -> HeadParameters:
    """A blink of both eyes, with other expressions by their names without a side."""
    sides = ("Left", "Right")
    return still_head(
        {name + side: weight for name, weight in (("eyeBlink", blink), *others.items()) for side in sides}
    )


def _eye_pixels(head: PersonalHead, parameters: HeadParameters) -> Tensor:
    """How many pixels of each eye [2] a picture from the front shows."""
    model = head.model
    vertices = head.posed(parameters)[0]
    lids = head.neutral[model.in_regions("eyelid")]
    front = torch.zeros(1)
    camera = orbit_cameras(front, front, distance=1.0, target=lids.mean(0), focal=400 / 0.14, size=400)[0]
    raster = rasterize_mesh(vertices, model.faces, camera)
    part = model.face_part[raster.face.clamp(min=0)]
    return torch.stack([(raster.covered & (part == side)).sum() for side in (1, 2)])


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_lids_are_open_before_the_end_of_a_blink_and_shut_at_it(model: HeadModel, seed: int) -> None:
    head = _head(model, seed)
    opened = _eye_pixels(head, _blink(0.0))
    assert (opened > 200).all()
    assert (_eye_pixels(head, _blink(0.5)) > 0.25 * opened).all()
    assert (_eye_pixels(head, _blink(0.8)) > 0.02 * opened).all()
    assert (_eye_pixels(head, _blink(1.0)) < 0.01 * opened).all()


def _apart(head: PersonalHead, parameters: HeadParameters) -> Tensor:
    """Metres from the middle of the lower lid up to that of the upper one, of each eye [2]: MediaPipe's points."""
    points = head.model.landmarks(head.posed(parameters)[0])
    return points[[386, 159], 1] - points[[374, 145], 1]


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_the_upper_lid_stays_above_the_cheek(model: HeadModel, seed: int) -> None:
    # MediaPipe's points: the middle of the upper and of the lower lid of both eyes.
    head = _head(model, seed)
    apart = _apart(head, _blink(1.0))
    assert (apart > 0).all()
    assert (apart < 0.002).all()
    raw = replace(head, expression_basis=model.expression_basis)
    assert (_apart(raw, _blink(1.0)) < 0).any()  # as the model blinks


@pytest.mark.parametrize("other", ["eyeLookDown", "eyeLookUp", "eyeSquint", "eyeWide", "browDown", "cheekSquint"])
def test_lids_meet_whatever_else_moves_them(model: HeadModel, other: str) -> None:
    head = _head(model, 4)
    together = _blink(1.0, **{other: 1.0})
    assert (_apart(head, together) > -0.0003).all()
    assert (_apart(head, together) < 0.002).all()
    assert (_eye_pixels(head, together) < 0.01 * _eye_pixels(head, _blink(0.0))).all()
    # Half of a blink shuts half of what the other has left open.
    narrowed, half = _apart(head, _blink(0.0, **{other: 1.0})), _apart(head, _blink(0.5, **{other: 1.0}))
    assert ((half / narrowed - 0.5).abs() < 0.15).all()


def test_one_eye_s_squint_leaves_the_other_s_blink_alone(model: HeadModel) -> None:
    head = _head(model, 5)
    squint = replace(head, blinks=Blinks.alone()).moved(still_head({"eyeSquintRight": 1.0}).expression)
    both = head.moved(still_head({"eyeBlinkLeft": 1.0, "eyeSquintRight": 1.0}).expression)
    lid = model.in_regions("eyelid") & (model.mean[:, 0] > 0)
    blink = head.moved(still_head({"eyeBlinkLeft": 1.0}).expression)
    assert torch.allclose((both - squint)[:, lid], blink[:, lid], atol=1e-5)


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
