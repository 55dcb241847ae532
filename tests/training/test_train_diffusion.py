"""The training step of the diffusion model, and that it learns."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from avatarcli.diffusion.schedule import denoise, make_scheduler
from avatarcli.diffusion.transformer import CONDITIONING_CHANNELS, MultiViewVideoTransformer
from avatarcli.progress import SilentProgress
from avatarcli.training.diffusion import MultiViewBatch, choose_given, diffusion_loss
from avatarcli.training.loop import TrainConfig, train

SIDE = 4


def toy(width: int = 32, layers: int = 1) -> MultiViewVideoTransformer:
    torch.manual_seed(0)
    return MultiViewVideoTransformer(
        num_attention_heads=2, attention_head_dim=width // 2, num_layers=layers, time_embed_dim=width
    )


def batch(samples: int, views: int, latents: int, *, weight: bool = False) -> MultiViewBatch:
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(samples, *shape, SIDE, SIDE, generator=generator)

    return MultiViewBatch(
        normal(16),
        normal(CONDITIONING_CHANNELS),
        normal(views, latents, 16),
        normal(views, latents, CONDITIONING_CHANNELS),
        normal(views, latents, 1).abs() if weight else None,
    )


@pytest.mark.parametrize(("views", "latents"), [(1, 1), (1, 4), (5, 1), (3, 3)])
def test_something_is_always_left_to_make(views: int, latents: int) -> None:
    torch.manual_seed(0)
    given = choose_given(400, views, latents)
    assert given.shape == (400, views, latents)
    assert not given.flatten(1).all(1).any()
    share = given.flatten(1).any(1).float().mean()
    assert share == 0 if views * latents == 1 else 0.4 < share < 0.6
    if views > 1 and latents > 1:
        partly = given.any(2) & ~given.all(2)
        assert partly.any(1).float().mean() > 0.1  # first latents, or any
        assert (given.all(2).any(1) & ~partly.any(1)).float().mean() > 0.1  # whole views


class Recorder(torch.nn.Module):
    """Says nothing but zero, and remembers what it saw."""

    def forward(self, x: Tensor, timestep: Tensor, time_index: Tensor, given: Tensor, conditioning: Tensor) -> Tensor:
        self.seen = (x, timestep, time_index, given, conditioning)
        return torch.zeros_like(x)


def test_loss_is_of_the_noisy_latents_only() -> None:
    """With zero for an answer, the loss is the target's own mean square: worked out by hand from what the model saw."""
    model, scheduler, samples = Recorder(), make_scheduler(), batch(6, 2, 3, weight=True)
    torch.manual_seed(5)
    loss = diffusion_loss(model, samples, scheduler, hide_photo=0.0)
    x, timestep, time_index, given, _ = model.seen
    assert given[:, 0].all()
    assert torch.equal(time_index, torch.tensor([0, 0, 1, 2, 0, 1, 2]))
    clean = torch.cat([samples.photo[:, None], samples.latents.flatten(1, 2)], dim=1)
    assert torch.equal(x[given], clean[given])
    assert (timestep[given] == 0).all()
    total, count = 0.0, 0.0
    for sample in range(6):
        for place in range(7):
            if given[sample, place]:
                continue
            alpha = float(scheduler.alphas_cumprod[timestep[sample, place]])
            noise = (x[sample, place] - alpha**0.5 * clean[sample, place]) / (1 - alpha) ** 0.5
            target = alpha**0.5 * noise - (1 - alpha) ** 0.5 * clean[sample, place]
            weight = samples.weight.flatten(1, 2)[sample, place - 1]
            total += float((target.square().mean(0) * weight[0]).sum())
            count += float(weight.sum())
    assert float(loss) == pytest.approx(total / count, rel=1e-4)


def test_hidden_photo_leaves_no_trace() -> None:
    model, scheduler = Recorder(), make_scheduler()
    diffusion_loss(model, batch(3, 2, 1), scheduler, hide_photo=1.0)
    x, _, _, given, conditioning = model.seen
    assert x[:, 0].abs().max() == 0
    assert not given[:, 0].any()
    assert conditioning[:, 0].abs().max() == 0
    views = conditioning[:, 1:]
    # Visibility and facing of each of four frames, and the encoded warp; the other maps are still there.
    gone = [51 * frame + channel for frame in range(4) for channel in (49, 50)] + list(range(204, 220))
    kept = sorted(set(range(220)) - set(gone))
    assert views[:, :, gone].abs().max() == 0
    assert (views[:, :, kept].abs().amax((0, 1, 3, 4)) > 0).all()


def subjects() -> MultiViewBatch:
    """Two people: each has a color pattern of its own that moves with the view; the conditioning is the view's place."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij")
    phases = torch.arange(16) / 3
    latents = torch.stack(
        [
            torch.stack([torch.sin(2 * x + person + phases[:, None, None]) * torch.cos(y + view) for view in range(3)])
            for person in (0.0, 2.0)
        ]
    )
    conditioning = torch.zeros(2, 3, 1, CONDITIONING_CHANNELS, SIDE, SIDE)
    for view in range(3):
        conditioning[:, view, 0, view] = 1
    photo_conditioning = torch.zeros(2, CONDITIONING_CHANNELS, SIDE, SIDE)
    return MultiViewBatch(latents[:, 0], photo_conditioning, 1.4 * latents[:, :, None], conditioning)


def test_two_subjects_are_learned_by_heart(tmp_path: Path) -> None:
    people = subjects()
    # Wider than a patch's 64 numbers, for all of the noise has to pass.
    model = toy(width=128, layers=2)
    repeated = MultiViewBatch(*(t.repeat(6, *[1] * (t.ndim - 1)) for t in (
        people.photo, people.photo_conditioning, people.latents, people.conditioning)))  # fmt: skip
    config = TrainConfig(steps=500, batch_size=12, learning_rate=2e-3, warmup=20, flat=0.3, checkpoint_every=2000)
    loss = partial(diffusion_loss, scheduler=make_scheduler(), hide_photo=0.0)
    losses = train(model, lambda step: repeated, loss, config, tmp_path, SilentProgress()).losses
    first, last = (sum(part) / len(part) for part in (losses[:5], losses[-40:]))
    assert last < first / 10
    scene = people.scene(torch.zeros(2, 3, 1, dtype=torch.bool))
    noise = torch.randn(scene.latents.shape, generator=torch.Generator().manual_seed(9))
    with torch.inference_mode():
        sampled = denoise(model, scene, noise, steps=10)
    error = (sampled - scene.latents)[:, 1:].square().mean()
    peak = float(people.latents.amax() - people.latents.amin())
    assert 10 * torch.log10(peak**2 / error) > 25
