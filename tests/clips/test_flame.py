"""The map from FLAME to ARKit, and sequences, with a file like FLAME made from our own head, so that the answer is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from scipy.spatial.transform import Rotation

from avatarcli.clips import flame_sequence
from avatarcli.clips.clip import Clip
from avatarcli.clips.files import load_clip
from avatarcli.clips.flame_file import IDENTITY_SIZE, read_flame
from avatarcli.clips.flame_map import FlameMap, make_map, nearest_in_bounds
from avatarcli.errors import ClipError
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.model import HeadModel, gaze_from_expression
from avatarcli.head.shutting import shut_at_one

# What a unit of each expression coefficient does, and how much of it.
ACTIONS = {
    "jawOpen": 0.3, "mouthSmileLeft": 0.4, "mouthSmileRight": 0.4, "mouthPucker": 0.5, "mouthFrownLeft": 0.5,
    "mouthLeft": 0.4, "browInnerUp": 0.5, "browDownRight": 0.5, "eyeBlinkLeft": 0.4, "eyeBlinkRight": 0.4,
    "noseSneerLeft": 0.5, "cheekPuff": 0.5,
}  # fmt: skip
COLUMNS = [EXPRESSION_INDEX[name] for name in ACTIONS]
TURN = Rotation.from_euler("X", 4, degrees=True).as_matrix()
SCALE, SHIFT = 0.97, np.array([0.004, 0.03, -0.02])


@dataclass(frozen=True)
class Twin:
    """Our head in FLAME's clothes."""

    arrays: dict[str, np.ndarray]
    made: FlameMap


def flame_like(model: HeadModel) -> dict[str, np.ndarray]:
    """Another person's head, with other vertices on the same surface, of another size, tilted and elsewhere."""
    rng = np.random.default_rng(5)
    identity = torch.zeros(model.identity_size)
    identity[:40] = torch.from_numpy(rng.normal(0, 0.5, 40))
    skin = (model.face_part == 0) & ~model.in_regions("mouth_cavity", "eye_socket", "torso")[model.faces].any(1)
    eyes = (model.face_part == 1) | (model.face_part == 2)
    used, faces = np.unique(model.faces[skin | eyes].numpy(), return_inverse=True)
    faces = faces.reshape(-1, 3)
    # Every vertex goes to a point of one of its triangles.
    corners, weights = np.zeros((len(used), 3), int), np.zeros((len(used), 3))
    for corner in range(3):
        corners[faces[:, corner]] = np.roll(faces, -corner, axis=1)
    weights[:] = (0.7, 0.2, 0.1)

    def moved(values: np.ndarray) -> np.ndarray:
        return (values[used][corners] * weights[..., None]).sum(1)

    ours = model.neutral(identity).double().numpy()
    vertices = (moved(ours) - SHIFT) @ TURN / SCALE
    joints = (model.joints(identity).double().numpy() - SHIFT) @ TURN / SCALE
    basis = shut_at_one(model, model.mean).double().numpy()
    deltas = [gain * moved(basis[EXPRESSION_INDEX[name]]) @ TURN / SCALE for name, gain in ACTIONS.items()]
    shapedirs = np.zeros((len(used), 3, IDENTITY_SIZE + len(deltas)), np.float32)
    shapedirs[:, :, IDENTITY_SIZE:] = np.stack(deltas, -1)
    regressor = np.zeros((5, len(used)))
    skinning = np.zeros((len(used), 5))
    down = model.expression_basis[EXPRESSION_INDEX["jawOpen"]].norm(dim=-1).double().numpy()
    skinning[:, 2] = moved(np.repeat((down / down.max())[:, None], 3, 1))[:, 0].clip(0, 1)
    for row, name in ((2, "jaw"), (3, "eye_l"), (4, "eye_r")):
        # A joint as a weighted sum of vertices, found as FLAME's are: by least squares with weights that sum to one.
        near = np.argsort(np.linalg.norm(vertices - joints[model.joint_names.index(name)], axis=1))[:300]
        system = np.vstack([vertices[near].T, np.ones(len(near))])
        regressor[row, near] = np.linalg.lstsq(system, np.append(joints[model.joint_names.index(name)], 1.0))[0]
    for row, name in ((3, "eye_l"), (4, "eye_r")):
        part = model.part(name)
        skinning[(used >= part.start) & (used < part.stop)] = np.eye(5)[row]
    skinning[:, 1] = 1 - skinning.sum(1)
    return {
        "v_template": vertices, "f": faces.astype(np.uint32), "shapedirs": shapedirs, "weights": skinning,
        "posedirs": np.zeros((len(used), 3, 36), np.float32), "J_regressor": regressor,
    }  # fmt: skip


