"""From FLAME's expression to ARKit's 52, by a map that a user makes once from their own FLAME file.

Our head is fitted to FLAME's mean face, and points on both surfaces are matched. Then a FLAME frame moves the matched
points by B x, with x its expression coefficients and the entries of (jaw rotation − identity), which is linear without
approximation; ARKit coefficients c move them by A c. A frame's coefficients are those in [0, 1] that come nearest:

    minimise |A c − B x|² + ridge · c²,  0 ≤ c ≤ 1

The bounds make it more than a matrix: both halves of a coefficient, smile and frown, find their own ARKit names. Only AᵀA
and AᵀB are needed for it and only they are kept: FLAME's faces cannot be rebuilt from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_data_path

from avatarcli.arrays import Float64
from avatarcli.clips.arrays import numbers, read_arrays, write_arrays
from avatarcli.errors import ClipError
from avatarcli.head.expressions import EXPRESSION_INDEX, EXPRESSION_NAMES

if TYPE_CHECKING:
    from avatarcli.clips.flame_file import FlameModel
    from avatarcli.head.model import HeadModel


JAW_FEATURES = 9
# Not found by looking at the surface: FLAME has no tongue, and where the eyes look is known from their own rotation.
_NOT_FITTED = tuple(
    index for name, index in EXPRESSION_INDEX.items() if name.startswith("eyeLook") or name == "tongueOut"
)
_FITTED = tuple(index for index in range(len(EXPRESSION_NAMES)) if index not in _NOT_FITTED)
# What a coefficient costs, so that actions are not used to explain what the two models simply do differently: a share of
# the action's own squared motion, and for the smallest actions at least this many millimetres of every point.
_RIDGE = 0.01
_LEAST = 0.1
_TOLERANCE = 1e-5  # largest change of any coefficient in the last round of the solver
_ROUNDS = 1000


@dataclass(frozen=True)
class FlameMap:
    """gram [52, 52]: AᵀA and the ridge; response [52, E + 9]: AᵀB. E expression coefficients, then the jaw's entries.

    axes [3, 3]: turns FLAME's directions into ours. error: millimetres between the matched surfaces, RMS. explained: share
    of the motion of random FLAME expressions that ARKit's can show.
    """

    gram: Float64
    response: Float64
    axes: Float64
    error: float
    explained: float

    @property
    def expressions(self) -> int:
        """How many expression coefficients the FLAME model has."""
        return self.response.shape[1] - JAW_FEATURES

    def coefficients(self, expression: Float64, jaw: Float64, looks: Float64) -> Float64:
        """ARKit coefficients [T, 52] of expression [T, ≤ E] and jaw rotation matrices [T, 3, 3].

        looks [T, 52]: coefficients that are known; only the eyeLook* columns are read. They stay as they are, and what
        they do to the lids is taken into account.
        """
        if expression.shape[1] > self.expressions:
            raise ClipError(
                f"expr has {expression.shape[1]} coefficients, the map's FLAME has {self.expressions}: make the map of"
                " the FLAME file that the sequence was made with"
            )
        features = np.zeros((len(expression), self.expressions + JAW_FEATURES))
        features[:, : expression.shape[1]] = expression
        features[:, self.expressions :] = (jaw - np.eye(3)).reshape(-1, JAW_FEATURES)
        known = np.zeros_like(looks)
        known[:, _NOT_FITTED] = looks[:, _NOT_FITTED]
        return nearest_in_bounds(self.gram, features @ self.response.T, known)

    def save(self, path: Path) -> None:
        """Raises ClipError when it cannot be written."""
        arrays: dict[str, NDArray[np.generic]] = {
            "flame_map_gram": self.gram.astype(np.float32),
            "flame_map_response": self.response.astype(np.float32),
            "axes": self.axes.astype(np.float32),
            "quality": np.array([self.error, self.explained], np.float32),
        }
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path) -> FlameMap:
        """Raises ClipError, which names the file and the key."""
        size = len(EXPRESSION_NAMES)
        wanted: dict[str, tuple[int | None, ...]] = {
            "flame_map_gram": (size, size), "flame_map_response": (size, None), "axes": (3, 3), "quality": (2,),
        }  # fmt: skip
        try:
            if not path.exists():
                raise ClipError("no such file")
            data = read_arrays(path, wanted)
            for key, shape in wanted.items():
                if key not in data:
                    raise ClipError(f"key {key!r} is missing; make the map with `avatar clip flame-map`")
                found = data[key].shape
                if len(found) != len(shape) or found[0] != shape[0] or found[-1] != (shape[-1] or found[-1]):
                    raise ClipError(f"{key} has shape {list(found)}; want {list(shape)}")
            decoded = {key: numbers(key, array).astype(np.float64) for key, array in data.items()}
            if not all(np.isfinite(array).all() for array in decoded.values()):
                raise ClipError("holds NaN or infinity")
            if (
                decoded["flame_map_response"].shape[1] <= JAW_FEATURES
                or decoded["flame_map_gram"].diagonal().min() <= 0
            ):
                raise ClipError("not a valid map; make it with `avatar clip flame-map`")
        except ClipError as error:
            raise ClipError(f"{path}: {error}") from None
        except OSError as error:
            raise ClipError(f"{path}: cannot be read ({error.strerror or error})") from None
        return cls(
            decoded["flame_map_gram"], decoded["flame_map_response"], decoded["axes"], *decoded["quality"].tolist()
        )


def default_map() -> Path:
    """Where `avatar clip flame-map` puts the map, and where every command finds it."""
    return user_data_path("avatarcli") / "flame-map.npz"


def make_map(flame: FlameModel, model: HeadModel) -> FlameMap:
    """The map of a FLAME model. Raises ClipError when the two heads do not come to lie on each other."""
    from avatarcli.clips.flame_align import match_surfaces
    from avatarcli.head.shutting import shut_at_one

    match = match_surfaces(flame, model)
    action = shut_at_one(model, model.mean).double().numpy()[:, match.rows] * 1000  # [52, P, 3] millimetres
    a = action.reshape(len(action), -1)
    # What FLAME does at the matched points, in our frame.
    moved = np.concatenate([flame.expression, flame.jaw])
    at_points = (moved[:, match.corners] * match.weights[..., None]).sum(axis=2)  # [E + 9, P, 3]
    b = (1000 * match.scale * at_points @ match.rotation.T).reshape(len(moved), -1)
    gram = a @ a.T
    gram[np.diag_indices_from(gram)] += np.maximum(_RIDGE * gram.diagonal(), _LEAST**2 * len(match.rows))
    response = a @ b.T
    made = FlameMap(gram, response, match.rotation, match.error * 1000, 0.0)
    return FlameMap(gram, response, match.rotation, made.error, _explained(made, a, b))


def _explained(made: FlameMap, a: Float64, b: Float64) -> float:
    """Share of the squared motion of FLAME expressions, each coefficient drawn from a unit normal, that ARKit's show."""
    expression = np.random.default_rng(0).normal(size=(200, made.expressions))
    rest = np.broadcast_to(np.eye(3), (200, 3, 3))
    found = made.coefficients(expression, rest, np.zeros((200, len(a))))
    wanted = expression @ b[: made.expressions]
    return 1 - float(((found @ a - wanted) ** 2).sum() / (wanted**2).sum())


def nearest_in_bounds(gram: Float64, pull: Float64, known: Float64) -> Float64:
    """The c [T, 52] in [0, 1] that minimise cᵀ gram c − 2 cᵀ pull for every row of pull [T, 52].

    Columns that are not fitted keep the values of known [T, 52]. Coordinate descent: each step is the exact minimum over one
    coefficient, so the sum falls until it is the only minimum that a positive definite gram has.
    """
    solution = known.copy()
    gradient = solution @ gram - pull
    for _ in range(_ROUNDS):
        largest = 0.0
        for column in _FITTED:
            old = solution[:, column]
            new = np.clip(old - gradient[:, column] / gram[column, column], 0, 1)
            step = new - old
            if step.any():
                largest = max(largest, float(np.abs(step).max()))
                solution[:, column] = new
                gradient += step[:, None] * gram[column]
        if largest < _TOLERANCE:
            break
    return solution
