"""Frames and latents."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avatarcli.diffusion.packing import frame_count, latent_count, pack_frames, padded_frame_count, unpack_frames


def pack_slowly(maps: Tensor) -> Tensor:
    """Latent t holds frames 4 t − 3 … 4 t, latent 0 four times frame 0."""
    latents = []
    for latent in range(latent_count(len(maps))):
        frames = [0, 0, 0, 0] if latent == 0 else range(4 * latent - 3, 4 * latent + 1)
        latents.append(torch.cat([maps[frame] for frame in frames], dim=0))
    return torch.stack(latents)


@pytest.mark.parametrize("frames", [1, 5, 9, 13])
def test_packing_agrees_with_its_slow_twin(frames: int) -> None:
    generator = torch.Generator().manual_seed(frames)
    maps = torch.randn(2, frames, 3, 4, 5, generator=generator)
    packed = pack_frames(maps)
    assert torch.equal(packed, torch.stack([pack_slowly(video) for video in maps]))
    assert torch.equal(unpack_frames(packed), maps)


def test_counts_are_inverse_and_padding_is_the_least() -> None:
    for latents in range(1, 9):
        frames = frame_count(latents)
        assert latent_count(frames) == latents
        assert [padded_frame_count(n) for n in range(frames, frames + 6)] == [frames] + [frames + 4] * 4 + [frames + 8]


@pytest.mark.parametrize("frames", [0, 2, 4, 8])
def test_other_frame_counts_are_refused(frames: int) -> None:
    with pytest.raises(ValueError, match=f"got {frames}"):
        pack_frames(torch.zeros(frames, 1, 2, 2))
