"""What every user of MediaPipe here shares."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send what native code writes to the process's standard error to nowhere, for as long as the block lasts.

    MediaPipe's C++ logs through file descriptor 2 and offers no switch that silences all of it. The whole process
    shares the descriptor, so keep the block short: creating a task and its first call are what talk.
    """
    sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # no standard error at all (a service, a windowed program): nothing to silence
        yield
        return
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)
