"""How wrong the tracker is: an error vector, its statistics as measured on studio pictures, and random errors like them.

The statistics are a Gaussian whose mean is linear in what a single photo cannot tell (distance, turn of the head) and whose
covariance is measured: the strongest directions together, the rest of each number by itself. So errors that go together in
the tracker go together here (a nose too long with a head bowed too far, a far camera with a broad face), which drawing each number
alone would lose, and which replaying a few hundred measured errors would give in a few hundred versions only. Fits are not
equally good, so the whole vector is scaled by a size drawn from the measured ones.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.errors import WeightsError
from avatarcli.head.expressions import EXPRESSION_NAMES
from avatarcli.tracking.fit import PORTRAIT_DISTANCE

FORMAT_VERSION = 1
STATISTICS_FILE = "tracker_error.json"
# Components of the shipped identity basis that errors of the shape are written in. Of the measured errors of the face they leave
# a tenth of the variance (`scripts/measure_tracker_error.py` prints it).
SHAPE_SIZE = 80
# What the errors' mean depends on: 1, log of the true distance over the believed one, yaw, pitch, squared yaw (radians).
COVARIATES = 5

_SIZES = {
    "rotation": 3,
    "offset": 2,
    "log_scale": 1,
    "log_distance": 1,
    "expression": 52,
    "gaze": 4,
    "shape": SHAPE_SIZE,
}
ERROR_SIZE = sum(_SIZES.values())
_LARGEST = 3.0  # standard deviations: what a measurement on a few hundred pictures can speak of
# Pull of the regressions, in pictures' worth of evidence: few pictures must not make wild slopes.
_RIDGE = 4.0
_SIZE_QUANTILES = 21


@dataclass(frozen=True)
class TrackerError:
    """Errors of one fit, or of a batch of them [...].

    rotation [..., 3]: axis-angle in the camera's axes, about the head's pivot; offset [..., 2]: metres at the pivot, right and
    down; log_scale, log_distance [...]: of pixels per metre at the pivot and of the camera's distance, so the focal length is wrong
    by their sum; expression [..., 52] and gaze [..., 2, 2] (radians) as HeadParameters; shape [..., SHAPE_SIZE]: of the head at
    rest, in the first components of the shipped identity basis, standard deviations.
    """

    rotation: Tensor
    offset: Tensor
    log_scale: Tensor
    log_distance: Tensor
    expression: Tensor
    gaze: Tensor
    shape: Tensor

    def vector(self) -> Tensor:
        """All numbers [..., ERROR_SIZE]."""
        parts = (self.rotation, self.offset, self.log_scale[..., None], self.log_distance[..., None])
        return torch.cat([*parts, self.expression, self.gaze.flatten(-2), self.shape], dim=-1)

    @classmethod
    def of(cls, vector: Tensor) -> TrackerError:
        """From all numbers [..., ERROR_SIZE]."""
        parts = dict(zip(_SIZES, vector.split(list(_SIZES.values()), dim=-1), strict=True))
        parts["gaze"] = parts["gaze"].unflatten(-1, (2, 2))
        for name in ("log_scale", "log_distance"):
            parts[name] = parts[name][..., 0]
        return cls(**parts)

    def scaled(self, share: float) -> TrackerError:
        return TrackerError.of(self.vector() * share)


def covariates(distance: Tensor, yaw: Tensor, pitch: Tensor) -> Tensor:
    """What errors depend on [..., COVARIATES]: the true distance (metres) of the camera and where it stands (radians)."""
    return torch.stack([torch.ones_like(yaw), (distance / PORTRAIT_DISTANCE).log(), yaw, pitch, yaw.square()], dim=-1)


@dataclass(frozen=True)
class ErrorStatistics:
    """What errors are like. D is ERROR_SIZE.

    mean [COVARIATES, D]; factors [r, D]: times standard normal numbers, what goes together; noise [D]: standard deviation of the
    rest; sizes [21]: quantiles of how large errors are, root mean square 1; expression_gain [52], shape_gain [SHAPE_SIZE]: how
    much of the true coefficients the fit finds: it believes in the average; source: on what this was measured.

    Errors drawn here leave the gains out: `found_expression` and `found_shape` put them in.
    """

    mean: Tensor
    factors: Tensor
    noise: Tensor
    sizes: Tensor
    expression_gain: Tensor
    shape_gain: Tensor
    source: str

    def draw(self, generator: torch.Generator, covariates: Tensor) -> TrackerError:
        """One random error of a fit under the given circumstances [COVARIATES]."""
        z = torch.randn(len(self.factors), generator=generator).clamp(-_LARGEST, _LARGEST)
        rest = torch.randn(ERROR_SIZE, generator=generator).clamp(-_LARGEST, _LARGEST)
        place = float(torch.rand((), generator=generator)) * (len(self.sizes) - 1)
        low = min(int(place), len(self.sizes) - 2)
        size = torch.lerp(self.sizes[low], self.sizes[low + 1], place - low)
        return TrackerError.of(covariates @ self.mean + size * (z @ self.factors + rest * self.noise))

    def draw_clip(self, generator: torch.Generator, frames: int, smoothness: float) -> TrackerError:
        """Errors [frames] about zero that change smoothly, with the measured spread at every single frame.

        smoothness: frames over which an error lasts (standard deviation of a Gaussian in time).
        """
        reach = math.ceil(3 * smoothness)
        width = len(self.factors) + ERROR_SIZE
        white = torch.randn(frames + 2 * reach, width, generator=generator)
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / max(smoothness, 1e-6)).square())
        kernel = kernel / kernel.norm()
        smooth = functional.conv1d(white.T[:, None], kernel[None, None])[:, 0].T.clamp(-_LARGEST, _LARGEST)
        z, rest = smooth.split([len(self.factors), ERROR_SIZE], dim=-1)
        return TrackerError.of(z @ self.factors + rest * self.noise)

    def found_expression(self, expression: Tensor, error: Tensor) -> Tensor:
        """What the fit says of expressions [..., 52] with the given errors."""
        return (expression * self.expression_gain + error).clamp(0, 1)

    def found_shape(self, shape: Tensor, error: Tensor) -> Tensor:
        """What the fit says of shape components [..., SHAPE_SIZE] with the given errors."""
        return shape * self.shape_gain + error

    def to_json(self) -> dict[str, Any]:
        """What `load_statistics` reads, as JSON values."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return {
            "format_version": FORMAT_VERSION,
            "source": self.source,
            "expression_gain": dict(zip(EXPRESSION_NAMES, _rounded(tensors.pop("expression_gain")), strict=True)),
            **{name: _rounded(value) for name, value in tensors.items()},
        }