@pytest.fixture(scope="module")
def twin(model: HeadModel, tmp_path_factory: pytest.TempPathFactory) -> Twin:
    arrays = flame_like(model)
    path = tmp_path_factory.mktemp("flame") / "flame.npz"
    np.savez(path, **arrays)
    return Twin(arrays, make_map(read_flame(path), model))


def random_expressions(frames: int) -> np.ndarray:
    """Coefficients of which each frame uses four."""
    rng = np.random.default_rng(1)
    chosen = np.stack([rng.permutation(len(ACTIONS)) < 4 for _ in range(frames)])
    return chosen * rng.uniform(0.3, 2.0, chosen.shape)


def test_the_map_finds_the_actions_that_were_put_in(twin: Twin) -> None:
    assert twin.made.error < 1.0  # mm; moving the vertices cut corners
    assert twin.made.explained > 0.4  # half of every unit normal is negative, which one-sided actions cannot show
    assert Rotation.from_matrix(twin.made.axes.T @ TURN).magnitude() < np.deg2rad(1)
    x = random_expressions(40)
    found = twin.made.coefficients(x, np.broadcast_to(np.eye(3), (40, 3, 3)), np.zeros((40, 52)))
    wanted = np.zeros((40, 52))
    wanted[:, COLUMNS] = x * list(ACTIONS.values())
    error = np.abs(found - wanted.clip(0, 1))
    assert error[:, COLUMNS].mean() < 0.03
    assert error.mean() < 0.02


def test_the_solver_agrees_with_scipys(twin: Twin) -> None:
    rng = np.random.default_rng(2)
    pull = rng.normal(0, 3000, (6, 52))
    known = np.zeros((6, 52))
    known[:, EXPRESSION_INDEX["eyeLookDownLeft"]] = 0.5
    found = nearest_in_bounds(twin.made.gram, pull, known)
    fitted = [
        index for name, index in EXPRESSION_INDEX.items() if not name.startswith("eyeLook") and name != "tongueOut"
    ]
    root = np.linalg.cholesky(twin.made.gram[np.ix_(fitted, fitted)])
    for frame in range(6):
        right = (pull[frame] - known[frame] @ twin.made.gram)[fitted]
        slow = lsq_linear(root.T, np.linalg.solve(root, right), bounds=(0, 1), tol=1e-12)
        np.testing.assert_allclose(found[frame, fitted], slow.x, atol=1e-3)
    np.testing.assert_array_equal(found[:, EXPRESSION_INDEX["eyeLookDownLeft"]], 0.5)


def test_the_jaw_opens_the_mouth_and_moves_it_aside(twin: Twin) -> None:
    turns = Rotation.from_rotvec([[0, 0, 0], [0.1, 0, 0], [0.25, 0, 0], [0.1, 0.15, 0]]).as_matrix()
    found = twin.made.coefficients(np.zeros((4, 1)), turns, np.zeros((4, 52)))
    opened = found[:, EXPRESSION_INDEX["jawOpen"]]
    assert opened[0] == 0
    assert 0.05 < opened[1] < opened[2] <= 1
    left, right = found[:, EXPRESSION_INDEX["jawLeft"]], found[:, EXPRESSION_INDEX["jawRight"]]
    assert left[3] > right[3] + 0.05  # a turn about +y brings the chin to the subject's left
    np.testing.assert_allclose(left[:3], right[:3], atol=0.05)


def test_a_map_is_saved_and_refuses_longer_sequences(twin: Twin, tmp_path: Path) -> None:
    twin.made.save(tmp_path / "map.npz")
    back = FlameMap.load(tmp_path / "map.npz")
    assert (back.expressions, round(back.error, 4)) == (len(ACTIONS), round(twin.made.error, 4))
    x, rest = random_expressions(5), np.broadcast_to(np.eye(3), (5, 3, 3))
    looks = np.zeros((5, 52))
    np.testing.assert_allclose(back.coefficients(x, rest, looks), twin.made.coefficients(x, rest, looks), atol=1e-3)
    with pytest.raises(ClipError, match="expr has 13 coefficients, the map's FLAME has 12"):
        back.coefficients(np.zeros((5, 13)), rest, looks)
    np.savez(tmp_path / "bad.npz", flame_map_gram=np.eye(3))
    with pytest.raises(ClipError, match=r"bad\.npz: flame_map_gram has shape \[3, 3\]; want \[52, 52\]"):
        FlameMap.load(tmp_path / "bad.npz")


