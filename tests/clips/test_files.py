"""Motion clips: what is read is what was written, and whatever is wrong is named in one line."""

from __future__ import annotations

import os
import runpy
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from avatarcli.clips import arrays as clip_arrays
from avatarcli.clips.clip import Clip
from avatarcli.clips.files import clip_path, load_clip, save_clip, shipped_clips
from avatarcli.errors import ClipError
from avatarcli.geometry.rotations import axis_angle_to_matrix
from avatarcli.head.expressions import EXPRESSION_INDEX, EXPRESSION_NAMES
from toy_clips import make_clip

ROOT = Path(__file__).resolve().parents[2]


def assert_same(left: Clip, right: Clip) -> None:
    assert left.fps == right.fps
    for key in ("expression", "head_rotation", "head_translation", "gaze"):
        a, b = getattr(left, key), getattr(right, key)
        assert (a is None) == (b is None)
        if a is not None:
            assert b.dtype == np.float32
            np.testing.assert_array_equal(a, b)


def arrays() -> dict[str, Any]:
    clip = make_clip()
    return {
        "expression": clip.expression,
        "names": np.array(EXPRESSION_NAMES),
        "head_rotation": clip.head_rotation,
        "gaze": clip.gaze,
        "fps": np.array(30.0),
    }


@pytest.mark.parametrize("bare", [False, True])
def test_saved_clip_loads_the_same(tmp_path: Path, bare: bool) -> None:
    clip = replace(make_clip(), head_translation=None, gaze=None) if bare else make_clip()
    path = tmp_path / "new" / "clip.npz"
    save_clip(path, clip)
    assert_same(load_clip(path), clip)
    assert [file.name for file in path.parent.iterdir()] == ["clip.npz"]


def test_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ClipError, match="cannot write"):
        save_clip(tmp_path / "file" / "clip.npz", make_clip())
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_names_in_another_order_are_put_in_ours(tmp_path: Path) -> None:
    data = arrays()
    order = np.random.default_rng(0).permutation(52)
    np.savez(
        tmp_path / "clip.npz", **{**data, "names": data["names"][order], "expression": data["expression"][:, order]}
    )
    np.testing.assert_array_equal(load_clip(tmp_path / "clip.npz").expression, data["expression"])


def test_small_overshoot_is_clamped(tmp_path: Path) -> None:
    data = arrays()
    data["expression"][0, :2] = -0.02, 1.04
    np.savez(tmp_path / "clip.npz", **data)
    assert load_clip(tmp_path / "clip.npz").expression[0, :2].tolist() == [0, 1]


BAD_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "missing key": ({"expression": None}, "key 'expression' is missing"),
    "missing fps": ({"fps": None}, "key 'fps' is missing"),
    "narrow": ({"expression": np.zeros((7, 51))}, r"expression has shape \[7, 51\]; want \[T, 52\]"),
    "flat": ({"expression": np.zeros(52)}, r"expression has shape \[52\]"),
    "other length": ({"head_rotation": np.zeros((6, 3))}, r"head_rotation has shape \[6, 3\]; want \[7, 3\]"),
    "one eye": ({"gaze": np.zeros((7, 2))}, r"gaze has shape \[7, 2\]; want \[7, 2, 2\]"),
    "translation": ({"head_translation": np.zeros((7, 4))}, r"head_translation has shape \[7, 4\]; want \[7, 3\]"),
    "no frames": ({"expression": np.zeros((0, 52))}, "no frames"),
    "nan": ({"expression": np.full((7, 52), np.nan)}, "expression holds NaN or infinity in frame 0"),
    "infinite": ({"head_rotation": np.full((7, 3), np.inf)}, "head_rotation holds NaN"),
    "percent": ({"expression": np.full((7, 52), 57.0)}, r"ranges from 57 to 57; want values in \[0, 1\]"),
    "negative": ({"expression": np.full((7, 52), -0.5)}, r"want values in \[0, 1\]"),
    "degrees": ({"head_rotation": np.full((7, 3), 30.0)}, "head_rotation reaches 30; want radians"),
    "wild eyes": ({"gaze": np.full((7, 2, 2), 2.0)}, "gaze reaches 2; want radians"),
    "fast": ({"fps": np.array(48000.0)}, "fps is 48000"),
    "backward": ({"fps": np.array(-30.0)}, "fps is -30"),
    "fps nan": ({"fps": np.array(np.nan)}, "fps is nan"),
    "many fps": ({"fps": np.ones(3)}, r"fps has shape \[3\]"),
    "text": ({"expression": np.full((7, 52), "a")}, "want numbers"),
    "objects": ({"expression": np.array([[{}] * 52] * 7, dtype=object)}, "pickled"),
    "unknown name": ({"names": np.array(["grin", *EXPRESSION_NAMES[1:]])}, "unknown: grin; missing: browDownLeft"),
    "name twice": ({"names": np.array([*EXPRESSION_NAMES, "jawOpen"])}, "twice"),
    "names as numbers": ({"names": np.arange(52)}, "names is int64"),
}


