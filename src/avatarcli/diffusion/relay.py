"""Progress of a process that the user does not see, told through a pipe to the one that he does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch.multiprocessing as multiprocessing

from avatarcli.processes import Hearing, Telling
from avatarcli.progress import Progress

_POLL = 0.1  # seconds


@contextmanager
def relay(progress: Progress) -> Iterator[Telling]:
    """What is told to the yielded `Progress`, in a single other process, is told to `progress` here."""
    receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
    stop = threading.Event()

    def listen() -> None:
        heard = Hearing(progress)
        while receiver.poll(_POLL) or not stop.is_set():
            if receiver.poll(0):
                heard.show(receiver.recv())
        heard.close()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield Telling(sender.send)
    finally:
        stop.set()
        thread.join()
        sender.close()
        receiver.close()
