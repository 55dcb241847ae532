"""Progress on a terminal and in a pipe."""

from __future__ import annotations

import io
import json
import sys

import pytest

from avatarcli.cli import console
from avatarcli.cli.console import Console, human_bytes, print_error, print_json, print_table


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _work(target: Console) -> None:
    with target.task("distill", 1000) as advance:
        for _ in range(1000):
            advance(1)


def test_a_pipe_gets_a_line_every_tenth_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_PLAIN_SECONDS", 0.0)
    stream = io.StringIO()
    _work(Console(stream=stream))
    assert stream.getvalue().splitlines() == [f"distill: {share} %" for share in range(10, 101, 10)]


def test_a_pipe_gets_nothing_of_a_quick_task() -> None:
    stream = io.StringIO()
    _work(Console(stream=stream))
    assert stream.getvalue() == ""


def test_quiet_leaves_warnings() -> None:
    stream = io.StringIO()
    target = Console(quiet=True, stream=stream)
    _work(target)
    target.info("by the way")
    target.warn("two faces")
    assert stream.getvalue() == "warning: two faces\n"


def test_a_terminal_gets_a_bar_and_messages_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = _Terminal()
    target = Console(stream=stream)
    with target.task("outer", 2) as advance, target.task("inner", 2):
        advance(1)
        target.warn("two faces in [b]photo[/b].jpg")
    target.info("after")
    shown = stream.getvalue()
    assert all(word in shown for word in ("outer", "inner", "two faces in [b]photo[/b].jpg"))
    assert shown.endswith("after\n")


def test_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("first\n  second")
    assert capsys.readouterr().err == "error: first second\n"


def test_tables_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([("subject", "size"), ("a", "10 kB")])
    assert capsys.readouterr().out == "subject  size\na        10 kB\n"
    print_table([])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("count", "text"), [(999, "999 B"), (5_798_655, "5.8 MB"), (3_200_000_000, "3.2 GB")])
def test_bytes_for_people(count: int, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_json_can_be_read_in_every_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    document = {"photo": "b\udcff é 日 😀.jpg"}  # the first: a byte that is no text, as file names may hold
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    print_json(document)
    stream.flush()
    assert json.loads(stream.buffer.getvalue().decode(encoding)) == document  # type: ignore[attr-defined]
