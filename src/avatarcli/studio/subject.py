"""A subject is a number: everything about one person, drawn from a seed."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.features import Features, draw_features
from avatarcli.studio.glasses import GlassesLook, draw_glasses
from avatarcli.studio.hair import (
    HELD_OUT_BEARDS,
    HELD_OUT_FAMILIES,
    BeardStyle,
    HairColor,
    HairStyle,
    beard_weights,
    draw_beard_style,
    draw_color,
    draw_style,
    family_weights,
)
from avatarcli.studio.hats import HatLook, draw_hat
from avatarcli.studio.skin import SkinLook, color_of, draw_skin
from avatarcli.studio.wear import ClothesLook, draw_clothes, draw_suit

Split = Literal["train", "held_out"]
SPLITS: tuple[Split, ...] = ("train", "held_out")

# Of the sampled people, so many (the last ones) are never trained on.
_HELD_OUT_PEOPLE = 0.05
# A new person is a mixture of two sampled ones who are alike, and a little of nobody: standard deviations.
_NOBODY = 0.3
_YOUNGEST, _OLDEST = 18.0, 82.0
_BEARD_SHARE, _HAT_SHARE = 0.35, 0.08
# Each choice has a stream of random numbers of its own, so that one can change without all others changing with it.
_STREAMS = ("person", "skin", "features", "hair", "beard", "clothes", "glasses", "hat", "suit")
# So many men and women come in a suit. Nobody of "held_out" does: those are the people of a benchmark, who stay as they are.
_SUITED: dict[Split, dict[bool, float]] = {"train": {False: 0.45, True: 0.22}, "held_out": {False: 0.0, True: 0.0}}


@dataclass(frozen=True)
class Traits:
    """Who somebody is.

    female: share; african, asian, caucasian: shares of descent; darkness in [0, 1]: of the skin; identity: the
    coefficients of the pack's head.
    """

    years: float
    female: float
    african: float
    asian: float
    caucasian: float
    darkness: float
    identity: tuple[float, ...]

    @property
    def is_female(self) -> bool:
        return self.female > 0.5


@dataclass(frozen=True)
class StudioSubject:
    """Everything about one person, in plain values."""

    seed: int
    split: Split
    person: Traits
    skin: SkinLook
    features: Features
    hair: HairStyle
    hair_color: HairColor
    beard: BeardStyle | None
    clothes: ClothesLook
    glasses: GlassesLook | None
    hat: HatLook | None

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    def neutral(self, assets: StudioAssets) -> Tensor:
        """All rows [N, 3] of this person's head at rest, metres, on the assets' device."""
        identity = torch.tensor(self.person.identity, device=assets.teeth.device)
        return assets.head.neutral(identity, self.features.dentition)


def draw_subject(assets: StudioAssets, seed: int, *, split: Split = "train") -> StudioSubject:
    """The person with that number. Those of "held_out" have other heads, skins and styles of hair than any of "train"."""
    streams = {name: np.random.default_rng([seed, SPLITS.index(split), index]) for index, name in enumerate(_STREAMS)}
    person = _draw_person(assets, streams["person"], split)
    descent = {"african": person.african, "asian": person.asian, "caucasian": person.caucasian}
    suit = None
    if streams["suit"].random() < _SUITED[split][person.is_female]:
        suit = draw_suit(tuple(assets.wearables["clothes"]), streams["suit"], female=person.is_female)
    formal = suit is not None
    color = draw_color(streams["hair"], years=person.years, natural=formal, **descent)
    weights = family_weights(female=person.is_female, years=person.years, african=person.african, formal=formal)
    family = _draw_family(streams["hair"], weights, HELD_OUT_FAMILIES, split)
    beard, stubble = _draw_beard(streams["beard"], person, split)
    brown = float(np.clip(person.african + person.asian + 0.5 * (person.darkness - 0.3), 0, 0.97))
    worn = streams["clothes"]
    clothes = draw_clothes(tuple(assets.wearables["clothes"]), worn, female=person.is_female)
    return StudioSubject(
        seed=seed,
        split=split,
        person=person,
        skin=draw_skin(
            tuple(assets.skins),
            streams["skin"],
            split=split,
            years=person.years,
            female=person.is_female,
            darkness=person.darkness,
            hair=color.mean,
            stubble=stubble,
        ),
        features=draw_features(
            assets,
            streams["features"],
            years=person.years,
            female=person.is_female,
            brown=brown,
            hair=color_of(0.5 * (np.array(color.root) + np.array(color.mean))),
        ),
        hair=draw_style(streams["hair"], family=family),
        hair_color=color,
        beard=beard,
        clothes=clothes if suit is None else suit,
        glasses=draw_glasses(streams["glasses"]) if worn.random() < _glasses_share(person.years) else None,
        hat=draw_hat(streams["hat"]) if worn.random() < _HAT_SHARE and not formal else None,
    )


def _draw_family(rng: np.random.Generator, weights: dict[str, float], held_out: tuple[str, ...], split: Split) -> str:
    """A family of hair or beards of the split, by plausibility."""
    names = [name for name in weights if (name in held_out) == (split == "held_out")]
    shares = np.array([weights[name] for name in names])
    return names[rng.choice(len(names), p=shares / shares.sum())]


def _draw_beard(rng: np.random.Generator, person: Traits, split: Split) -> tuple[BeardStyle | None, float]:
    """A beard or none, and stubble in [0, 1]."""
    if person.is_female:
        return None, 0.0
    if rng.random() < _BEARD_SHARE:
        family = _draw_family(rng, beard_weights(years=person.years), HELD_OUT_BEARDS, split)
        return draw_beard_style(rng, family=family), float(rng.uniform(0, 0.3))
    return None, float(rng.beta(1.2, 2.5)) if rng.random() < 0.7 else 0.0


def _glasses_share(years: float) -> float:
    """More of the old wear glasses."""
    return float(np.interp(years, (20, 50, 75), (0.15, 0.2, 0.35)))


def _draw_person(assets: StudioAssets, rng: np.random.Generator, split: Split) -> Traits:
    """Ages, sexes and tones are drawn evenly; then comes whoever of the sampled people fits best."""
    head = assets.head
    names = head.attribute_names
    known = head.attributes.cpu().numpy()
    border = round(len(known) * (1 - _HELD_OUT_PEOPLE))
    rows = np.arange(border) if split == "train" else np.arange(border, len(known))
    years = float(rng.uniform(_YOUNGEST, _OLDEST))
    female = float(rng.integers(2))
    darkness = float(rng.uniform())
    descent = _descent(rng, darkness)
    wanted = {"years": years, "gender_female": female, **descent}
    # How far people may differ in each attribute to count as equally good.
    scale = {"years": 7.0, "gender_female": 0.12, "african": 0.2, "asian": 0.2, "caucasian": 0.2}
    away = sum(((known[rows, names.index(key)] - value) / scale[key]) ** 2 for key, value in wanted.items())
    near = rows[np.argsort(away)[: min(12, len(rows))]]
    first, second = near[rng.integers(len(near), size=2)]
    share = float(rng.uniform(0, 0.5))
    people = head.people.cpu().numpy()
    identity = (1 - share) * people[first] + share * people[second] + rng.normal(0, _NOBODY, people.shape[1])
    mixed = (1 - share) * known[first] + share * known[second]

    def value(name: str) -> float:
        return float(mixed[names.index(name)])

    return Traits(
        years=float(np.clip(value("years"), 17, 85)),
        female=value("gender_female"),
        african=value("african"),
        asian=value("asian"),
        caucasian=value("caucasian"),
        darkness=darkness,
        identity=tuple(float(v) for v in identity),
    )


def _descent(rng: np.random.Generator, darkness: float) -> dict[str, float]:
    """Shares of descent that a tone is common with.

    Dark skin with any features exists, pale skin with African ones hardly.
    """
    african = float(np.clip((darkness - 0.45) * 2.2, 0.02, 0.85))
    asian = 0.38 * (1 - african)
    shares = np.array([african, asian, 1 - african - asian])
    main = np.eye(3)[rng.choice(3, p=shares)]
    mixed = 0.75 * main + 0.25 * rng.dirichlet(np.maximum(shares, 0.05)) if rng.random() < 0.6 else main
    return {"african": float(mixed[0]), "asian": float(mixed[1]), "caucasian": float(mixed[2])}
