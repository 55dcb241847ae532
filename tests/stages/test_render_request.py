"""What can be asked of the renderer, and what is refused with a reason."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from avatarcli.clips.files import load_clip
from avatarcli.errors import UsageError
from avatarcli.export.formats import PICTURE_FORMATS, PictureFormat
from avatarcli.export.video import check_output
from avatarcli.head.expressions import NAMED_EXPRESSIONS
from avatarcli.stages.render_request import (
    RenderRequest,
    output_kind,
    parse_background,
    parse_expression,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("jawOpen=0.6,mouthSmileLeft=1", {"jawOpen": 0.6, "mouthSmileLeft": 1.0}),
        (" jawOpen = 0.6 , ", {"jawOpen": 0.6}),
        ("neutral", {}),
        ("smile", NAMED_EXPRESSIONS["smile"]),
        ("open-mouth", NAMED_EXPRESSIONS["open mouth"]),
        ("Open mouth", NAMED_EXPRESSIONS["open mouth"]),
    ],
)
def test_expressions_are_read(text: str, weights: dict[str, float]) -> None:
    assert parse_expression(text) == weights


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("jawOpne=1", "did you mean jawOpen"),
        ("jawOpen", "name=weight"),
        ("grin", "name=weight, or one of neutral, smile"),
        ("jawOpen=wide", "'wide' is not a number"),
        ("jawOpen=1.5", "between 0 and 1"),
        ("jawOpen=nan", "between 0 and 1"),
    ],
)
def test_bad_expressions_say_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_expression(text)


def test_backgrounds_are_read() -> None:
    assert parse_background("transparent") is None
    assert parse_background("white") == (1.0, 1.0, 1.0)
    assert parse_background("#ff0000") == (1.0, 0.0, 0.0)
    assert parse_background("#00f") == (0.0, 0.0, 1.0)
    for text in ("whitish", "gone.jpg"):
        with pytest.raises(UsageError, match="a picture that exists"):
            parse_background(text)


def test_a_picture_can_be_the_background(tmp_path: Path) -> None:
    (tmp_path / "beach.jpg").touch()
    assert parse_background(str(tmp_path / "beach.jpg")) == tmp_path / "beach.jpg"


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 8},
        {"size": 5000},
        {"size": (640, 8)},
        {"zoom": 0.5},
        {"zoom": float("nan")},
        {"orbit": 90.0, "swing": 30.0},
        {"swing": float("inf")},
        {"sheet": True, "swing": 30.0},
        {"clip": Path("c.npz"), "at": 1.0, "seconds": 2.0},
        {"fps": 0.0},
        {"fps": float("nan")},
        {"seconds": 0.0},
        {"seconds": -1.0},
        {"seconds": 1e9},
        {"elevation": 90.0},
        {"views": ((0.0, 81.0),)},
        {"views": ((float("inf"), 0.0),)},
        {"orbit": float("nan")},
        {"sheet": True, "orbit": 360.0},
        {"sheet": True, "expression": {"jawOpen": 1.0}},
    ],
)
def test_impossible_requests_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        RenderRequest(**settings)


def test_an_angle_that_is_none_is_named_by_its_option() -> None:
    for option, settings in (
        ("--orbit 4e+06", {"orbit": 4e6}),
        ("--swing nan", {"swing": float("nan")}),
        ("--yaw -inf", {"views": ((0.0, 0.0), (float("-inf"), 0.0))}),
    ):
        with pytest.raises(UsageError, match=f"^{re.escape(option)}: choose "):
            RenderRequest(**settings)


def test_the_number_of_frames() -> None:
    assert RenderRequest(orbit=360.0, seconds=2.0, fps=25.0).frames() == 50
    assert RenderRequest(orbit=360.0).frames() == 180
    clip = load_clip("speech")
    assert RenderRequest(clip=clip, fps=30.0).frames(clip_seconds=1.0) == 30
    assert RenderRequest(clip=clip, fps=30.0, seconds=0.5).frames(clip_seconds=1.0) == 15
    assert RenderRequest(views=((0.0, 0.0), (35.0, 0.0))).frames() == 2
    assert RenderRequest(clip=Path("c.npz"), at=0.5).frames(clip_seconds=1.0) == 1


def test_sizes_are_read() -> None:
    assert parse_size("512") == 512
    assert parse_size(" 1280x720 ") == (1280, 720)
    for text in ("", "12x", "x12", "-5", "1.5", "10x10x10"):
        with pytest.raises(UsageError, match="1280x720"):
            parse_size(text)


@pytest.mark.parametrize(
    ("out", "request_", "kind"),
    [
        ("a.mp4", RenderRequest(orbit=360.0), "mp4"),
        ("a.MP4", RenderRequest(orbit=360.0), "mp4"),
        ("a.webm", RenderRequest(orbit=360.0, background=None), "webm"),
        ("a.mov", RenderRequest(swing=30.0, background=None), "mov"),
        ("a.png", RenderRequest(clip=Path("c.npz"), at=1.0), "png"),
        ("frames", RenderRequest(orbit=360.0), "frames"),
        ("a.png", RenderRequest(), "png"),
        ("a.png", RenderRequest(sheet=True), "png"),
        ("a.jpg", RenderRequest(), "jpg"),
        ("a.JPEG", RenderRequest(sheet=True), "jpg"),
        ("a", RenderRequest(views=((0.0, 0.0), (35.0, 0.0))), "frames"),
    ],
)
def test_the_ending_says_the_format(out: str, request_: RenderRequest, kind: str) -> None:
    assert output_kind(Path(out), request_) == kind


@pytest.mark.parametrize("form", PICTURE_FORMATS, ids=lambda form: form.kind)
def test_rendering_and_writing_go_by_one_table(form: PictureFormat) -> None:
    """Hard edges can be written, but fray hair: rendering asks for soft ones."""
    for ending in form.endings:
        out, clear = Path(f"a{ending}"), RenderRequest(orbit=None if form.still else 90.0, background=None)
        with nullcontext() if form.transparency == "soft" else pytest.raises(UsageError, match="no soft transparency"):
            assert output_kind(out, clear) == form.kind
        with nullcontext() if form.transparency != "none" else pytest.raises(UsageError, match="no transparency"):
            check_output(out, transparent=True, fps=30.0)


@pytest.mark.parametrize(
    ("out", "request_", "reason"),
    [
        ("a.avi", RenderRequest(orbit=360.0), r"cannot write '\.avi'"),
        ("out/.mp4", RenderRequest(orbit=360.0), "no name before the ending"),
        ("a.png", RenderRequest(orbit=360.0), "holds one picture"),
        ("a.jpg", RenderRequest(orbit=360.0), "holds one picture"),
        ("a.jpg", RenderRequest(background=None), "no soft transparency"),
        ("a.mp4", RenderRequest(), "--orbit 360"),
        ("a.mp4", RenderRequest(clip=Path("c.npz"), at=1.0), "for a video leave out --at"),
        ("a.mp4", RenderRequest(orbit=360.0, background=None), "no soft transparency"),
        ("a.mp4", RenderRequest(sheet=True), r"is a \.png"),
        ("a.png", RenderRequest(views=((0.0, 0.0), (35.0, 0.0))), "need a folder"),
    ],
)
def test_formats_that_cannot_hold_the_request_are_refused(out: str, request_: RenderRequest, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        output_kind(Path(out), request_)
