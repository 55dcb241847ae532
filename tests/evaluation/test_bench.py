"""The benchmark's own arithmetic, on commands that take no time."""

from __future__ import annotations

import pytest

from avatarcli.errors import AvatarError
from avatarcli.evaluation.bench import PEERS, _avatar, bench_table, peers_table


def test_a_command_is_measured_in_a_process_of_its_own() -> None:
    run = _avatar("weights", "list", "--json")
    assert run.seconds > 0
    assert 5e6 < run.peak_bytes < 5e9  # a Python process takes some megabytes: catches a wrong unit
    assert "head/head.safetensors" in run.output["files"]


def test_a_failing_command_stops_the_benchmark() -> None:
    with pytest.raises(AvatarError, match=r"avatar create /nowhere.jpg.* exit code 1"):
        _avatar("create", "/nowhere.jpg")


def test_the_table_has_a_row_for_every_preset() -> None:
    figures = {
        "create_seconds": 61.26,
        "peak_bytes": 2_345_000_000,
        "stages": {"preprocess": 9.04, "generate": 20.0, "distill": 30.51},
        "second_create_seconds": 0.512,
        "render_frames_per_second": 11.2,
    }
    heading, row = bench_table({"presets": {"draft": figures}})
    assert len(heading) == len(row)
    assert row == ("draft", "9.0 s", "20.0 s", "30.5 s", "61.3 s", "2.35 GB", "0.51 s", "11.2 frames/s")


def test_what_others_publish_has_its_source() -> None:
    heading, *rows = peers_table()
    assert len(rows) == len(PEERS)
    assert {len(row) for row in rows} == {len(heading)}
    assert all("arXiv" in row[-1] or "github.com" in row[-1] for row in rows)
