"""Blinks and wide eyes from the gap between the lids, on landmarks that known coefficients made."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from avatarcli.geometry.rotations import axis_angle_to_matrix
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.model import HeadModel, PersonalHead
from avatarcli.tracking.lids import WIDES, lid_actions
from avatarcli.tracking.resting_face import BLINKS
from avatarcli.tracking.video import UNTRACKED, fit_video

SIZE = (640, 480)
Float = NDArray[np.float64]
UPPER_LIDS, LOWER_LIDS = [385, 386, 387, 160, 159, 158], [380, 374, 373, 144, 145, 153]
# Frames: from, to, and what happens in them.
ACTIONS = {
    "blink": (20, 24, {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}),
    "wide": (30, 38, {"eyeWideLeft": 1.0, "eyeWideRight": 1.0}),
    "jaw": (44, 50, {"jawOpen": 0.6}),
    "sneer": (52, 58, {"noseSneerLeft": 1.0, "noseSneerRight": 1.0}),
    "tongue": (44, 50, {"tongueOut": 0.9}),
}


@pytest.fixture(scope="module", params=[3, 4])
def found(request: pytest.FixtureRequest, model: HeadModel) -> Float:
    """What is tracked of somebody whose blinks are scored 0.3 at most, and whose head bends down at the end: [70, 52]."""
    expression, turn = np.zeros((70, 52)), np.zeros((70, 3))
    for first, end, weights in ACTIONS.values():
        for name, weight in weights.items():
            expression[first:end, EXPRESSION_INDEX[name]] = weight
    turn[60:, 0] = 0.17
    identity = torch.from_numpy(np.random.default_rng(request.param).normal(size=150) * (np.arange(150) < 10)).float()
    head = PersonalHead.create(model, identity)
    points = model.landmarks(
        head.vertices(torch.from_numpy(expression).float(), torch.zeros(70, 2, 2), torch.zeros(70, 3))
    )
    points = points @ axis_angle_to_matrix(torch.from_numpy(turn).float()).transpose(-1, -2)
    local = points * torch.tensor([1.0, -1.0, -1.0]) + torch.tensor([0.0, 0.0, 0.9])
    pixels = 800 * local[..., :2] / local[..., 2:] + torch.tensor(SIZE) / 2
    depth = (local[..., 2:] - local[..., 2:].mean(1, keepdim=True)) * 800 / 0.9
    noise = np.random.default_rng(1).normal(0, 0.15, (70, 478, 3))
    seen = (torch.cat([pixels, depth], -1).numpy() + noise).astype(np.float32)
    # The detector shows shut lids nearer to each other than the model's own landmarks are.
    first, end, _ = ACTIONS["blink"]
    upper, lower = seen[first:end, UPPER_LIDS], seen[first:end, LOWER_LIDS]
    seen[first:end, UPPER_LIDS], seen[first:end, LOWER_LIDS] = 0.6 * upper + 0.4 * lower, 0.4 * upper + 0.6 * lower
    scores = np.zeros((70, 52), np.float32)
    scores[:, BLINKS] = 0.3 * expression[:, BLINKS]
    scores[:, EXPRESSION_INDEX["jawOpen"]] = expression[:, EXPRESSION_INDEX["jawOpen"]]
    scores[:, EXPRESSION_INDEX["tongueOut"]] = expression[:, EXPRESSION_INDEX["tongueOut"]]
    return fit_video(model, seen, scores, np.ones(70, bool), SIZE, 30.0).clip.expression.astype(np.float64)


def test_a_full_blink_is_full_whatever_its_score(found: Float) -> None:
    assert found[21:23, BLINKS].min() > 0.9
    assert np.delete(found[:, BLINKS], range(19, 25), axis=0).max() < 0.1


def test_wide_eyes_are_found_and_not_invented(found: Float) -> None:
    assert found[32:36, WIDES].mean() > 0.6
    elsewhere = np.delete(found[:, WIDES], range(28, 41), axis=0)
    assert elsewhere.mean() < 0.02
    assert elsewhere.max() < 0.15


def test_the_tongue_comes_from_its_score(found: Float) -> None:
    tongue = found[:, EXPRESSION_INDEX["tongueOut"]]
    assert tongue[46:48].mean() > 0.7
    assert tongue[:40].max() < 0.05


def test_what_is_not_tracked_stays_0(found: Float) -> None:
    assert not found[:, [EXPRESSION_INDEX[name] for name in UNTRACKED]].any()


def test_winks_and_turned_heads() -> None:
    frames, ahead = 11, np.repeat(np.eye(3)[None], 11, axis=0)
    at_rest, usual = np.full((frames, 2), 0.3), np.ones(frames, bool)
    gaps = at_rest.copy()
    gaps[8] = 0.3 * np.array([0.4, 0.85])  # as the detector shows a wink
    gaps[9] = 0.3 * 1.2
    nothing = np.zeros((frames, 2))
    blink, wide = lid_actions(
        gaps, at_rest, nothing + [[0.6, 0.1]] * (np.arange(11)[:, None] == 8), usual, ahead, nothing[:, 0]
    )
    assert blink[8, 0] > 0.85
    assert blink[8, 1] < 0.05
    assert wide[9].min() > 0.6
    assert not wide[:8].any()
    # A head turned to the side shows its lids too badly to overrule the scores.
    aside = axis_angle_to_matrix(torch.tensor([[0.0, 0.9, 0.0]])).numpy().repeat(frames, 0)
    blink, wide = lid_actions(gaps, at_rest, nothing, usual, aside, nothing[:, 0])
    assert not blink.any()
    assert not wide.any()
