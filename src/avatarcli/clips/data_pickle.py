"""Reading arrays out of a pickle without running it.

FLAME is distributed as a pickle written by Python 2, with arrays inside chumpy objects. Loading it the usual way runs
whatever the file says, and needs chumpy, which does not install on any Python that this program supports; so the usual
recipe for converting it is neither safer nor easier than reading it here. A pickle can only call what `find_class` gives
it. Here that is classes of this module, which do nothing but keep what they are handed: not even numpy's own
constructors see the file's bytes before shape, type and length are checked.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avatarcli.errors import ClipError

MAX_BYTES = 1024 * 2**20  # FLAME's largest files have 100 MB
_NUMBERS = ("f4", "f8", "i4", "i8", "u4", "u8")
_LARGEST_MATRIX = 2**24  # cells of a sparse matrix made dense; FLAME's has 25,115
_DAMAGE = (
    pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError,
    MemoryError, RecursionError,
)  # fmt: skip


def read_data_pickle(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of a pickled dictionary, by key; sparse matrices made dense. Other values are left out.

    Raises:
        ClipError: not such a pickle, or one that asks for anything but arrays, sparse matrices and chumpy objects.
        OSError: the file cannot be opened.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ClipError(f"larger than {MAX_BYTES // 2**20} MiB")
    with path.open("rb") as stream:
        try:
            content = _Unpickler(stream, encoding="latin1").load()
        except ClipError:
            raise
        except _DAMAGE as error:
            raise ClipError(f"damaged pickle ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise ClipError("the pickle is not a dictionary of arrays")
    try:
        decoded = {str(key): _decode(value) for key, value in content.items() if isinstance(key, (str, bytes))}
    except _DAMAGE as error:
        raise ClipError(f"damaged array in the pickle ({type(error).__name__})") from None
    return {key: value for key, value in decoded.items() if value is not None}


class _Kept:
    """Stands for an object of a class that is not loaded: keeps what would have made it."""

    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Kept):
    """numpy.ndarray: state (version, shape, dtype, is Fortran's order, bytes)."""


class _Dtype(_Kept):
    """numpy.dtype: arguments (code, …), state (version, byte order, …)."""


class _Sparse(_Kept):
    """A column- or row-compressed matrix of scipy: its attributes as state."""


class _Rows(_Sparse):
    """Compressed rows; _Sparse itself compresses columns."""


class _Chumpy(_Kept):
    """chumpy.ch.Ch: an array under `x`. Other classes of chumpy are calculations, which are not carried out."""


def _bytes(text: Any, encoding: Any) -> bytes:
    """`_codecs.encode`, by which Python 2's protocol writes bytes for Python 3."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ClipError("the pickle holds bytes in an encoding that numpy does not use")
    return text.encode("latin1")


def _array(*arguments: Any) -> _Array:
    return _Array(*arguments)


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    """numpy's way of making arrays in protocol 5."""
    array = _Array()
    array.state = (1, shape, dtype, order == "F", bytes(content))
    return array


def _scalar(*arguments: Any) -> None:
    """A single number of numpy's: never an array of the model."""


def _rebuilt(kind: Any, *arguments: Any) -> Any:
    """`copy_reg._reconstructor` and `copyreg.__newobj__`: an empty object of a class."""
    if isinstance(kind, type) and issubclass(kind, _Kept):
        return kind()
    raise ClipError("the pickle holds objects that are not arrays: refused, because they can run code")


_NUMPY = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_ALLOWED: dict[str, Any] = {
    **{f"{module}._reconstruct": _array for module in _NUMPY},
    **{f"{module}._frombuffer": _from_buffer for module in _NUMPY},
    **{f"{module}.scalar": _scalar for module in _NUMPY},
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    "_codecs.encode": _bytes,
    "copy_reg._reconstructor": _rebuilt,
    "copyreg._reconstructor": _rebuilt,
    "__builtin__.object": object,
    "builtins.object": object,
    "chumpy.ch.Ch": _Chumpy,
    **{f"scipy.sparse.{module}.csc_matrix": _Sparse for module in ("csc", "_csc")},
    **{f"scipy.sparse.{module}.csr_matrix": _Rows for module in ("csr", "_csr")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed = _ALLOWED.get(f"{module}.{name}")
        if allowed is not None:
            return allowed
        if module.split(".")[0] == "chumpy":
            return _Kept
        raise ClipError(f"the pickle asks for {module}.{name}: refused, because that can run code")


def _decode(value: Any) -> NDArray[np.generic] | None:
    if isinstance(value, _Array):
        return _decode_array(value.state)
    if isinstance(value, _Chumpy):
        inner = value.state.get("x") if isinstance(value.state, dict) else None
        if inner is None and value.arguments:
            inner = value.arguments[0]
        return _decode(inner)
    if isinstance(value, _Sparse):
        return _decode_sparse(value)
    return None


def _decode_array(state: Any) -> NDArray[np.generic] | None:
    _, shape, dtype, fortran, raw = state
    if not isinstance(dtype, _Dtype) or dtype.arguments[0] not in _NUMBERS:
        return None
    order = dtype.state[1] if dtype.state else "="
    if order not in ("<", ">", "=", "|"):
        raise ValueError("no such byte order")
    kind = np.dtype(f"{order}{dtype.arguments[0]}")
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    sizes = tuple(int(size) for size in shape)
    if not isinstance(raw, bytes) or min(sizes, default=0) < 0 or len(raw) != math.prod(sizes) * kind.itemsize:
        raise ValueError("bytes do not fill the shape")
    return np.frombuffer(raw, kind).reshape(sizes, order="F" if fortran else "C").astype(kind.newbyteorder("="))


def _decode_sparse(value: _Sparse) -> NDArray[np.generic]:
    state = value.state
    rows, columns = (int(size) for size in state.get("_shape", state.get("shape")))
    data, indices, pointers = (_decode(state[key]) for key in ("data", "indices", "indptr"))
    if data is None or indices is None or pointers is None:
        raise ValueError("a part of the matrix is missing")
    index: NDArray[np.int64] = indices.astype(np.int64)
    starts: NDArray[np.int64] = pointers.astype(np.int64)
    if min(rows, columns) < 1 or rows * columns > _LARGEST_MATRIX:
        raise ValueError("no such size")
    lengths: NDArray[np.int64] = np.diff(starts)
    if starts[0] != 0 or (lengths < 0).any() or starts[-1] != len(index) or len(index) != len(data):
        raise ValueError("the matrix is not in order")
    if len(index) and index.min() < 0:
        raise ValueError("negative index")
    major = np.repeat(np.arange(len(lengths)), lengths)
    dense = np.zeros((rows, columns))
    # An index outside of the matrix raises IndexError.
    np.add.at(dense, (major, index) if isinstance(value, _Rows) else (index, major), data)
    return dense
