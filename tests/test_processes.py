"""Progress told from one process to another."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from avatarcli.errors import UsageError
from avatarcli.processes import Hearing, Message, Telling, portable, with_cause


class Diary:
    """A `Progress` that writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        done = 0

        def advance(steps: int) -> None:
            nonlocal done
            done += steps

        self.lines.append(f"{description} of {total}")
        yield advance
        self.lines.append(f"{description} at {done}")

    def info(self, message: str) -> None:
        self.lines.append(message)

    def warn(self, message: str) -> None:
        self.lines.append(f"! {message}")


def test_all_that_is_told_is_heard() -> None:
    """Steps are reported together, but none is lost; what names its subject is not given the name twice."""
    diary, messages = Diary(), list[Message]()
    told = Telling(messages.append)
    with told.task("outer", 9) as outer, told.task("inner", 2) as inner:
        for _ in range(9):
            outer(1)
        inner(2)
        told.info("ada: done")
        told.warn("dim")
    assert len(messages) < 12
    heard = Hearing(diary, "ada")
    for message in pickle.loads(pickle.dumps(messages)):
        heard.show(message)
    assert diary.lines == [
        "ada: outer of 9", "ada: inner of 2", "ada: done", "! ada: dim", "ada: inner at 2", "ada: outer at 9",
    ]  # fmt: skip


def test_what_a_dead_process_left_open_is_closed() -> None:
    diary = Diary()
    heard = Hearing(diary)
    heard.show(("open", 1, "long", 5))
    heard.show(("advance", 1, 3))
    heard.close()
    heard.close()
    assert diary.lines == ["long of 5", "long at 3"]


def test_an_error_arrives_as_it_left() -> None:
    def fail() -> None:
        raise UsageError("no such setting")

    with pytest.raises(UsageError) as caught:
        fail()
    arrived = with_cause(*pickle.loads(pickle.dumps(portable(caught.value))))
    assert isinstance(arrived, UsageError)
    assert str(arrived) == "no such setting"
    assert "in fail" in str(arrived.__cause__)
