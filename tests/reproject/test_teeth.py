"""The upper teeth reach as far down as the photo shows them, and both rows stand apart in an open mouth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avatarcli.geometry.cameras import orbit_cameras
from avatarcli.head.expressions import expression_vector
from avatarcli.head.model import PersonalHead, load_head_model
from avatarcli.head.parameters import HeadParameters
from avatarcli.reproject.teeth import fit_upper_teeth, part_teeth

SIZE = 512
SKIN = torch.tensor([0.8, 0.6, 0.5])


def fitted(share: float, smile: float = 1.0) -> tuple[float, float]:
    """How far (metres) the teeth were moved, and how far (pixels) their edge then is from the painted one.

    share: of the gap between the lips that is painted as teeth, from above. smile: how far the mouth is open.
    """
    model = load_head_model()
    head = PersonalHead.create(model, torch.zeros(model.identity_size))
    face = HeadParameters.at_rest()
    actions = {"jawOpen": 0.25 * smile, "mouthUpperUpLeft": 0.4 * smile, "mouthUpperUpRight": 0.4 * smile}
    face.expression[0] = torch.tensor(expression_vector(actions))
    posed = head.posed(face)[0]
    zero, target = torch.zeros(1), torch.tensor([0.0, -0.06, 0.0])
    camera = orbit_cameras(zero, zero, distance=1.0, target=target, focal=4 * SIZE, size=SIZE)[0]
    landmarks, _ = camera.project(model.landmarks(posed))
    top, bottom = landmarks[13, 1], landmarks[14, 1]
    edge = torch.lerp(top, bottom, torch.tensor(share))
    rows = (torch.arange(SIZE) + 0.5)[:, None, None]
    dark, tooth = torch.tensor([0.15, 0.05, 0.05]), torch.tensor([0.85, 0.82, 0.78])
    image = torch.where(rows < edge, tooth, dark).expand(SIZE, SIZE, 3)
    moved, shown = fit_upper_teeth(head, posed, image, camera, landmarks, SKIN)
    teeth = model.part("teeth_upper")
    down = head.neutral[teeth, 1] - moved.neutral[teeth, 1]
    assert shown == (share > 0 and smile > 0)
    assert torch.allclose(down, down[:1].expand_as(down), atol=1e-6)
    others = torch.ones(model.vertex_count, dtype=torch.bool)
    others[teeth] = False
    assert torch.equal(moved.neutral[others], head.neutral[others])
    middle = posed[teeth][head.neutral[teeth, 0].abs() < 0.008]
    lowest = middle[middle[:, 1].argmin()].clone()
    lowest[1] -= down[0]
    return float(down[0]), float(camera.project(lowest[None])[0][0, 1] - edge)


@pytest.mark.parametrize("share", [0.6, 0.8])
def test_their_edge_is_laid_on_the_photos(share: float) -> None:
    down, gap = fitted(share)
    assert 0.0005 < down < 0.008
    assert abs(gap) < 3


def test_a_dark_mouth_says_nothing() -> None:
    assert fitted(0.0)[0] == 0


def test_shut_lips_say_nothing() -> None:
    assert fitted(1.0, smile=0.0)[0] == 0


def row_edges(head: PersonalHead, jaw: float) -> tuple[float, float, float]:
    """Heights (metres) of the upper lip, the upper incisors' edge and the lower incisors' edge with the jaw down so far."""
    face = HeadParameters.at_rest()
    face.expression[0] = torch.tensor(expression_vector({"jawOpen": jaw}))
    vertices = head.posed(face)[0]
    rows = {}
    for name in ("teeth_upper", "teeth_lower"):
        place = head.neutral[head.model.part(name)]
        front = (place[:, 0].abs() < 0.006) & (place[:, 2] > place[:, 2].amax() - 0.008)
        rows[name] = vertices[head.model.part(name)][front, 1]
    lip = head.model.landmarks(vertices)[13, 1]
    return float(lip), float(rows["teeth_upper"].amin()), float(rows["teeth_lower"].amax())


@pytest.mark.parametrize("seed", range(4))
def test_an_open_mouth_shows_two_rows_and_the_dark_between(seed: int) -> None:
    model = load_head_model()
    identity = torch.randn(model.identity_size, generator=torch.Generator().manual_seed(seed))
    # Long upper teeth, as a smile may show them, take the lower ones down too.
    drawn = PersonalHead.create(model, 0.7 * identity)
    long = replace(drawn, neutral=drawn.neutral.clone())
    long.neutral[model.part("teeth_upper"), 1] -= 0.004
    for head in (drawn, long):
        parted = part_teeth(head, False)
        lip, upper, lower = row_edges(parted, 0.0)
        assert upper <= lip - 0.0024
        assert lower <= upper + 0.0021
        assert upper - row_edges(parted, 0.6)[2] > 0.005  # the dark between them, a finger's breadth at most in life
        teeth = torch.zeros(model.vertex_count, dtype=torch.bool)
        for name in ("teeth_upper", "teeth_lower"):
            teeth[model.part(name)] = True
        assert torch.equal(parted.neutral[~teeth], head.neutral[~teeth])
        assert torch.equal(part_teeth(parted, False).neutral, parted.neutral)


def test_teeth_that_a_photo_has_shown_stay(mean_head: PersonalHead) -> None:
    teeth = mean_head.model.part("teeth_upper")
    assert torch.equal(part_teeth(mean_head, True).neutral[teeth], mean_head.neutral[teeth])
    assert (part_teeth(mean_head, False).neutral[teeth, 1] < mean_head.neutral[teeth, 1]).all()
