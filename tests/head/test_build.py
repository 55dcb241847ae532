"""The script that makes the head model: packing of a small random model, and three new people of `anny`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from avatarcli.weights.shipped import weights_root

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from head_model import packing

HEAD_FILE = "head/head.safetensors"


def random_basis(rng: np.random.Generator) -> tuple[packing.Float, packing.Int]:
    """Five components over parts of very different size of motion."""
    part_range = np.array([[0, 40], [40, 52], [52, 60]], dtype=np.int32)
    basis = rng.standard_normal((5, 60, 3)).astype(np.float32)
    basis[:, :40] *= 0.03
    basis[:, 40:52] *= 1e-4
    basis[2, 52:] = 0.0
    return basis, part_range


def test_identity_is_rounded_to_half_a_step_of_its_own_part() -> None:
    basis, part_range = random_basis(np.random.default_rng(0))
    quantised, scale = packing.quantise_identity(basis, part_range)
    restored = packing.dequantise_identity(quantised, scale, part_range)
    assert quantised.dtype == np.int8
    for part, (a, b) in enumerate(part_range):
        error = np.abs(restored - basis)[:, a:b].max(axis=(1, 2))
        assert (error <= 0.5001 * scale[:, part]).all()
        np.testing.assert_allclose(
            np.abs(restored[:, a:b]).max(axis=(1, 2)), np.abs(basis[:, a:b]).max(axis=(1, 2)), rtol=1e-5, atol=1e-12
        )
    assert not restored[2, 52:].any()


def test_sparse_expressions_come_back_but_for_what_nobody_sees() -> None:
    rng = np.random.default_rng(1)
    expressions = np.zeros((4, 30, 3), dtype=np.float32)
    expressions[0, 3:9] = rng.standard_normal((6, 3)) * 0.01
    expressions[2, 20] = [0.0, 2e-6, 0.0]
    expressions[3] = rng.standard_normal((30, 3)) * 0.001
    index, pointer, delta = packing.sparse_expressions(expressions)
    assert pointer.tolist() == [0, 6, 6, 6, 36]
    dense = packing.dense_expressions(index, pointer, delta, 30)
    assert np.abs(dense - expressions).max() < 2e-5
    assert not dense[2].any()


def test_written_file_depends_on_content_alone(tmp_path: Path) -> None:
    tensors = {"b": np.arange(5, dtype=np.int8), "a": np.eye(3, dtype=np.float32)}
    names = ("jawOpen", "mouthClose")
    for name in ("one", "two"):
        packing.write(tmp_path / name, tensors, packing.metadata(names, {"seed": 0}))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    loaded = load_file(tmp_path / "one")
    assert all(np.array_equal(loaded[key], tensors[key]) for key in tensors)
    with safe_open(tmp_path / "one", "np") as file:
        assert file.metadata() == packing.metadata(names, {"seed": 0})


def test_shipped_topology_is_that_of_the_script() -> None:
    from head_model.topology import load_topology

    topology = load_topology()
    shipped = load_file(weights_root() / HEAD_FILE)
    for name in ("part_range", "faces", "face_part", "uv", "face_uv", "region", "mirror_index", "landmark_tri"):
        assert np.array_equal(shipped[name], getattr(topology, name)), name
    assert shipped["faces"].max() < len(shipped["v_mean"])
    assert (topology.mirror_index[topology.mirror_index] == np.arange(len(topology.mirror_index))).all()
    np.testing.assert_allclose(shipped["landmark_bary"].sum(axis=1), 1.0, atol=1e-5)


def test_atlas_gives_each_part_a_place_of_its_own() -> None:
    shipped = load_file(weights_root() / HEAD_FILE)
    boxes = []
    for part in range(1, len(packing.PARTS)):
        uv = shipped["uv"][np.unique(shipped["face_uv"][shipped["face_part"] == part])]
        boxes.append((uv.min(axis=0), uv.max(axis=0)))
        assert (uv >= 0).all()
        assert (uv <= 1).all()
    skin = shipped["uv"][shipped["face_uv"][shipped["face_part"] == 0]]
    for number, (low, high) in enumerate(boxes):
        others = [box for other, box in enumerate(boxes) if other != number]
        assert all((low > other_high).any() or (high < other_low).any() for other_low, other_high in others)
        assert not ((skin > low) & (skin < high)).all(axis=-1).any(), "skin corners inside the place of another part"


def test_average_head_is_upright_and_symmetric() -> None:
    shipped = load_file(weights_root() / HEAD_FILE)
    mean, mirror = shipped["v_mean"], shipped["mirror_index"]
    assert np.abs(mean[mirror] * [-1, 1, 1] - mean).max() < 1e-3
    joint = dict(zip(packing.JOINTS, shipped["joint_mean"], strict=True))
    assert joint["eye_l"][0] > 0.02 > -0.02 > joint["eye_r"][0]
    for name in ("eye_l", "eye_r"):
        a, b = shipped["part_range"][packing.PARTS.index(name)]
        radius = np.linalg.norm(mean[a:b] - joint[name], axis=1)
        assert 0.012 < radius.min() < radius.max() < 0.018


def test_three_new_people_of_anny_fit_the_shipped_model() -> None:
    pytest.importorskip("anny")
    from anny.paths import get_anny_cache_path

    if not any(get_anny_cache_path().glob("v*/build_model_data_*.safetensors")):
        pytest.skip("anny's cache is cold: run scripts/build_head_model.py once (it takes a minute and a half)")
    from build_head_model import average_head
    from head_model.bodies import AnnyHeads
    from head_model.evaluate import accuracy_table, read_shipped
    from head_model.parts import bind
    from head_model.topology import load_topology

    anny_heads = AnnyHeads(load_topology())
    binding = bind(anny_heads, average_head(anny_heads.heads(anny_heads.people(250, seed=0))))
    new_people = anny_heads.heads(anny_heads.people(3, seed=4321))
    table = accuracy_table(read_shipped(weights_root() / HEAD_FILE), anny_heads, binding, new_people, seed=0)
    errors = {row.name: row.mean for row in table}
    assert errors["identity, head skin without neck and torso"] < 0.4
    assert errors["identity, lips"] < 0.35
    assert errors["identity, eye and jaw joints"] < 0.4
    assert errors["expression, head skin without neck and torso"] < 0.1
