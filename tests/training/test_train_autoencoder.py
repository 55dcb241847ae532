"""The training step of the autoencoder, and the whole of `avatar train` on toy samples."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.checkpoints import load_model
from avatarcli.diffusion.transformer import CONDITIONING_CHANNELS, MultiViewVideoTransformer
from avatarcli.errors import UsageError
from avatarcli.progress import SilentProgress
from avatarcli.training.autoencoder import VideoBatch, autoencoder_loss, edge_loss
from avatarcli.training.data import SampleFolder, draw_videos
from avatarcli.training.loop import TrainConfig, train
from avatarcli.training.run import train_autoencoder, train_mmvdm


def test_edge_loss_counts_edges_and_not_tones() -> None:
    flat = torch.full((1, 1, 4, 8, 8), 0.3)
    assert edge_loss(flat) == 0
    step = flat.clone()
    step[..., 4:] += 1
    # One edge of height 1 among 7, 3 and 1 differences along x.
    assert float(edge_loss(step)) == pytest.approx(1 / 7 + 1 / 3 + 1)


def test_autoencoder_learns_a_moving_picture_by_heart(tmp_path: Path) -> None:
    y, x = torch.meshgrid(torch.linspace(0, 6, 16), torch.linspace(0, 6, 16), indexing="ij")
    waves = torch.stack([torch.sin(x + frame / 2 + c) * torch.cos(y - c) for frame in range(5) for c in range(4)])
    video = (0.5 + 0.4 * waves).view(1, 5, 4, 16, 16)
    torch.manual_seed(0)
    model = SmallVideoAutoencoder((16, 16, 16), 32)
    config = TrainConfig(steps=250, batch_size=1, learning_rate=5e-3, warmup=10, flat=0.4, ema_decay=0.95)
    loss = partial(autoencoder_loss, latent_noise=0.02)
    losses = train(model, lambda step: VideoBatch(video), loss, config, tmp_path, SilentProgress()).losses
    assert losses[-1] < losses[0] / 10
    with torch.inference_mode():
        error = (model(video) - video).square().mean()
    assert -10 * torch.log10(error) > 25


def test_train_commands_write_models_that_load(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    videos, scenes = tmp_path / "videos", tmp_path / "scenes"
    for folder in (videos, scenes):
        folder.mkdir()
    for number in range(2):
        video = (torch.rand(1, 4, 16, 16, generator=generator) * 255).byte()
        hint = (torch.rand(1, 5, 16, 16, generator=generator) * 255).byte()
        save_file({"video": video, "hint": hint}, videos / f"{number}.safetensors")
        shapes = {"photo": (16,), "photo_conditioning": (CONDITIONING_CHANNELS,), "latents": (2, 1, 16),
                  "conditioning": (2, 1, CONDITIONING_CHANNELS)}  # fmt: skip
        scene = {name: torch.randn(*shape, 4, 4, generator=generator).half() for name, shape in shapes.items()}
        save_file(scene, scenes / f"{number}.safetensors")
    steps = "[train]\nsteps = 2\nbatch_size = 2\nlearning_rate = 1e-3\n"
    small = tmp_path / "small.toml"
    small.write_text(f"{steps}[model]\nwidths = [8, 8, 8]\ntrunk_width = 8\n")
    train_autoencoder(videos, tmp_path / "autoencoder", str(small), SilentProgress())
    assert load_model(SmallVideoAutoencoder, tmp_path / "autoencoder" / "model").config.trunk_width == 8
    load_model(SmallVideoAutoencoder, tmp_path / "autoencoder" / "model-int8")

    small.write_text(
        f"{steps}gradient_checkpointing = true\n[model]\nnum_attention_heads = 1\nnum_layers = 1\ntime_embed_dim = 8\n"
    )
    train_mmvdm(scenes, tmp_path / "mmvdm", str(small), None, SilentProgress())
    first = load_model(MultiViewVideoTransformer, tmp_path / "mmvdm" / "model")
    # And on from there.
    small.write_text(steps)
    train_mmvdm(scenes, tmp_path / "more", str(small), tmp_path / "mmvdm" / "model", SilentProgress())
    second = load_model(MultiViewVideoTransformer, tmp_path / "more" / "model")
    assert not torch.equal(first.proj_out.weight, second.proj_out.weight)
    with pytest.raises(UsageError, match="--init"):
        train_mmvdm(scenes, tmp_path / "none", str(small), None, SilentProgress())


def test_bad_samples_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no"):
        SampleFolder(tmp_path)
    save_file({"image": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match=r"a.safetensors has no tensor video; it has image"):
        SampleFolder(tmp_path).draw(1, ("video",), torch.Generator())
    save_file({"video": torch.zeros(1, 4, 8, 8)}, tmp_path / "a.safetensors")
    save_file({"video": torch.zeros(5, 4, 8, 8)}, tmp_path / "b.safetensors")
    with pytest.raises(UsageError, match=f"{tmp_path}: samples differ in the shape of video"):
        draw_videos(SampleFolder(tmp_path), 20, "cpu", torch.Generator())
    (tmp_path / "b.safetensors").unlink()
    (tmp_path / "a.safetensors").write_bytes(b"half")
    with pytest.raises(UsageError, match="cannot read the sample"):
        SampleFolder(tmp_path).draw(1, ("video",), torch.Generator())
