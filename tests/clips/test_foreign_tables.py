"""Live Link Face tables and JSON Lines as phones, spreadsheets and crashes leave them: the same motion, and what was
mended is told."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avatarcli.clips.clip import Clip
from avatarcli.clips.files import load_clip, save_clip
from avatarcli.errors import ClipError
from avatarcli.head.expressions import EXPRESSION_INDEX, EXPRESSION_NAMES

LONG = 130.0  # seconds: two minutes show each way of counting
JAW = EXPRESSION_INDEX["jawOpen"]
NTSC = {24: 24000 / 1001, 30: 30000 / 1001, 60: 60000 / 1001}
Rows = list[list[str]]


def table(times: list[str], *, time_name: str = "Timecode", jaw: np.ndarray | None = None) -> Rows:
    """A take whose jaw opens evenly and whose other actions rest."""
    opened = np.linspace(0, 1, len(times)) if jaw is None else jaw
    rows = [[time_name, "BlendshapeCount", *(name[0].upper() + name[1:] for name in EXPRESSION_NAMES)]]
    for moment, value in zip(times, opened, strict=True):
        rows.append([moment, "61", *(f"{value:.6f}" if name == "jawOpen" else "0.0" for name in EXPRESSION_NAMES)])
    return rows


def write(path: Path, rows: Rows, *, delimiter: str = ",", encoding: str = "utf-8", head: str = "") -> Path:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    path.write_bytes((head + text.getvalue()).encode(encoding))
    return path


def read(path: Path) -> tuple[Clip, list[str]]:
    notes: list[str] = []
    return load_clip(path, note=notes.append), notes


def seconds(fps: float, digits: int) -> Callable[[int], str]:
    return lambda frame: f"{frame / fps:.{digits}f}"


def clock_code(fps: float, base: int) -> Callable[[int], str]:
    """The frame's number within the second that a clock shows."""

    def code(frame: int) -> str:
        whole, part = divmod(frame / fps, 1)
        return f"00:{int(whole) // 60:02d}:{int(whole) % 60:02d}:{int(part * base):02d}"

    return code


