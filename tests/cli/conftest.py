"""Running `avatar data` as a user does."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from avatarcli.cli.main import main

DataCommand = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def avatar_data(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> DataCommand:
    """Exit code, stdout and stderr's lines of `avatar data …`."""

    def run(*arguments: object) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "argv", ["avatar", "data", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        said = capfd.readouterr()
        return code, said.out, said.err.splitlines()

    return run
