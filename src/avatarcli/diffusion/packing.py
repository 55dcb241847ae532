"""Four frames share one latent: the first frame has a latent of its own, then every four frames have one.

So F = 1 + 4 (T − 1) frames make T latents, as in CogVideoX's autoencoder (arXiv 2408.06072).
"""

from __future__ import annotations

import torch
from torch import Tensor

FRAMES_PER_LATENT = 4
PIXELS_PER_LATENT = 8


def latent_count(frames: int) -> int:
    """How many latents hold `frames` frames. Raises ValueError unless `frames` is 1, 5, 9, 13 …"""
    if frames < 1 or (frames - 1) % FRAMES_PER_LATENT:
        raise ValueError(f"a video needs 1 + 4 k frames, got {frames}")
    return 1 + (frames - 1) // FRAMES_PER_LATENT


def frame_count(latents: int) -> int:
    """How many frames `latents` latents hold."""
    return 1 + (latents - 1) * FRAMES_PER_LATENT


def padded_frame_count(frames: int) -> int:
    """The smallest number of frames, at least `frames`, that fills whole latents."""
    return 1 + -(-(frames - 1) // FRAMES_PER_LATENT) * FRAMES_PER_LATENT


def pack_frames(maps: Tensor) -> Tensor:
    """Frames [..., F, C, H, W] side by side on the channels of their latents [..., T, 4 C, H, W].

    The first latent's four places all hold the first frame.
    """
    latents = latent_count(maps.shape[-4])
    channels, height, width = maps.shape[-3:]
    before = [maps.narrow(-4, 0, 1)] * (FRAMES_PER_LATENT - 1)
    return torch.cat([*before, maps], dim=-4).reshape(
        *maps.shape[:-4], latents, FRAMES_PER_LATENT * channels, height, width
    )


def unpack_frames(packed: Tensor) -> Tensor:
    """Frames [..., F, C, H, W] from the channels of latents [..., T, 4 C, H, W].

    The first latent gives one frame, its last place.
    """
    count, channels, height, width = packed.shape[-4:]
    frames = packed.reshape(*packed.shape[:-4], count * FRAMES_PER_LATENT, channels // FRAMES_PER_LATENT, height, width)
    skipped = FRAMES_PER_LATENT - 1
    return frames.narrow(-4, skipped, frames.shape[-4] - skipped)