def drop_frame(base: int, separator: str, first: int = 0) -> Callable[[int], str]:
    """SMPTE's, counted by leaving numbers out one by one."""
    dropped = base // 15
    numbers = [n for n in range(60 * base * 13) if n // (60 * base) % 10 == 0 or n % (60 * base) >= dropped]

    def code(frame: int) -> str:
        whole, label = divmod(numbers[frame + first], base)
        return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{separator}{label:02d}"

    return code


RATES: dict[str, tuple[str, Callable[[int], str], float]] = {
    **{f"seconds at {rate:.3f}": ("time", seconds(rate, 6), rate) for rate in (*NTSC.values(), 24, 30, 60, 29.5)},
    "milliseconds rounded": ("time", seconds(NTSC[30], 3), NTSC[30]),
    "counts milliseconds": ("timestamp", lambda frame: f"{1000 * frame / NTSC[60]:.2f}", NTSC[60]),
    "clock of 29.97": ("Timecode", clock_code(NTSC[30], 30), NTSC[30]),
    "clock of 59.94": ("Timecode", clock_code(NTSC[60], 60), NTSC[60]),
    "clock of 23.976": ("Timecode", clock_code(NTSC[24], 24), NTSC[24]),
    "drop-frame": ("Timecode", drop_frame(30, ";"), NTSC[30]),
    "drop-frame of 59.94": ("Timecode", drop_frame(60, ":", 5000), NTSC[60]),
    "no numbers left out": ("Timecode", clock_code(30, 30), 30),
    "hours, minutes, seconds": ("time", lambda frame: f"00:{frame // 1500:02d}:{frame / 25 % 60:06.3f}", 25),
}  # fmt: skip


@pytest.mark.parametrize(("name", "code", "fps"), RATES.values(), ids=RATES.keys())
def test_rates_are_kept_and_nothing_drifts(tmp_path: Path, name: str, code: Callable[[int], str], fps: float) -> None:
    frames = round(LONG * fps)
    clip, notes = read(write(tmp_path / "take.csv", table([code(frame) for frame in range(frames)], time_name=name)))
    assert clip.fps == pytest.approx(fps, rel=2e-6)
    assert len(clip) == frames
    assert not notes
    np.testing.assert_allclose(clip.expression[:, JAW], np.linspace(0, 1, frames), atol=1e-5)


def test_short_takes_have_the_usual_rate_and_long_ones_with_gaps_keep_time(tmp_path: Path) -> None:
    short, _ = read(write(tmp_path / "short.csv", table([seconds(30, 3)(frame) for frame in range(12)], time_name="t")))
    assert short.fps == 60  # no column of times
    short, _ = read(write(tmp_path / "a.csv", table([seconds(30, 3)(frame) for frame in range(12)], time_name="time")))
    assert short.fps == 30
    kept = [frame for frame in range(600) if not 100 <= frame < 130 and frame != 400]
    jaw = np.array(kept) / 599
    gappy, _ = read(
        write(tmp_path / "b.csv", table([seconds(NTSC[30], 4)(f) for f in kept], time_name="time", jaw=jaw))
    )
    assert (len(gappy), gappy.fps) == (600, pytest.approx(NTSC[30]))
    np.testing.assert_allclose(gappy.expression[:, JAW], np.arange(600) / 599, atol=1e-4)


@pytest.mark.parametrize("step", [1, 2])
def test_frame_counters(tmp_path: Path, step: int) -> None:
    counted = [frame for frame in range(1000, 1040) if frame != 1020]
    if step == 2:
        counted = list(range(1000, 1040))
    jaw = (np.array(counted) - 1000) / 39
    path = write(tmp_path / "take.csv", table([str(frame) for frame in counted], time_name="Timecode", jaw=jaw))
    clip, notes = read(path)
    assert (len(clip), clip.fps) == (40, 60)
    np.testing.assert_allclose(clip.expression[:, JAW], np.arange(40) / 39, atol=1e-5)
    assert notes == ["the file does not say its frame rate: 60 frames/s assumed"]
    assert load_clip(path, fps=30).duration == pytest.approx(40 / 30)


def decimal_commas(rows: Rows) -> Rows:
    return [rows[0], *([cell.replace(".", ",") for cell in row] for row in rows[1:])]


def sided(rows: Rows) -> Rows:
    names = [cell.replace("Left", "_L").replace("Right", "_R") for cell in rows[0]]
    assert "EyeBlink_L" in names
    return [names, *rows[1:]]


def without_tongue(rows: Rows) -> Rows:
    place = rows[0].index("TongueOut")
    return [row[:place] + row[place + 1 :] for row in rows]


TEXTS: dict[str, tuple[Callable[[Rows], Rows], dict[str, str], list[str]]] = {
    "semicolons and decimal commas": (decimal_commas, {"delimiter": ";"}, []),
    "quoted decimal commas": (decimal_commas, {}, []),
    "tabs": (list, {"delimiter": "\t"}, []),
    "UTF-16 with tabs": (decimal_commas, {"delimiter": "\t", "encoding": "utf-16"}, []),
    "big-endian UTF-16": (list, {"encoding": "utf-16-be", "head": "\ufeff"}, []),
    "UTF-8 with a mark": (list, {"encoding": "utf-8-sig"}, []),
    "Excel's first line": (list, {"delimiter": ";", "head": "sep=;\n"}, []),
    "_L and _R": (sided, {}, []),
    "no tongueOut": (without_tongue, {}, ["no column tongueOut: the tongue stays in"]),
    "a delimiter more": (lambda rows: [[*row, ""] for row in rows], {}, []),
    "empty rows below": (lambda rows: rows + [[""] * len(rows[0])] * 3, {"delimiter": ";"}, []),
    "cut off": (lambda rows: [*rows, rows[-1][:30]], {}, ["the last row is cut off and left out (30 of 54 cells)"]),
    "cut off in a time": (lambda rows: [*rows, ["00:0"]], {}, ["the last row is cut off and left out (1 of 54 cells)"]),
    "cut off in the last cell": (
        lambda rows: [*rows, [*rows[-1][:-1], "-"]], {}, ["the last row is cut off and left out (54 of 54 cells)"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "options", "told"), TEXTS.values(), ids=TEXTS.keys())
def test_every_spelling_of_a_table_says_the_same(
    tmp_path: Path, change: Callable[[Rows], Rows], options: dict[str, str], told: list[str]
) -> None:
    rows = table([seconds(25, 2)(frame) for frame in range(60)], time_name="time")
    clip, notes = read(write(tmp_path / "take.csv", change(rows), **options))
    assert (len(clip), clip.fps) == (60, 25)
    np.testing.assert_allclose(clip.expression[:, JAW], np.linspace(0, 1, 60), atol=1e-5)
    assert not np.delete(clip.expression, JAW, axis=1).any()
    assert notes == told


def emptied(row: list[str], kind: str) -> list[str]:
    return {
        "cells": [row[0], "0", *[""] * (len(row) - 2)],
        "nothing": [""] * len(row),
        "short": [row[0], "0"],
        "nan": [row[0], "0", *["nan"] * (len(row) - 2)],
        "zeros": [row[0], "0", *["0.0"] * (len(row) - 2)],
    }[kind]


@pytest.mark.parametrize("kind", ["cells", "nothing", "short", "nan", "zeros"])
@pytest.mark.parametrize("lost", [range(20, 30), range(5)])
def test_a_lost_face_is_bridged_and_told(tmp_path: Path, kind: str, lost: range) -> None:
    rows = table([seconds(25, 2)(frame) for frame in range(60)], time_name="time")
    for frame in lost:
        rows[frame + 1] = emptied(rows[frame + 1], kind)
    clip, notes = read(write(tmp_path / "take.csv", rows))
    assert (len(clip), clip.fps) == (60, 25)
    known = np.delete(np.arange(60), lost)
    wanted = np.interp(np.arange(60), known, known / 59)  # before the first face, that one is held
    np.testing.assert_allclose(clip.expression[:, JAW], wanted, atol=1e-5)
    assert notes == [f"{len(lost)} of 60 frames have no face: filled from their neighbours"]


def test_what_stays_wrong_is_named(tmp_path: Path) -> None:
    rows = table([seconds(25, 2)(frame) for frame in range(60)], time_name="time")
    hole = [*rows[:4], [*rows[4][:9], "", *rows[4][10:]], *rows[5:]]
    with pytest.raises(ClipError, match=f"column {rows[0][9].lower()}: the cell of row 5 is empty"):
        read(write(tmp_path / "hole.csv", hole))
    with pytest.raises(ClipError, match="no row has a face in it"):
        read(write(tmp_path / "nobody.csv", [rows[0], *(emptied(row, "cells") for row in rows[1:])]))


def lines(*entries: object) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


FRAMES = [{"time": frame / NTSC[30], "jawOpen": frame / 89} for frame in range(90)]
JSON_LINES = {
    "frames": (lines(*FRAMES), []),
    "a blank line between": (lines(*FRAMES[:5]) + "\n" + lines(*FRAMES[5:]), []),
    "rows under a first line": (
        lines(
            {"names": ["jawOpen"], "fps": NTSC[30]}, *({"time": f["time"], "weights": [f["jawOpen"]]} for f in FRAMES)
        ),
        [],
    ),
    "cut off": (lines(*FRAMES) + '{"time": 3.1, "jaw', ["the last line is cut off and left out"]),
    "a frame without a face": (
        lines(*FRAMES[:9], {"time": FRAMES[9]["time"], "blendshapes": {}, "weights": None}, *FRAMES[10:]),
        [],
    ),
}


@pytest.mark.parametrize(("text", "told"), JSON_LINES.values(), ids=JSON_LINES.keys())
@pytest.mark.parametrize("suffix", ["json", "jsonl", "ndjson"])
def test_json_lines(tmp_path: Path, text: str, told: list[str], suffix: str) -> None:
    path = tmp_path / f"take.{suffix}"
    path.write_text(text)
    clip, notes = read(path)
    assert len(clip) == 90
    assert clip.fps == pytest.approx(NTSC[30])
    assert notes == told
    assert clip.expression[-1, JAW] == 1


def test_a_line_of_one_frame_and_a_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "take.jsonl"
    path.write_text('{"jawOpen": 0.5}\n')
    assert load_clip(path).expression[0, JAW] == 0.5
    path.write_text('{"jawOpen": 0.5}\n{"jawOpen": }\n{"jawOpen": 0.5}\n')
    with pytest.raises(ClipError, match=r"not JSON: .* in line 2, column 13"):
        load_clip(path)


def test_an_impossible_clip_warns(tmp_path: Path) -> None:
    rest = np.zeros((3, 52), np.float32)
    for name, turn, place, word in (
        ("far", 0.0, 1000.0, "1000 m"),
        ("owl", 3.0, 0.0, "farther than a neck turns"),
        ("fine", 1.0, 0.5, ""),
    ):
        path, said = tmp_path / f"{name}.npz", []
        motion = (np.full((3, 3), value / np.sqrt(3), np.float32) for value in (turn, place))
        save_clip(path, Clip(rest, *motion, None, 30.0))
        load_clip(path, warn=said.append)
        assert len(said) == bool(word)
        assert not word or (word in said[0] and name in said[0])
