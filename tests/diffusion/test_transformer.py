"""The transformer against diffusers' own, and its symmetries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import CogVideoXTransformer3DModel
from torch import Tensor
from torch.nn import functional

from avatarcli.diffusion.checkpoints import load_cogvideox_transformer
from avatarcli.diffusion.transformer import CONDITIONING_CHANNELS, MultiViewVideoTransformer, _rotary_places, attention

SIDE = 8


def toy(**changes: Any) -> MultiViewVideoTransformer:
    """The mini architecture, small, with random weights everywhere."""
    torch.manual_seed(0)
    settings = {"num_attention_heads": 2, "attention_head_dim": 32, "num_layers": 2, "time_embed_dim": 16} | changes
    model = MultiViewVideoTransformer(**settings)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


def inputs(batch: int, count: int, *, seed: int = 0, side: int = SIDE) -> dict[str, Tensor]:
    """Two given latents and noisy ones; latent 0 is the photo."""
    generator = torch.Generator().manual_seed(seed)
    given = torch.zeros(batch, count, dtype=torch.bool)
    given[:, :2] = True
    return {
        "latents": torch.randn(batch, count, 16, side, side, generator=generator),
        "timestep": torch.randint(1, 1000, (batch, count), generator=generator) * ~given,
        "time_index": torch.randint(0, 4, (count,), generator=generator),
        "given": given,
        "conditioning": torch.randn(batch, count, CONDITIONING_CHANNELS, side, side, generator=generator),
    }


@pytest.mark.parametrize(("frames", "height", "width"), [(3, 8, 12), (1, 6, 6), (5, 4, 10)])
def test_one_view_without_conditioning_is_cogvideox(
    checkpoint: tuple[Path, CogVideoXTransformer3DModel], frames: int, height: int, width: int
) -> None:
    folder, theirs = checkpoint
    ours = load_cogvideox_transformer(folder)
    generator = torch.Generator().manual_seed(frames)
    latents = torch.randn(2, frames, 16, height, width, generator=generator)
    weights = torch.randn(latents.shape, generator=generator)
    timestep = torch.tensor([17, 930])
    leaves = [latents.clone().requires_grad_() for _ in range(2)]
    expected = theirs(leaves[0], ours.text.expand(2, -1, -1), timestep).sample
    actual = ours(leaves[1], timestep[:, None].expand(-1, frames), torch.arange(frames))
    assert torch.allclose(actual, expected, atol=1e-5)
    theirs.zero_grad()
    for output in (expected, actual):
        (output * weights).sum().backward()
    assert torch.allclose(leaves[1].grad, leaves[0].grad, atol=1e-5)
    wanted = dict(theirs.named_parameters())
    compared = 0
    for name, parameter in ours.named_parameters():
        if name.startswith("conditioning_proj"):
            continue
        scale = wanted[name].grad.abs().amax().clamp(min=1)
        assert torch.allclose(parameter.grad / scale, wanted[name].grad / scale, atol=1e-5), name
        compared += 1
    assert compared == len(wanted)


def test_fresh_conditioning_changes_nothing() -> None:
    model = toy()
    torch.nn.init.zeros_(model.conditioning_proj.weight)
    batch = inputs(1, 4)
    with torch.inference_mode():
        plain = model(batch["latents"], batch["timestep"], batch["time_index"])
        assert torch.equal(model(**batch), plain)
        torch.nn.init.normal_(model.conditioning_proj.weight)
        assert not torch.allclose(model(**batch), plain, atol=1e-3)


@pytest.mark.parametrize("settings", [{}, {"positions": "absolute", "shared_modulation": False, "text_tokens": 3}])
def test_permuted_latents_give_permuted_outputs(settings: dict[str, Any]) -> None:
    model = toy(**settings)
    batch = inputs(1, 7)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    shuffled = {name: value[order] if name == "time_index" else value[:, order] for name, value in batch.items()}
    with torch.inference_mode():
        assert torch.allclose(model(**shuffled), model(**batch)[:, order], atol=1e-5)


def test_batch_equals_its_samples() -> None:
    model = toy()
    batch = inputs(3, 5)
    with torch.inference_mode():
        together = model(**batch)
        for sample in range(3):
            alone = {k: v if k == "time_index" else v[sample : sample + 1] for k, v in batch.items()}
            assert torch.allclose(model(**alone)[0], together[sample], atol=1e-5)


def test_every_input_counts() -> None:
    model = toy()
    batch = inputs(1, 4)
    with torch.inference_mode():
        output = model(**batch)[:, -1]
        for name in batch:
            changed = dict(batch)
            # Only another latent is changed, so what is seen went through the attention.
            changed[name] = batch[name].clone()
            first = changed[name][..., 0] if name == "time_index" else changed[name][:, 0]
            first.copy_(~first if first.dtype is torch.bool else first + 3)
            assert (model(**changed)[:, -1] - output).abs().amax() > 1e-5, name


def test_places_are_relative_to_the_picture() -> None:
    small, large = (_rotary_places(torch.arange(2), side, side, 64).unflatten(2, (side, side)) for side in (16, 32))
    angle_small, angle_large = (torch.atan2(table[:, 1], table[:, 0]) for table in (small, large))
    # Four small patches of the large picture lie around one of the small picture's.
    mean = angle_large.unfold(1, 2, 2).unfold(2, 2, 2).mean((-1, -2))
    slow = [*range(14, 20), *range(26, 32)]  # of row and column, those that do not wrap
    assert torch.allclose(mean[..., slow], angle_small[..., slow], atol=1e-4)


def test_checkpointed_gradients_are_the_same() -> None:
    batch = inputs(1, 4)
    gradients = []
    for checkpointing in (False, True):
        model = toy().train()
        if checkpointing:
            model.enable_gradient_checkpointing()
        model(**batch).square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_mini_has_the_size_of_the_design() -> None:
    with torch.device("meta"):
        model = MultiViewVideoTransformer()
    assert 20e6 < sum(p.numel() for p in model.parameters()) < 30e6


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (7, 13), (255, 257), (256, 512), (700, 333)])
def test_attention_in_blocks_is_attention(queries: int, keys: int) -> None:
    """In bfloat16, on processors, against float32 of the same numbers; longer sequences do not divide into blocks."""
    generator = torch.Generator().manual_seed(queries)
    query, key, value = (
        torch.randn(2, 3, length, 48, generator=generator).bfloat16() for length in (queries, keys, keys)
    )
    query = 3 * query  # so that weights differ
    expected = functional.scaled_dot_product_attention(query.float(), key.float(), value.float())
    found = attention(query, key, value)
    assert found.dtype == torch.bfloat16
    # Of numbers of 8 bits: those of a result are as many as the weights'.
    assert (found.float() - expected).abs().max() < 0.05
    assert (found.float() - expected).abs().mean() < 0.005
    assert torch.allclose(attention(query.float(), key.float(), value.float()), expected, atol=1e-5)


def test_in_bfloat16_it_is_the_same_model() -> None:
    batch = inputs(1, 5, side=12)
    with torch.inference_mode():
        expected = toy()(**batch)
        model = toy().bfloat16()
        half = {name: value.bfloat16() if value.is_floating_point() else value for name, value in batch.items()}
        error = (model(**half).float() - expected).abs()
    assert error.mean() < 0.05 * expected.std()
