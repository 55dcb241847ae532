"""Toys that several tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from safetensors.torch import save_file

TEXT = 5


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CogVideoXTransformer3DModel]:
    """A folder as diffusers writes it, with a cached text embedding, and the model itself."""
    folder = tmp_path_factory.mktemp("cogvideox")
    torch.manual_seed(1)
    model = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        time_embed_dim=12,
        text_embed_dim=24,
        max_text_seq_length=TEXT,
        sample_width=12,
        sample_height=8,
        sample_frames=9,
    )
    model.save_pretrained(folder)
    save_file(
        {"text": torch.randn(TEXT, 24, generator=torch.Generator().manual_seed(2))}, folder / "null_text.safetensors"
    )
    return folder, model


@pytest.fixture(scope="module")
def cogvideox_autoencoder() -> AutoencoderKLCogVideoX:
    """CogVideoX's autoencoder, which tiles pictures of more than 32 pixels."""
    torch.manual_seed(0)
    return AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=16,
        sample_height=64,
        sample_width=64,
    ).eval()