@pytest.mark.parametrize(("change", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_bad_arrays_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    data = {key: value for key, value in {**arrays(), **change}.items() if value is not None}
    np.savez(tmp_path / "clip.npz", **data)
    with pytest.raises(ClipError, match=message) as caught:
        load_clip(tmp_path / "clip.npz")
    assert "clip.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def _truncated(path: Path) -> None:
    save_clip(path, make_clip())
    path.write_bytes(path.read_bytes()[:-200])


def _damaged(path: Path) -> None:
    save_clip(path, make_clip(40))
    data = bytearray(path.read_bytes())
    data[200:230] = b"\xff" * 30
    path.write_bytes(data)


def _bare_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def _not_an_array(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("expression.npy", "hello")


BAD_FILES = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a zip"),
    "truncated": _truncated,
    "damaged": _damaged,
    "npy": _bare_array,
    "zip of text": _not_an_array,
    "folder": lambda path: path.mkdir(),
    "absent": lambda path: None,
}


@pytest.mark.parametrize("make", BAD_FILES.values(), ids=BAD_FILES.keys())
@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_bad_files_are_one_line(tmp_path: Path, make: Any, suffix: str) -> None:
    path = tmp_path / f"clip{suffix}"
    make(path)
    with pytest.raises(ClipError, match="clip") as caught:
        load_clip(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".json"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    with pytest.raises(ClipError, match="is a pipe"):
        load_clip(path)


def test_a_file_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_clip(tmp_path / "clip.npz", make_clip())
    monkeypatch.setattr(clip_arrays, "MAX_BYTES", 1000)
    with pytest.raises(ClipError, match="unpacks to"):
        load_clip(tmp_path / "clip.npz")


def test_other_suffix_and_unknown_word(tmp_path: Path) -> None:
    (tmp_path / "clip.bvh").write_text("x")
    with pytest.raises(ClipError, match=r"want a \.npz, \.csv or \.json file"):
        load_clip(tmp_path / "clip.bvh")
    with pytest.raises(ClipError, match="look_around, speech, tour"):
        load_clip("speach")


def test_parameters_carry_motion_to_neck_and_bust() -> None:
    clip = make_clip()
    moving, still = clip.parameters(True), clip.parameters(False)
    np.testing.assert_array_equal(moving.neck.numpy(), clip.head_rotation)
    np.testing.assert_array_equal(moving.head_pose[:, :3, 3].numpy(), clip.head_translation)
    np.testing.assert_array_equal(moving.gaze.numpy(), clip.gaze)
    assert not still.neck.any()
    assert torch.equal(still.head_pose, torch.eye(4).expand(7, 4, 4))


def test_missing_gaze_comes_from_the_expression() -> None:
    expression = np.zeros((2, 52), np.float32)
    expression[1, [EXPRESSION_INDEX["eyeLookOutLeft"], EXPRESSION_INDEX["eyeLookInRight"]]] = 0.5
    gaze = Clip(expression, np.zeros((2, 3), np.float32), None, None, 30.0).parameters(True).gaze
    assert not gaze[0].any()
    assert (gaze[1, :, 0] > 0.1).all()  # both to the subject's left


def test_resampling_there_and_back_keeps_the_frames() -> None:
    clip = make_clip(9, 30.0)
    double = clip.resample(60.0)
    assert len(double) == 17
    back = double.resample(30.0)
    np.testing.assert_allclose(back.expression, clip.expression, atol=1e-6)
    np.testing.assert_allclose(back.gaze, clip.gaze, atol=1e-6)
    difference = Rotation.from_rotvec(back.head_rotation).inv() * Rotation.from_rotvec(clip.head_rotation)
    assert difference.magnitude().max() < 1e-5
    halves = Rotation.from_rotvec(clip.head_rotation[0]).inv() * Rotation.from_rotvec(double.head_rotation[1])
    whole = Rotation.from_rotvec(clip.head_rotation[0]).inv() * Rotation.from_rotvec(clip.head_rotation[1])
    np.testing.assert_allclose(2 * halves.as_rotvec(), whole.as_rotvec(), atol=1e-5)


# Live Link Face


def take(
    rows: int = 150, *, timecode: str = "{h:02d}:{m:02d}:{s:02d}:{f:02d}.{sub:03d}", fps: int = 60
) -> list[list[str]]:
    """A table as the app writes it: right side first, PascalCase, angles in radians."""
    names = sorted(EXPRESSION_NAMES, reverse=True)
    angles = ["HeadYaw", "HeadPitch", "HeadRoll", "LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll"]
    angles += ["RightEyeYaw", "RightEyePitch", "RightEyeRoll"]
    table = [["Timecode", "BlendshapeCount", *(name[0].upper() + name[1:] for name in names), *angles]]
    for row in range(rows):
        frame = row + fps // 3  # does not start on a whole second
        code = timecode.format(h=15, m=6, s=30 + frame // fps, f=frame % fps, sub=512)
        values = [f"{(EXPRESSION_INDEX[name] + row % 7) / 100:.4f}" for name in names]
        table.append([code, "61", *values, "0.2", "0.1", "0.05", "0.3", "0.15", "0", "0.3", "0.15", "0"])
    return table


def write(path: Path, table: list[list[str]]) -> Path:
    path.write_text("\n".join(",".join(row) for row in table) + "\n")
    return path


def test_live_link_columns_and_signs(tmp_path: Path) -> None:
    clip = load_clip(write(tmp_path / "take.csv", take()))
    assert (len(clip), clip.fps) == (150, 60)
    np.testing.assert_allclose(clip.expression[3], (np.arange(52) + 3) / 100, atol=1e-6)
    matrix = axis_angle_to_matrix(torch.from_numpy(clip.head_rotation[:1]))[0]
    ahead, up = matrix[:, 2], matrix[:, 1]
    assert ahead[0] > 0.1  # positive yaw: the nose goes to the subject's left
    assert ahead[1] > 0.05  # positive pitch: up
    assert up[0] < -0.01  # positive roll: towards the right shoulder
    assert clip.gaze is not None
    np.testing.assert_allclose(clip.gaze[0], [[-0.3, -0.15]] * 2, atol=1e-6)  # eye angles count right and down


def test_live_link_divergence_is_removed_and_convergence_kept(tmp_path: Path) -> None:
    table = take(3)
    left, right = table[0].index("LeftEyeYaw"), table[0].index("RightEyeYaw")
    for row in table[1:]:
        row[left], row[right] = "-0.06", "0.06"
    gaze = load_clip(write(tmp_path / "diverging.csv", table)).gaze
    assert gaze is not None
    np.testing.assert_allclose(gaze[..., 0], 0, atol=1e-6)
    for row in table[1:]:
        row[left], row[right] = "0.06", "-0.06"
    gaze = load_clip(write(tmp_path / "converging.csv", table)).gaze
    assert gaze is not None
    np.testing.assert_allclose(gaze[0, :, 0], [-0.06, 0.06], atol=1e-6)


@pytest.mark.parametrize(("fps", "rows"), [(60, 180), (30, 100), (24, 100), (25, 100)])
def test_live_link_frame_rate(tmp_path: Path, fps: int, rows: int) -> None:
    assert load_clip(write(tmp_path / "take.csv", take(rows, fps=fps))).fps == fps


def test_live_link_without_usable_times_runs_at_the_apps_rate(tmp_path: Path) -> None:
    assert load_clip(write(tmp_path / "same.csv", take(20, timecode="00:00:00:00"))).fps == 60
    without = [row[2:] for row in take(20)]
    assert load_clip(write(tmp_path / "none.csv", without)).fps == 60


def test_second_dialect(tmp_path: Path) -> None:
    table = [["time", *EXPRESSION_NAMES, "head0", "head1", "head2"]]
    table += [[f"{row / 30:.4f}", *["0.25"] * 52, "0.01", "-0.02", "0.03"] for row in range(12)]
    clip = load_clip(write(tmp_path / "take.csv", table))
    assert (clip.fps, clip.gaze) == (30, None)
    np.testing.assert_allclose(clip.head_rotation, [[0.01, -0.02, 0.03]] * 12, atol=1e-6)


def _edited(edit: Any) -> list[list[str]]:
    table = take(4)
    edit(table)
    return table


BAD_TABLES = {
    "no column": (lambda t: t[0].__setitem__(t[0].index("JawOpen"), "Jaw"), "no column jawOpen"),
    "twice": (lambda t: t[0].__setitem__(0, "jawopen"), "'jawopen' appears twice"),
    "short row": (lambda t: t[2].pop(), "row 3 has 62 cells; want 63"),
    "word": (lambda t: t[2].__setitem__(5, "abc"), "could not convert"),
    "nan": (lambda t: t[2].__setitem__(5, "nan"), "NaN or infinity in frame 1"),
    "nan angle": (lambda t: t[2].__setitem__(-1, "nan") or t[2].__setitem__(-9, "nan"), "column headyaw holds NaN"),
    "degrees": (lambda t: t[1].__setitem__(-9, "12.5"), "headyaw reaches 12.5; want radians"),
    "no rows": (lambda t: t.__delitem__(slice(1, None)), "no frames"),
    "percent": (lambda t: t[1].__setitem__(5, "80"), r"want values in \[0, 1\]"),
}


@pytest.mark.parametrize(("edit", "message"), BAD_TABLES.values(), ids=BAD_TABLES.keys())
def test_bad_tables_are_named(tmp_path: Path, edit: Any, message: str) -> None:
    with pytest.raises(ClipError, match=message) as caught:
        load_clip(write(tmp_path / "take.csv", _edited(edit)))
    assert "take.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


# The examples


def test_examples_are_what_the_script_writes() -> None:
    authored = runpy.run_path(str(ROOT / "scripts" / "author_clips.py"))["CLIPS"]
    assert sorted(authored) == sorted(shipped_clips())
    for name, author in authored.items():
        shipped, fresh = load_clip(name), author()
        assert clip_path(name).parent == ROOT / "examples" / "clips"
        assert (len(shipped), shipped.fps) == (len(fresh), fresh.fps)
        for key in ("expression", "head_rotation", "head_translation", "gaze"):
            if getattr(fresh, key) is not None:  # the last stored digit may differ between processors
                np.testing.assert_allclose(getattr(shipped, key), getattr(fresh, key), atol=2e-4)


def test_tour_shows_every_expression_once_and_in_order() -> None:
    tour = load_clip("tour")
    peaks = tour.expression.argmax(axis=0)
    alone = np.arange(52) != EXPRESSION_INDEX["jawOpen"]  # the jaw also opens for mouthClose
    assert (tour.expression.max(axis=0) == 1).all()
    assert (np.diff(peaks[alone]) > 0).all()
    assert not tour.head_rotation.any()
    assert not tour.expression[[0, -1]].any()


def test_speech_closes_its_lips_and_blinks() -> None:
    speech = load_clip("speech")
    jaw, close, press, blink = (
        speech.expression[:, EXPRESSION_INDEX[name]]
        for name in ("jawOpen", "mouthClose", "mouthPressLeft", "eyeBlinkLeft")
    )
    assert (close <= jaw + 1e-4).all()
    closed = (press > 0.15) & (np.abs(jaw - close) < 0.06)
    assert np.diff(closed.astype(int)).clip(min=0).sum() >= 4  # the m or p of from, move, speak, smile
    onsets = np.flatnonzero((blink[1:] > 0.5) & (blink[:-1] <= 0.5)) / speech.fps
    assert len(onsets) >= 3
    assert (np.diff(onsets) > 1.9).all()
    assert (np.diff(onsets) < 4.1).all()
    assert 0.01 < np.linalg.norm(speech.head_rotation, axis=1).max() < 0.15


def test_gaze_leads_and_head_follows() -> None:
    look = load_clip("look_around")
    assert look.gaze is not None
    eyes, head = look.gaze[:, 0, 0], look.head_rotation[:, 1]
    assert np.argmax(eyes > 0.2) < np.argmax(head > 0.2)
    assert head.max() > 0.3
    assert head.min() < -0.3
    outward = look.expression[:, EXPRESSION_INDEX["eyeLookOutLeft"]]
    assert np.corrcoef(outward, eyes.clip(min=0))[0, 1] > 0.99
