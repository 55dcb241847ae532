"""What models and schedules need of diffusers, loaded without torch's compiler.

diffusers loads the compiler for a decorator that only its own, compiled models profit from, and does without where there is none.
That is more than half of the time that loading diffusers takes: 1.2 of 2.3 s.
"""

from __future__ import annotations

import sys

__all__ = [
    "CogVideoXDDIMScheduler",
    "ConfigMixin",
    "FeedForward",
    "ModelMixin",
    "TimestepEmbedding",
    "Timesteps",
    "get_3d_sincos_pos_embed",
    "register_to_config",
]

_COMPILER = "torch._dynamo"


def _load() -> None:
    """Load diffusers as if torch had no compiler, unless that is loaded already. Whoever needs it later loads it as ever."""
    if _COMPILER in sys.modules:
        return
    sys.modules[_COMPILER] = None  # type: ignore[assignment] # Python's own sign for what cannot be imported
    try:
        import diffusers.utils.torch_utils  # noqa: F401 - it asks for the compiler, and nothing later does
    except ImportError:
        pass  # another version needs it: below it is loaded with it
    finally:
        del sys.modules[_COMPILER]


_load()

from diffusers import CogVideoXDDIMScheduler, ConfigMixin, ModelMixin  # noqa: E402
from diffusers.configuration_utils import register_to_config  # noqa: E402
from diffusers.models.attention import FeedForward  # noqa: E402
from diffusers.models.embeddings import TimestepEmbedding, Timesteps, get_3d_sincos_pos_embed  # noqa: E402
