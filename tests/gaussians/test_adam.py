"""The optimiser of a fit: torch's own Adam, without what that loads."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import Tensor

from avatarcli.gaussians.adam import Adam

RATES = {"near": 1e-2, "far": 3e-3, "unused": 1.0}


def start() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"near": (6, 2), "far": (5,), "unused": (3,)}
    return {name: torch.randn(shape, generator=generator, requires_grad=True) for name, shape in shapes.items()}


def loss(parameters: dict[str, Tensor], step: int) -> Tensor:
    near, far = parameters["near"], parameters["far"]
    return ((near - step) * torch.arange(12).view(6, 2)).square().sum() + far.sin().sum() * near.mean()


def test_it_steps_as_torch_does() -> None:
    ours, theirs = start(), start()
    groups = [{"params": [value], "name": name} for name, value in theirs.items()]
    reference = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15, fused=True)
    optimizer = Adam()
    for step in range(20):
        rates = {name: rate * 0.9**step for name, rate in RATES.items()}
        for parameters in (ours, theirs):
            for value in parameters.values():
                value.grad = None
            loss(parameters, step).backward()
        optimizer.step(ours, rates)
        for group in reference.param_groups:
            group["lr"] = rates[group["name"]]
        reference.step()
    for name in RATES:
        assert torch.equal(ours[name], theirs[name])
    assert torch.equal(ours["unused"], start()["unused"])  # nothing pulled it
    assert not torch.equal(ours["near"], start()["near"])


def test_moments_follow_their_rows() -> None:
    parameters, optimizer = start(), Adam()
    loss(parameters, 1).backward()
    optimizer.step(parameters, RATES)
    before, other = optimizer.moments["near"], optimizer.moments["far"]
    source = torch.tensor([5, 0, 2, 2])
    parameters["near"] = parameters["near"].detach()[source].requires_grad_(True)
    optimizer.rearrange(("near", "unused"), source)
    after = optimizer.moments["near"]
    assert torch.equal(after.exp_avg, before.exp_avg[source])
    assert torch.equal(after.exp_avg_sq, before.exp_avg_sq[source])
    assert int(after.step) == 1
    assert optimizer.moments["far"] is other
    assert "unused" not in optimizer.moments
    # And it goes on learning: rows of one origin step alike.
    moved = parameters["near"].detach().clone()
    parameters["near"].sum().backward()
    optimizer.step(parameters, RATES)
    assert torch.equal(parameters["near"][2], parameters["near"][3])
    assert (parameters["near"] != moved).all()


def test_it_loads_no_compiler() -> None:
    program = (
        "import sys, torch; from avatarcli.gaussians.adam import Adam; x = torch.ones(3, requires_grad=True);"
        " x.sum().backward(); Adam().step({'x': x}, {'x': 0.1}); print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
