"""Light fitted to what is seen, and where it does not reach."""

from __future__ import annotations

import torch
from torch.nn import functional

from avatarcli.head.model import load_head_model
from avatarcli.reproject.shading import fit_light, hollows, lit, tint_distance


def test_light_from_a_side_is_found_and_carried_on() -> None:
    generator = torch.Generator().manual_seed(0)
    normals = functional.normalize(torch.randn(4000, 3, generator=generator), dim=-1)
    normals = normals[normals[:, 2] > 0.3]  # only what faces the camera is seen
    truth = torch.tensor([[0.5, 0.4, 0.3], [0.06, 0.05, 0.04], [0.04, 0.03, 0.02], [0.02, 0.02, 0.02]])
    color = truth[0] + normals @ truth[1:]
    light = fit_light(color, normals, torch.ones(len(normals)))
    assert torch.allclose(light[0] + normals @ light[1:], color, atol=0.02)
    left, right = lit(light, torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]]), color.mean(0)).mean(-1)
    assert left > 1 > right


def test_hollows_of_an_ear_are_darker_than_a_cheek() -> None:
    model = load_head_model()
    light = hollows(model, model.mean)[:, 0]
    ear, skull = light[model.in_regions("ear")], light[model.in_regions("scalp")]
    assert ear.amin() < 0.7
    assert skull.mean() > 0.9


def test_tint_counts_more_than_light() -> None:
    skin = torch.tensor([0.8, 0.6, 0.5])
    shaded, blue = tint_distance(torch.stack([0.6 * skin, torch.tensor([0.5, 0.6, 0.8])]), skin)
    assert shaded < 0.1 < blue
