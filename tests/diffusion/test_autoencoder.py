"""Both video autoencoders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX
from torch import Tensor

from avatarcli.diffusion.autoencoder import (
    CogVideoXVideoAutoencoder,
    HintFusion,
    SmallVideoAutoencoder,
    _moved,
    from_green,
    over_green,
    with_normalised_hint,
)
from avatarcli.diffusion.checkpoints import load_model, save_int8
from avatarcli.diffusion.packing import pack_frames

SIZE = 32


def toy(hint_fusion: HintFusion = "add") -> SmallVideoAutoencoder:
    """Random weights everywhere, the zero-initialised ones too."""
    torch.manual_seed(0)
    model = SmallVideoAutoencoder(widths=(8, 8, 16), trunk_width=16, hint_fusion=hint_fusion)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model.norm.running_mean.normal_()
    return model.eval()


def video(frames: int, *, batch: int = 2) -> Tensor:
    return torch.rand(batch, frames, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(frames))


def hint(frames: int, *, batch: int = 2) -> Tensor:
    return torch.rand(batch, frames, 5, SIZE, SIZE, generator=torch.Generator().manual_seed(100 + frames))


@pytest.mark.parametrize("hint_fusion", ["add", "normalised"])
@pytest.mark.parametrize("frames", [1, 5, 13])
def test_round_trip_keeps_the_shape(frames: int, hint_fusion: HintFusion) -> None:
    model = toy(hint_fusion)
    latents = model.encode(video(frames))
    assert latents.shape == (2, 1 + (frames - 1) // 4, 16, SIZE // 8, SIZE // 8)
    assert model.decode(latents, hint(frames)).shape == (2, frames, 4, SIZE, SIZE)


def test_time_runs_one_way_and_videos_do_not_mix() -> None:
    model = toy()
    with torch.inference_mode():
        long = video(13)
        latents = model.encode(long)
        assert torch.allclose(model.encode(long[:, :5]), latents[:, :2], atol=1e-5)
        assert torch.allclose(model.encode(long[1:]), latents[1:], atol=1e-5)
        decoded = model.decode(latents)
        assert torch.allclose(model.decode(latents[:, :2]), decoded[:, :5], atol=1e-5)
        # A single picture goes a shorter way.
        assert torch.allclose(model.encode(long[:, :1]), latents[:, :1], atol=1e-5)
        assert torch.allclose(model.decode(latents[:, :1]), decoded[:, :1], atol=1e-5)
        # Later latents do see earlier ones.
        changed = latents.clone()
        changed[:, 0] += 1
        assert (model.decode(changed) - decoded)[:, -1 - 4 :].abs().amax() > 1e-3


@pytest.mark.parametrize("frames", [1, 5, 13])
def test_the_first_frame_is_encoded_as_four_that_are_alike(frames: int) -> None:
    """The encoder looks at each frame once. Slowly: at every frame of every latent, four times at the first."""
    model = toy()
    encoder, shown = model.encoder, video(frames)
    with torch.inference_mode():
        places = pack_frames(shown * 2 - 1).unflatten(2, (4, 4))  # [B, T, 4 frames, 4 channels, H, W]
        cells = encoder.frames(places.flatten(0, 2)).unflatten(0, places.shape[:3])
        joined = encoder.join(cells.flatten(0, 1).flatten(1, 2)).unflatten(0, places.shape[:2])
        trunk = encoder.trunk(joined.transpose(1, 2)).transpose(1, 2)
        latents = encoder.head(trunk.flatten(0, 1)).unflatten(0, places.shape[:2])
        slowly = model.norm(latents.transpose(1, 2)).transpose(1, 2)
        found = model.encode(shown)
    assert torch.allclose(found, slowly, atol=1e-5)
    assert found.std() > 0.01


@pytest.mark.parametrize("hint_fusion", ["add", "normalised"])
def test_hint_that_shows_nothing_is_no_hint_and_others_count(hint_fusion: HintFusion) -> None:
    model = toy(hint_fusion)
    latents = torch.randn(2, 2, 16, 4, 4, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        plain = model.decode(latents)
        assert torch.allclose(model.decode(latents, torch.zeros(2, 5, 5, SIZE, SIZE)), plain, atol=1e-6)
        assert (model.decode(latents, hint(5)) - plain).abs().amax() > 1e-2


def test_older_weights_decode_as_before_with_a_fresh_way_to_take_the_hint(tmp_path: Path) -> None:
    """Weights from before there was a choice have none in their config."""
    old = toy()
    save_int8(old, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["hint_fusion"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = load_model(SmallVideoAutoencoder, tmp_path)
    assert loaded.config.hint_fusion == "add"
    fresh = with_normalised_hint(loaded)
    assert with_normalised_hint(fresh) is fresh
    latents = torch.randn(2, 2, 16, 4, 4, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        assert torch.equal(fresh.decode(latents, hint(5)), loaded.decode(latents))
        assert torch.equal(fresh.encode(video(5)), loaded.encode(video(5)))


def test_hints_are_fetched_from_where_the_motion_says() -> None:
    pictures = hint(1)[:, 0]
    motion = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(2, -1, SIZE, SIZE)
    moved = _moved(pictures, motion)
    assert torch.allclose(moved[:, :, 2:, :-3], pictures[:, :, :-2, 3:], atol=1e-5)
    assert torch.allclose(_moved(pictures, 0 * motion), pictures, atol=1e-5)


def test_latents_have_unit_variance_after_training_steps() -> None:
    model = toy().train()
    model.encoder.head[-1].weight.data *= 100
    for step in range(300):
        model.encode(video(5) * 0.5 + 0.01 * (step % 3))
    with torch.no_grad():
        latents = model.eval().encode(video(5) * 0.5)
    assert (latents.std((0, 1, 3, 4)) - 1).abs().amax() < 0.1


def test_default_size_and_save_and_load(tmp_path) -> None:  # type: ignore[no-untyped-def]
    model = SmallVideoAutoencoder()
    sides = [sum(p.numel() for p in side.parameters()) for side in (model.encoder, model.decoder)]
    assert all(2e6 < count < 4e6 for count in sides)
    small = toy()
    small.save_pretrained(tmp_path)
    loaded = SmallVideoAutoencoder.from_pretrained(tmp_path).eval()
    latents = torch.randn(1, 2, 16, 4, 4, generator=torch.Generator().manual_seed(3))
    assert torch.equal(loaded.decode(latents), small.decode(latents))


def test_wrapper_equals_diffusers_own(cogvideox_autoencoder: AutoencoderKLCogVideoX) -> None:
    base = cogvideox_autoencoder
    wrapper = CogVideoXVideoAutoencoder(base)
    opaque = video(9, batch=1)
    opaque[:, :, 3] = 1
    with torch.inference_mode():
        latents = wrapper.encode(opaque)
        expected = base.encode(opaque[:, :, :3].transpose(1, 2) * 2 - 1).latent_dist.mean.transpose(1, 2)
        assert latents.shape == (1, 3, 16, 4, 4)
        assert torch.allclose(latents, expected * base.config.scaling_factor, atol=1e-5)
        # What the base decodes is what the wrapper gives, composited over the key again.
        decoded = wrapper.decode(latents)
        direct = base.decode(expected.transpose(1, 2)).sample.transpose(1, 2) * 0.5 + 0.5
        assert torch.allclose(over_green(decoded), direct.clamp(0, 1), atol=1e-5)


def test_green_screen_gives_alpha_back() -> None:
    generator = torch.Generator().manual_seed(5)
    color = torch.rand(1, 2, 3, 8, 8, generator=generator)
    color[:, :, 1] = torch.maximum(color[:, :, 0], color[:, :, 2])  # as green as a color may be
    alpha = torch.rand(1, 2, 1, 8, 8, generator=generator)
    picture = torch.cat([color * alpha, alpha], dim=2)
    assert torch.allclose(from_green(over_green(picture)), picture, atol=1e-6)
