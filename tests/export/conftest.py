"""A small avatar and its mark of origin."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from avatarcli.export.origin import Origin
from avatarcli.gaussians.avatar import Avatar


@pytest.fixture(scope="session")
def toy(make_avatar: Callable[..., Avatar]) -> Avatar:
    """Few but colored Gaussians, and correctives that move them by millimetres."""
    return make_avatar(600, directions=3, corrective=0.002)


@pytest.fixture(scope="session")
def mark() -> Origin:
    return Origin("Synthetic head avatar", "9.9.9", "compositeSynthetic", "ab" * 32)
