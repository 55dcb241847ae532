"""Clips of random motion."""

from __future__ import annotations

import numpy as np

from avatarcli.clips.clip import Clip


def make_clip(frames: int = 7, fps: float = 30.0, seed: int = 0) -> Clip:
    rng = np.random.default_rng(seed)
    return Clip(
        expression=rng.random((frames, 52)).astype(np.float32),
        head_rotation=rng.normal(0, 0.3, (frames, 3)).astype(np.float32),
        head_translation=rng.normal(0, 0.02, (frames, 3)).astype(np.float32),
        gaze=rng.normal(0, 0.2, (frames, 2, 2)).astype(np.float32),
        fps=fps,
    )