def test_another_face_is_refused(twin: Twin, model: HeadModel, tmp_path: Path) -> None:
    upside_down = {**twin.arrays, "v_template": twin.arrays["v_template"] * (1, -1, -1)}
    np.savez(tmp_path / "flame.npz", **upside_down)
    with pytest.raises(ClipError, match="does not fit ours"):
        make_map(read_flame(tmp_path / "flame.npz"), model)


# Sequences


@pytest.fixture
def map_file(twin: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The twin's map as the user's own."""
    place = tmp_path / "data" / "flame-map.npz"
    twin.made.save(place)
    monkeypatch.setattr(flame_sequence, "default_map", lambda: place)
    return place


def sequence(tmp_path: Path, **arrays: Any) -> Path:
    np.savez(tmp_path / "take.npz", **arrays)
    return tmp_path / "take.npz"


def nodding(frames: int) -> np.ndarray:
    """A head that turns to its left and looks down a little, axis-angle."""
    return Rotation.from_euler("YX", np.linspace([0, 0], [0.4, 0.1], frames)).as_rotvec()


def test_cap4d_and_vhap_say_the_same(tmp_path: Path, map_file: Path) -> None:
    x = random_expressions(6)
    eyes = np.tile([[0.1, -0.2, 0.0]], (6, 1))  # down and to the subject's right
    place = np.linspace([0, 0, 1.0], [0.05, 0, 1.0], 6)
    cap4d = load_clip(sequence(tmp_path, expr=x, rot=nodding(6), tra=place, eye_rot=eyes, fps=25.0))
    names = {"expr": x, "rotation": nodding(6), "translation": place, "eyes_pose": np.hstack([eyes, eyes])}
    vhap = load_clip(sequence(tmp_path, **names, jaw_pose=np.zeros((6, 3)), static_offset=np.zeros((1, 5, 3))), fps=25)
    assert cap4d.fps == vhap.fps == 25
    for key in ("expression", "head_rotation", "head_translation", "gaze"):
        np.testing.assert_array_equal(getattr(cap4d, key), getattr(vhap, key))
    assert cap4d.gaze is not None
    assert cap4d.head_translation is not None
    np.testing.assert_allclose(cap4d.gaze[0], [[-0.2, -0.1]] * 2, atol=1e-6)
    assert cap4d.expression[0, EXPRESSION_INDEX["eyeLookInLeft"]] > 0.3
    assert cap4d.expression[0, EXPRESSION_INDEX["eyeLookDownRight"]] > 0.2
    assert Rotation.from_rotvec(cap4d.head_rotation[-1]).magnitude() == pytest.approx(np.hypot(0.4, 0.1), abs=0.01)
    assert cap4d.head_rotation[-1, 1] > 0.35
    np.testing.assert_allclose(np.median(cap4d.head_translation, axis=0), 0, atol=1e-6)
    assert cap4d.head_translation[-1, 0] == pytest.approx(0.025, abs=0.002)


@pytest.mark.parametrize("flip", [(1, -1, -1), (-1, 1, -1), (-1, -1, 1)])
def test_the_worlds_axes_do_not_matter(tmp_path: Path, map_file: Path, flip: tuple[int, int, int]) -> None:
    plain = {"expr": np.zeros((5, 3)), "rot": nodding(5), "tra": np.linspace([0, 0, 1], [0.1, 0, 1], 5)}
    turned = {
        "expr": plain["expr"],
        "rot": (Rotation.from_matrix(np.diag(flip)) * Rotation.from_rotvec(plain["rot"])).as_rotvec(),
        "tra": plain["tra"] * flip,
    }
    here, there = load_clip(sequence(tmp_path, **plain)), load_clip(sequence(tmp_path, **turned))
    np.testing.assert_allclose(here.head_rotation, there.head_rotation, atol=1e-5)
    np.testing.assert_allclose(here.head_translation, there.head_translation, atol=1e-6)  # type: ignore[arg-type]


def test_the_neck_turns_the_head_too(tmp_path: Path, map_file: Path) -> None:
    body = load_clip(sequence(tmp_path, expr=np.zeros((4, 2)), rot=nodding(4)))
    neck = load_clip(sequence(tmp_path, expr=np.zeros((4, 2)), neck_pose=nodding(4)))
    np.testing.assert_allclose(body.head_rotation, neck.head_rotation, atol=1e-6)
    assert body.gaze is None
    assert body.head_translation is None


def test_gaze_and_its_coefficients_are_inverse() -> None:
    gaze = np.random.default_rng(4).uniform(-0.3, 0.3, (20, 2, 2))
    looks = flame_sequence._looks(gaze)
    np.testing.assert_allclose(gaze_from_expression(torch.from_numpy(looks)).numpy(), gaze, atol=1e-6)


def test_cap4ds_blink_is_a_blink(tmp_path: Path, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = FlameMap(twin.made.gram, np.zeros((52, 100 + 9)), np.eye(3), 0.5, 0.5)
    wide.save(tmp_path / "wide.npz")
    x = np.zeros((3, 65))
    x[1, 64] = 0.7
    notes: list[str] = []
    clip = load_clip(sequence(tmp_path, expr=x), flame_map=tmp_path / "wide.npz", note=notes.append)
    np.testing.assert_allclose(clip.expression[:, EXPRESSION_INDEX["eyeBlinkLeft"]], [0, 0.7, 0], atol=1e-6)
    np.testing.assert_allclose(clip.expression[:, EXPRESSION_INDEX["eyeBlinkRight"]], [0, 0.7, 0], atol=1e-6)
    assert "CAP4D's blink" in notes[0]
    assert "30 frames/s assumed" in notes[1]


BAD_SEQUENCES: dict[str, tuple[dict[str, Any], str]] = {
    "flat": ({"expr": np.zeros(12)}, r"expr has shape \[12\]; want \[T, E\]"),
    "no frames": ({"expr": np.zeros((0, 12))}, "no frames"),
    "nan": ({"expr": np.full((4, 12), np.nan)}, "expr holds NaN"),
    "too many": ({"expr": np.zeros((4, 50))}, "expr has 50 coefficients, the map's FLAME has 12"),
    "short": ({"rot": np.zeros((3, 3))}, r"rot has shape \[3, 3\]; want \[4, 3\]"),
    "one eye and a half": ({"eye_rot": np.zeros((4, 5))}, r"eye_rot has shape \[4, 5\]; want \[4, 3\] or \[4, 6\]"),
    "text": ({"jaw_pose": np.full((4, 3), "a")}, "jaw_pose holds <U1 values"),
    "rates": ({"fps": np.ones(2)}, r"fps has shape \[2\]"),
    "behind": ({"eye_rot": np.tile([[0.0, 3.0, 0.0]], (4, 1))}, "gaze reaches 3; want radians"),
}


@pytest.mark.parametrize(("change", "message"), BAD_SEQUENCES.values(), ids=BAD_SEQUENCES.keys())
def test_bad_sequences_are_named(tmp_path: Path, map_file: Path, change: dict[str, Any], message: str) -> None:
    path = sequence(tmp_path, **{"expr": np.zeros((4, 12)), **change})
    with pytest.raises(ClipError, match=message) as caught:
        load_clip(path)
    assert "take.npz: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_map_the_error_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flame_sequence, "default_map", lambda: tmp_path / "none.npz")
    with pytest.raises(ClipError, match="avatar clip flame-map FLAME_FILE"):
        load_clip(sequence(tmp_path, expr=np.zeros((4, 12))))


def test_a_converted_clip_plays_on_our_head(tmp_path: Path, map_file: Path, model: HeadModel) -> None:
    """The mouth of our own head opens as far as the twin's does."""
    x = np.zeros((2, len(ACTIONS)))
    x[1, list(ACTIONS).index("jawOpen")] = 2.0
    clip: Clip = load_clip(sequence(tmp_path, expr=x))
    moved = clip.parameters().expression[1] @ model.expression_basis.flatten(1)
    wanted = 0.6 * model.expression_basis[EXPRESSION_INDEX["jawOpen"]].flatten()
    assert float((moved - wanted).norm() / wanted.norm()) < 0.1
