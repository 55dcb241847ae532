"""`-o -`: a result that goes to stdout instead of a file."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avatarcli.errors import UsageError

STDOUT = Path("-")


@contextmanager
def to_stdout(name: str, *, json: bool) -> Iterator[Path]:
    """A place for a file called `name`; when the block ends well, its content has gone to stdout.

    Raises:
        UsageError: stdout is a terminal, or already taken by --json.
    """
    if json:
        raise UsageError("-o - and --json both write to stdout: use one of them")
    if sys.stdout.isatty():
        raise UsageError("-o - writes bytes, which a terminal cannot show: add `> FILE` or `| PROGRAM`")
    with tempfile.TemporaryDirectory(prefix="avatar-") as folder:
        place = Path(folder) / name
        yield place
        with place.open("rb") as content:
            shutil.copyfileobj(content, sys.stdout.buffer)
        sys.stdout.buffer.flush()
