"""The miniature pack, read."""

from __future__ import annotations

from pathlib import Path

import pytest

from avatarcli.studio.assets import StudioAssets


@pytest.fixture(scope="session")
def assets(pack: Path) -> StudioAssets:
    return StudioAssets.load(pack)
