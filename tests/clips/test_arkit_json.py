"""ARKit expressions in JSON: every layout says the same, and whatever is wrong is named in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatarcli.clips.arkit_json import AZURE_NAMES
from avatarcli.clips.clip import Clip
from avatarcli.clips.files import load_clip
from avatarcli.errors import ClipError
from avatarcli.head.expressions import EXPRESSION_INDEX, EXPRESSION_NAMES

JAW, SMILE = EXPRESSION_INDEX["jawOpen"], EXPRESSION_INDEX["mouthSmileLeft"]
OPEN = [0.0, 0.25, 0.5, 0.75]  # of the jaw, frame by frame; the smile is 1 − it


def load(tmp_path: Path, document: Any, **options: Any) -> Clip:
    path = tmp_path / "take.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return load_clip(path, **options)


def maps() -> list[dict[str, float]]:
    return [{"jawOpen": value, "mouthSmileLeft": 1 - value} for value in OPEN]


def rows() -> list[list[float]]:
    return [[1 - value, value] for value in OPEN]


NAMES = ["mouthSmileLeft", "jawOpen"]
LAYOUTS: dict[str, tuple[Any, float]] = {
    "flat frames": (maps(), 30),
    "frames under a key": ({"fps": 24, "frames": maps()}, 24),
    "frames with times": ([{"time": i / 25, "blendshapes": frame} for i, frame in enumerate(maps())], 25),
    "flat frames with times": ([{"timestamp": i / 60, **frame} for i, frame in enumerate(maps())], 60),
    "milliseconds": ({"frames": [{"timestamp": 5000 + 40 * i, "weights": f} for i, f in enumerate(maps())]}, 25),
    "Audio2Face": ({"exportFps": 60.0, "numFrames": 4, "facsNames": NAMES, "weightMat": rows()}, 60),
    "names and rows": ({"names": NAMES, "fps": 50, "frames": rows()}, 50),
    "LAM": (
        {
            "names": NAMES, "metadata": {"fps": 30.0, "blendshape_names": NAMES},
            "frames": [{"weights": row, "time": i / 30, "rotation": []} for i, row in enumerate(rows())],
        },
        30,
    ),
    "names in metadata": ({"metadata": {"blendshape_names": NAMES, "frame_rate": 48}, "frames": rows()}, 48),
    "MediaPipe": (
        [
            {"faceBlendshapes": [{"categories": [{"index": 0, "categoryName": "_neutral", "score": 0.1}, *(
                {"categoryName": name, "score": value} for name, value in frame.items())]}]}
            for frame in maps()
        ],
        30,
    ),
    "pairs": ({"frames": [{"blendshapes": [{"name": n, "value": v} for n, v in f.items()]} for f in maps()]}, 30),
    "Azure": ({"FrameIndex": 0, "BlendShapes": [
        [{"jawOpen": value, "mouthSmileLeft": 1 - value}.get(name, 0.0) for name in AZURE_NAMES] for value in OPEN
    ]}, 60),
    "tracks": ({"fps": 90, "jawOpen": OPEN, "mouthSmileLeft": [1 - value for value in OPEN]}, 90),
    "TalkingHead": ({"dt": [40] * 4, "vs": {"jawOpen": OPEN, "mouthSmileLeft": [1 - value for value in OPEN]}}, 25),
    "other spellings": ([{"Head.jaw_open": f["jawOpen"], "mouthSmile_L": f["mouthSmileLeft"]} for f in maps()], 30),
    "other case": ([{name.upper(): value for name, value in frame.items()} for frame in maps()], 30),
}  # fmt: skip


@pytest.mark.parametrize(("document", "fps"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layouts(tmp_path: Path, document: Any, fps: float) -> None:
    clip = load(tmp_path, document)
    assert clip.fps == fps
    np.testing.assert_allclose(clip.expression[:, JAW], OPEN, atol=1e-6)
    np.testing.assert_allclose(clip.expression[:, SMILE], 1 - np.array(OPEN), atol=1e-6)
    assert not np.delete(clip.expression, [JAW, SMILE], axis=1).any()
    assert clip.gaze is None
    assert not clip.head_rotation.any()


def test_azures_chunks_are_put_in_order(tmp_path: Path) -> None:
    def chunk(first: int, values: list[float]) -> dict[str, Any]:
        return {
            "FrameIndex": first,
            "BlendShapes": [[v if n == "jawOpen" else 0.0 for n in AZURE_NAMES] for v in values],
        }

    clip = load(tmp_path, [chunk(2, OPEN[2:]), chunk(0, OPEN[:2])])
    np.testing.assert_allclose(clip.expression[:, JAW], OPEN, atol=1e-6)
    assert set(AZURE_NAMES[:52]) == set(EXPRESSION_NAMES)


def test_uneven_times_become_even(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 0.10, 0.16, 0.20]
    clip = load(tmp_path, [{"time": time, "jawOpen": 5 * time} for time in times])
    assert clip.fps == 25
    np.testing.assert_allclose(clip.expression[:, JAW], 5 * np.arange(6) / 25, atol=1e-6)


@pytest.mark.parametrize("absent", [[], None])
def test_frames_without_a_face_are_filled(tmp_path: Path, absent: Any) -> None:
    frames: list[Any] = [{"faceBlendshapes": [{"categoryName": "jawOpen", "score": value}]} for value in OPEN]
    frames[1] = {"faceBlendshapes": absent}
    notes: list[str] = []
    clip = load(tmp_path, frames, note=notes.append)
    np.testing.assert_allclose(clip.expression[:, JAW], OPEN, atol=1e-6)
    assert "1 of 4 frames have no face" in notes[0]
    np.testing.assert_allclose(load(tmp_path, frames, fps=60).expression[:, JAW], OPEN, atol=1e-6)


def test_a_frame_of_nothing_is_a_face_at_rest(tmp_path: Path) -> None:
    assert not load(tmp_path, [{"jawOpen": 1}, {}]).expression[1].any()
    assert not load(tmp_path, [{"weights": {"jawOpen": 1}}, {"weights": {}}]).expression[1].any()


def test_head_and_eyes_are_those_of_live_link(tmp_path: Path) -> None:
    frame = {"jawOpen": 0.1, "HeadYaw": 0.2, "HeadPitch": 0.1, "HeadRoll": 0.0}
    frame |= {"LeftEyeYaw": 0.3, "LeftEyePitch": 0.1, "RightEyeYaw": 0.3, "RightEyePitch": 0.1}
    clip = load(tmp_path, [frame, frame])
    assert clip.head_rotation[0, 1] == pytest.approx(0.2, abs=0.01)
    assert clip.head_rotation[0, 0] == pytest.approx(-0.1, abs=0.01)
    assert clip.gaze is not None
    np.testing.assert_allclose(clip.gaze[0], [[-0.3, -0.1]] * 2, atol=1e-6)


def test_what_is_left_out_or_guessed_is_said(tmp_path: Path) -> None:
    notes: list[str] = []
    load(tmp_path, [{"jawOpen": 0.5, "viseme_aa": 0.5, "mouthSmile": 0.1}], note=notes.append)
    assert notes == [
        "left out 2 names that are not ARKit's: mouthSmile, viseme_aa",
        "the file does not say its frame rate: 30 frames/s assumed",
    ]


def test_the_users_frame_rate_counts(tmp_path: Path) -> None:
    assert load(tmp_path, {"fps": 24, "frames": maps()}, fps=60).fps == 60
    timed = [{"time": i / 25, **frame} for i, frame in enumerate(maps())]
    clip = load(tmp_path, timed, fps=50)
    assert (clip.fps, len(clip)) == (50, 4)


BAD: dict[str, tuple[Any, str]] = {
    "empty": ("", "not JSON: Expecting value in line 1, column 1"),
    "cut short": ('[{"jawOpen": 0.5},\n {"jaw', "not JSON: .* in line 2, column 3"),
    "deep": ("[" * 100_000, "not JSON that can be read|not JSON: "),
    "number": ("5", "the document is a number"),
    "no frames": ([], "no frames"),
    "no frames in it": ({"frames": []}, "no frames"),
    "strangers": ([{"viseme_aa": 0.5}], r"no ARKit expression, .*\(viseme_aa\)"),
    "text": ([{"jawOpen": 0.1}, {"jawOpen": "wide"}], "'jawOpen' of frame 1 is the text 'wide'; want a number"),
    "null": ([{"jawOpen": None}], "'jawOpen' of frame 0 is nothing"),
    "true": ([{"jawOpen": True}], "'jawOpen' of frame 0 is true or false"),
    "twice": ([{"jawOpen": 0.1, "jaw_open": 0.2}], "frame 0 has both 'jawOpen' and 'jaw_open'"),
    "percent": ([{"jawOpen": 80}], r"want values in \[0, 1\]"),
    "nan": ('[{"jawOpen": NaN}]', "expression holds NaN"),
    "giant": ('[{"jawOpen": 1' + "0" * 400 + "}]", "'jawOpen' of frame 0 is too large"),
    "rows without names": ([[0.1, 0.2]], "no 'names' beside it"),
    "short row": ({"names": NAMES, "frames": [[0.1, 0.2], [0.1]]}, "frame 1 has 1 values; want 2"),
    "names of numbers": ({"names": [1, 2], "frames": rows()}, "list of names holds something other than text"),
    "frame of text": ({"frames": ["a"]}, "frame 0 is the text 'a'"),
    "pair without value": ([{"blendshapes": [{"name": "jawOpen"}]}], "frame 0 has an entry without name and value"),
    "time back": ([{"time": t, "jawOpen": 0} for t in (0, 0.2, 0.1)], "the time of frame 2 is not after"),
    "time of text": ([{"time": t, "jawOpen": 0} for t in (0, "late")], "the time of frame 1 is the text 'late'"),
    "rate": ({"fps": -3, "frames": maps()}, "the frame rate is -3; want a number above 0"),
    "rate of text": ({"fps": "fast", "frames": maps()}, "the frame rate is the text 'fast'"),
    "fast": ({"fps": 48000, "frames": maps()}, "fps is 48000"),
    "uneven tracks": ({"jawOpen": [1, 0], "jawLeft": [1]}, "'jawLeft' has 1 values; want 2 as 'jawOpen' has"),
    "steps": ({"dt": [10], "vs": {"jawOpen": [1, 0]}}, "'dt' has 1 values; want a list of 2"),
    "step of nothing": ({"dt": [10, None], "vs": {"jawOpen": [1, 0]}}, "'dt' of value 1 is nothing"),
    "nothing known": ({"asset": {"version": "2.0"}}, "no frames, no rows under names"),
    "Azure's rows": ({"FrameIndex": 0, "BlendShapes": [[0.1] * 52]}, "frame 0 has 52 values; want 55"),
    "Azure's text": ([{"FrameIndex": 0, "BlendShapes": "x"}], "'BlendShapes' is the text 'x'"),
    "no faces": ([{"faceBlendshapes": []}], "no frame has a face in it"),
    "degrees": ([{"jawOpen": 0, "headYaw": 20, "headPitch": 0, "headRoll": 0}], "headyaw reaches 20; want radians"),
}


@pytest.mark.parametrize(("document", "message"), BAD.values(), ids=BAD.keys())
def test_bad_documents_are_named(tmp_path: Path, document: Any, message: str) -> None:
    with pytest.raises(ClipError, match=message) as caught:
        load(tmp_path, document)
    assert "take.json: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "take.json").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ClipError, match="not a text file"):
        load_clip(tmp_path / "take.json")