def load_statistics(path: Path | None = None) -> ErrorStatistics:
    """The statistics that ship with the package, or another file of the same format.

    Raises:
        WeightsError: the file is missing, damaged or of another version.
    """
    return _shipped() if path is None else _read(path.read_text(encoding="utf-8"), str(path))


@lru_cache(maxsize=1)
def _shipped() -> ErrorStatistics:
    place = files("avatarcli.studio") / STATISTICS_FILE
    return _read(place.read_text(encoding="utf-8"), STATISTICS_FILE)


def _read(text: str, name: str) -> ErrorStatistics:
    try:
        data = json.loads(text)
        if data["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format {data['format_version']}, this program reads {FORMAT_VERSION}")
        gain = torch.tensor([float(data["expression_gain"][key]) for key in EXPRESSION_NAMES])
        tensors = {key: torch.tensor(data[key]) for key in ("mean", "factors", "noise", "sizes", "shape_gain")}
        wanted = {
            "mean": (COVARIATES, ERROR_SIZE),
            "factors": (len(tensors["factors"]), ERROR_SIZE),
            "noise": (ERROR_SIZE,),
            "shape_gain": (SHAPE_SIZE,),
        }
        for key, shape in wanted.items():
            if tuple(tensors[key].shape) != shape:
                raise ValueError(f"{key} has shape {list(tensors[key].shape)}, want {list(shape)}")
        return ErrorStatistics(**tensors, expression_gain=gain, source=str(data["source"]))
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{name}: not statistics of the tracker's errors ({error}); install avatarcli again"
        ) from error


def estimate(errors: Tensor, circumstances: Tensor, truths: Tensor, *, factors: int, source: str) -> ErrorStatistics:
    """Statistics of M measured fits.

    errors [M, ERROR_SIZE], of expression and shape the plain differences; circumstances [M, COVARIATES]; truths
    [M, 52 + SHAPE_SIZE]: the true expressions and shape components; factors: how many directions to keep together.
    """
    columns = _columns("expression") + _columns("shape")
    # Both sides without what the circumstances explain, or a mean would pass for a slope.
    explained = torch.cat([truths, errors[:, columns]], dim=1)
    left_truths, left_errors = (explained - circumstances @ _regression(circumstances, explained)).split(
        len(columns), 1
    )
    split = [_SIZES["expression"], _SIZES["shape"]]
    groups = zip(left_truths.split(split, 1), left_errors.split(split, 1), strict=True)
    slope = torch.cat([_slopes(truth, error) for truth, error in groups])
    errors = errors.clone()
    errors[:, columns] -= slope * truths
    mean = _regression(circumstances, errors)
    rest = errors - circumstances @ mean
    deviation = rest.square().mean(0).sqrt().clamp(min=1e-9)
    standard = rest / deviation
    sizes = standard.square().mean(1).sqrt()
    sizes = sizes / sizes.square().mean().sqrt()
    _, strength, directions = torch.linalg.svd(standard / math.sqrt(len(standard)), full_matrices=False)
    kept = strength[:factors, None] * directions[:factors]
    left = (1 - kept.square().sum(0)).clamp(min=0).sqrt()
    return ErrorStatistics(
        mean=mean,
        factors=kept * deviation,
        noise=left * deviation,
        sizes=torch.quantile(sizes, torch.linspace(0, 1, _SIZE_QUANTILES)),
        expression_gain=1 + slope[: _SIZES["expression"]],
        shape_gain=1 + slope[_SIZES["expression"] :],
        source=source,
    )


def _columns(name: str) -> list[int]:
    """Where a part of the error is in the vector."""
    names = list(_SIZES)
    start = sum(_SIZES[before] for before in names[: names.index(name)])
    return list(range(start, start + _SIZES[name]))


def _regression(circumstances: Tensor, values: Tensor) -> Tensor:
    """The coefficients [COVARIATES, D] of values [M, D] on circumstances [M, COVARIATES], the first of which is 1."""
    pull = torch.diag(_RIDGE * circumstances.var(0))
    return torch.linalg.solve(circumstances.T @ circumstances + pull, circumstances.T @ values)


def _slopes(truth: Tensor, difference: Tensor) -> Tensor:
    """How differences [M, D] grow with true coefficients, between losing them (-1) and finding them (0); where those hardly vary,
    as all of them together."""
    product, square = (truth * difference).sum(0), truth.square().sum(0)
    common = product.sum() / square.sum().clamp(min=1e-9)
    pull = _RIDGE * square.mean() / len(truth)
    return ((product + pull * common) / (square + pull)).clamp(-1, 0)


def _rounded(values: Tensor) -> Any:
    """Nested lists with four significant digits: more would be noise, and the file should stay small."""
    if values.ndim:
        return [_rounded(value) for value in values]
    return float(f"{float(values):.4g}")
