"""What an installed package says points only to what an installed package has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "avatarcli"
# A make target, or a file of the source tree that no wheel has.
NOT_INSTALLED = re.compile(
    r"`make \w|\b(?:docs|scripts|tests)/\w|\bMakefile\b|\bREADME\b|\bCONTRIBUTING\b|\bconstraints\.txt|source tree"
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def said(tree: ast.Module, *, docstrings: bool) -> Iterator[tuple[int, str]]:
    """The strings of a module with their lines; docstrings are for its developers, except in commands, whose help they are."""
    spared = set()
    if not docstrings:
        for node in ast.walk(tree):
            if isinstance(node, DOCUMENTED) and node.body and isinstance(node.body[0], ast.Expr):
                spared.add(id(node.body[0].value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spared:
            yield node.lineno, node.value


def pointers(source: str, *, docstrings: bool = False) -> list[str]:
    found = said(ast.parse(source), docstrings=docstrings)
    return [f"{line}: {text}" for line, text in found if NOT_INSTALLED.search(text)]


@pytest.mark.parametrize("package", sorted({path.relative_to(SOURCE).parts[0] for path in SOURCE.rglob("*.py")}))
def test_messages_point_to_nothing_that_a_wheel_lacks(package: str) -> None:
    place = SOURCE / package
    found = {}
    for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
        lines = pointers(path.read_text(encoding="utf-8"), docstrings=package == "cli")
        if lines:
            found[str(path.relative_to(SOURCE))] = lines
    assert found == {}


def test_such_messages_are_found() -> None:
    source = (
        '"""Made by scripts/x.py."""\n'
        'raise ValueError(f"{a}: see docs/photos.md")\n'
        'MEND = "run `make setup`", "in the source tree", "make a clip of it"'
    )
    assert sorted(line[0] for line in pointers(source)) == ["2", "3", "3"]
    assert len(pointers(source, docstrings=True)) == 4
