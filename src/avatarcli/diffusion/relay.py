"""Progress of a process that the user does not see, told through a pipe to the one that he does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch.multiprocessing as multiprocessing

from avatarcli.progress import Progress

_POLL = 0.1  # seconds


class RelayedProgress:
    """A Progress that can be handed to a single other process."""

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        self._pipe = pipe

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        self._pipe.send(("begin", description, total))
        yield lambda steps: self._pipe.send(("advance", steps))
        self._pipe.send(("end",))

    def info(self, message: str) -> None:
        self._pipe.send(("info", message))

    def warn(self, message: str) -> None:
        self._pipe.send(("warn", message))


@contextmanager
def relay(progress: Progress) -> Iterator[RelayedProgress]:
    """What is told to the yielded object, in another process, is told to `progress` here."""
    receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
    stop = threading.Event()

    def listen() -> None:
        tasks: list[tuple[ExitStack, Callable[[int], None]]] = []
        while receiver.poll(_POLL) or not stop.is_set():
            if not receiver.poll(0):
                continue
            kind, *values = receiver.recv()
            if kind == "begin":
                stack = ExitStack()
                tasks.append((stack, stack.enter_context(progress.task(*values))))
            elif kind == "advance":
                tasks[-1][1](*values)
            elif kind == "end":
                tasks.pop()[0].close()
            elif kind == "info":
                progress.info(*values)
            else:
                progress.warn(*values)
        # A process that failed leaves its tasks open.
        for stack, _ in reversed(tasks):
            stack.close()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield RelayedProgress(sender)
    finally:
        stop.set()
        thread.join()
        sender.close()
        receiver.close()
