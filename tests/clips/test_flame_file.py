"""FLAME's model files: pickles read without running what they hold, and the same data as .npz and .safetensors."""

from __future__ import annotations

import functools
import os
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.sparse import csc_matrix, csr_matrix

from avatarcli.clips.data_pickle import read_data_pickle
from avatarcli.clips.flame_file import read_flame
from avatarcli.errors import ClipError


class _Ch:
    """A twin of chumpy's class for writing pickles like FLAME's."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x


def write_like_flame(path: Path, arrays: dict[str, np.ndarray], protocol: int) -> None:
    module = types.ModuleType("chumpy.ch")
    _Ch.__module__, _Ch.__name__, _Ch.__qualname__ = "chumpy.ch", "Ch", "Ch"
    module.Ch = _Ch  # type: ignore[attr-defined]
    content: dict[str, Any] = {**arrays, "J_regressor": csc_matrix(arrays["J_regressor"]), "bs_style": "lbs"}
    content |= {name: _Ch(np.asfortranarray(arrays[name])) for name in ("v_template", "shapedirs")}
    sys.modules |= {"chumpy": types.ModuleType("chumpy"), "chumpy.ch": module}
    try:
        path.write_bytes(pickle.dumps(content, protocol))
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_like_flames_is_read_without_chumpy(tmp_path: Path, protocol: int) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "v_template": rng.normal(size=(7, 3)), "f": np.array([[0, 1, 2]], np.uint32),
        "shapedirs": rng.normal(size=(7, 3, 302)), "J_regressor": np.eye(5, 7) * 0.5,
    }  # fmt: skip
    write_like_flame(tmp_path / "flame.pkl", arrays, protocol)
    read = read_data_pickle(tmp_path / "flame.pkl")
    assert sorted(read) == sorted(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
    (tmp_path / "rows.pkl").write_bytes(pickle.dumps({"J_regressor": csr_matrix(arrays["J_regressor"])}, protocol))
    np.testing.assert_array_equal(read_data_pickle(tmp_path / "rows.pkl")["J_regressor"], arrays["J_regressor"])


class _Bomb:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


def test_a_pickle_that_would_run_code_does_not(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    bombs = {
        "system": _Bomb(os.system, f"touch {mark}"),
        "exec": _Bomb(exec, f"open({str(mark)!r}, 'w')"),
        "getattr": _Bomb(getattr, dict, "clear"),
        "partial": _Bomb(functools.partial, print),
    }
    for name, bomb in bombs.items():
        path = tmp_path / f"{name}.pkl"
        path.write_bytes(pickle.dumps({"v_template": bomb}))
        with pytest.raises(ClipError, match="refused, because that can run code"):
            read_flame(path)
    assert not mark.exists()


def _pickle_damage() -> dict[str, bytes]:
    good = pickle.dumps({"v_template": np.arange(9.0).reshape(3, 3)}, 2)
    return {
        "empty": b"",
        "text": b"hello",
        "short": good[:-20],
        "list": pickle.dumps([1, 2]),
        "wrong length": good.replace(b"K\x03K\x03", b"K\x03K\x7f"),
        "build on a class": b"cnumpy\nndarray\n}b.",
    }


@pytest.mark.parametrize("content", _pickle_damage().values(), ids=_pickle_damage().keys())
def test_damaged_pickles_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "flame.pkl").write_bytes(content)
    with pytest.raises(ClipError, match=r"flame\.pkl: ") as caught:
        read_flame(tmp_path / "flame.pkl")
    assert "\n" not in str(caught.value)


def small_flame() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    regressor = np.eye(5, 8)
    vertices = rng.normal(size=(8, 3)) * 0.05
    vertices[3], vertices[4] = (0.03, 0, 0), (-0.03, 0, 0)
    return {
        "v_template": vertices, "f": np.array([[5, 6, 7]]), "shapedirs": rng.normal(size=(8, 3, 302)),
        "posedirs": np.zeros((8, 3, 36)), "J_regressor": regressor, "weights": np.full((8, 5), 0.2),
    }  # fmt: skip


BAD_FLAMES: dict[str, tuple[dict[str, Any], str]] = {
    "no shapedirs": ({"shapedirs": None}, "'shapedirs' is missing; want a FLAME model"),
    "other count": ({"weights": np.zeros((7, 5))}, r"weights has shape \[7, 5\]; want \[8, 5\]"),
    "flat": ({"v_template": np.zeros(24)}, r"v_template has shape \[24\]; want \[N, 3\]"),
    "no expression": ({"shapedirs": np.zeros((8, 3, 300))}, "shapedirs has 300 directions"),
    "text": ({"f": np.array([["a", "b", "c"]])}, "f holds <U1 values"),
    "faces": ({"f": np.array([[0, 1, 8]])}, "f names vertices outside of the 8"),
    "nan": ({"posedirs": np.full((8, 3, 36), np.nan)}, "posedirs holds NaN"),
    "millimetres": ({"v_template": small_flame()["v_template"] * 1000}, "the eyes are 60 apart; want .* in metres"),
    "few joints": ({"J_regressor": np.eye(3, 8), "weights": np.ones((8, 3))}, "weights has 3 joints"),
}


@pytest.mark.parametrize(("change", "message"), BAD_FLAMES.values(), ids=BAD_FLAMES.keys())
def test_bad_flame_files_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    data = {key: value for key, value in {**small_flame(), **change}.items() if value is not None}
    np.savez(tmp_path / "flame.npz", **data)
    with pytest.raises(ClipError, match=message) as caught:
        read_flame(tmp_path / "flame.npz")
    assert "flame.npz: " in str(caught.value)


def test_the_three_kinds_of_file_hold_the_same(tmp_path: Path) -> None:
    arrays = small_flame()
    np.savez(tmp_path / "flame.npz", **arrays)
    save_file(arrays, tmp_path / "flame.safetensors")
    write_like_flame(tmp_path / "flame.pkl", arrays, 2)
    first, *others = (read_flame(tmp_path / f"flame.{kind}") for kind in ("npz", "safetensors", "pkl"))
    for other in others:
        for name, array in vars(first).items():
            np.testing.assert_array_equal(getattr(other, name), array)
    for name in ("gone.npz", "flame.txt"):
        (tmp_path / "flame.txt").write_text("")
        with pytest.raises(ClipError, match=r"gone\.npz: no such file|unknown kind of FLAME file"):
            read_flame(tmp_path / name)
