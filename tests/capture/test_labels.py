"""Labels of drawn people, whose parts are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avatarcli.capture.labels import hair_before_backdrop, has_bare_scalp, label_pixels, shaded_side
from avatarcli.capture.portrait import Label, Portrait

SIZE = 200
ROWS, COLUMNS = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")


def disc(x: float, y: float, radius: float) -> Tensor:
    return ((COLUMNS - x).square() + (ROWS - y).square()).sqrt() < radius


FACE = disc(100, 80, 35)
CROWN = disc(100, 70, 42) & (ROWS < 62)
BODY = (ROWS > 130) & ((COLUMNS - 100).abs() < 70)
NECK = (ROWS > 100) & (ROWS <= 130) & ((COLUMNS - 100).abs() < 18)


def labelled(hair: Tensor, cover: Tensor, person: Tensor, *, bare: bool = False) -> Tensor:
    landmarks = torch.full((478, 2), 100.0)
    landmarks[10], landmarks[152] = torch.tensor([100.0, 48.0]), torch.tensor([100.0, 115.0])
    landmarks[[66, 296]] = torch.tensor([[88.0, 66.0], [112.0, 66.0]])
    return label_pixels(person.float(), hair.float(), cover.float(), landmarks, bare=bare)


PERSON = FACE | CROWN | BODY | NECK


def test_every_part_gets_its_label() -> None:
    labels = labelled(CROWN, CROWN | BODY, PERSON)
    assert labels.dtype == torch.uint8
    assert (labels[CROWN] == Label.HAIR).all()
    assert (labels[BODY] == Label.CLOTHES).float().mean() > 0.99
    assert (labels[(FACE | NECK) & ~CROWN & ~BODY] == Label.SKIN).all()
    assert (labels[~PERSON] == Label.BACKGROUND).all()


def test_cover_of_the_crown_without_hair_is_a_hat() -> None:
    locks = disc(62, 90, 9) | disc(138, 90, 9)
    labels = labelled(locks, CROWN | BODY | locks, PERSON | locks)
    assert (labels[CROWN & ~locks] == Label.HAT).all()
    assert (labels[locks] == Label.HAIR).all()
    assert (labels[BODY] == Label.CLOTHES).float().mean() > 0.99


def test_hair_that_the_network_missed_in_places_is_no_hat() -> None:
    temples = CROWN & (ROWS > 45) & ((COLUMNS - 100).abs() > 25)
    labels = labelled(CROWN & ~temples, CROWN | BODY, PERSON)
    assert temples.sum() > 100
    assert (labels[temples] == Label.HAIR).all()


def test_a_thin_rim_along_the_face_is_skin_and_a_raised_collar_clothes() -> None:
    rim = disc(100, 80, 36) & ~FACE & (ROWS > 70) & (ROWS < 100) & (COLUMNS > 100)
    collar = (ROWS > 95) & (ROWS <= 130) & ((COLUMNS - 60).abs() < 10)
    labels = labelled(CROWN, CROWN | BODY | rim | collar, PERSON | rim | collar)
    assert (labels[rim] == Label.SKIN).all()
    assert (labels[collar & ~FACE] == Label.CLOTHES).float().mean() > 0.95


def test_below_the_ears_a_dark_edge_of_a_collar_is_no_hair_and_a_lock_is() -> None:
    edge = (ROWS > 104) & (ROWS <= 128) & ((COLUMNS - 119).abs() < 1)
    lock = (ROWS > 60) & (ROWS <= 128) & ((COLUMNS - 140).abs() < 8)
    person, hair = PERSON | edge, CROWN | edge
    assert (labelled(hair, CROWN | BODY, person)[edge] != Label.HAIR).all()
    labels = labelled(hair | lock, CROWN | BODY, person | lock)
    assert (labels[lock] == Label.HAIR).all()
    assert (labels[edge] == Label.HAIR).all()  # strands beside a lock are its own
    assert (labels[CROWN] == Label.HAIR).all()


def test_hair_outside_the_person_is_background() -> None:
    poster = disc(20, 30, 15)
    labels = labelled(CROWN | poster, CROWN | BODY, PERSON)
    assert (labels[poster & ~PERSON] == Label.BACKGROUND).all()
    nobody = labelled(CROWN, CROWN, torch.zeros_like(PERSON))
    assert (nobody == Label.BACKGROUND).all()


@pytest.mark.parametrize(("backdrop", "alike"), [(0.15, True), (0.8, False)])
def test_hair_is_compared_with_the_background_beside_it(backdrop: float, alike: bool) -> None:
    """Dark hair before a dark or a light wall; a dark corner far from the hair does not count."""
    noise = torch.rand(SIZE, SIZE, 3, generator=torch.Generator().manual_seed(0)) * 0.06
    picture = torch.full((SIZE, SIZE, 3), 0.6)
    picture[~PERSON] = backdrop
    picture[CROWN] = 0.15
    picture[180:, :25] = 0.15
    picture = (picture + noise).clamp(0, 1)
    labels = labelled(CROWN, CROWN | BODY, PERSON)
    portrait = Portrait(picture, picture, PERSON.float(), torch.ones(SIZE, SIZE), labels)
    overlap = hair_before_backdrop(portrait)
    assert (overlap > 0.9) if alike else (overlap < 0.05)


def test_without_labels_or_hair_nothing_looks_alike() -> None:
    picture, everywhere = torch.full((SIZE, SIZE, 3), 0.5), torch.ones(SIZE, SIZE)
    assert hair_before_backdrop(Portrait(picture, picture, PERSON.float(), everywhere)) == 0
    bald = labelled(torch.zeros_like(PERSON), BODY, PERSON)
    assert hair_before_backdrop(Portrait(picture, picture, PERSON.float(), everywhere, bald)) == 0


def portrait_of_scalp(scalp: Tensor, grain: float) -> Portrait:
    """A face under a scalp of one color [3] with so much more grain than the face."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(SIZE, SIZE, 1, generator=generator) * 0.01
    picture = torch.where(CROWN[..., None], scalp + grain * noise, torch.tensor([0.8, 0.62, 0.55]) + noise)
    return Portrait(picture, picture, PERSON.float(), torch.ones(SIZE, SIZE))


@pytest.mark.parametrize(
    ("scalp", "grain", "found", "bare"),
    [
        ((0.62, 0.47, 0.42), 0.8, 0.1, True),  # skin in the shade
        ((0.62, 0.47, 0.42), 4.0, 0.1, False),  # stubble
        ((0.62, 0.47, 0.42), 0.8, 0.9, False),  # the network knows better
        ((0.25, 0.35, 0.6), 0.8, 0.1, False),  # a blue cloth
        ((0.10, 0.08, 0.07), 0.2, 0.1, False),  # black hair, whose grain the camera lost
    ],
)
def test_a_smooth_scalp_of_the_skins_tint_is_bare(
    scalp: tuple[float, float, float], grain: float, found: float, bare: bool
) -> None:
    portrait = portrait_of_scalp(torch.tensor(scalp), grain)
    crown = CROWN.float()
    assert has_bare_scalp(portrait, crown * found, crown, crown, (FACE & ~CROWN).float()) is bare


def test_cover_of_a_bare_scalp_is_skin_but_a_hat_is_a_hat() -> None:
    sides = CROWN & ((COLUMNS - 100).abs() > 25)
    labels = labelled(torch.zeros_like(CROWN), sides | BODY, PERSON, bare=True)
    assert (labels[sides & (ROWS < 55)] == Label.SKIN).all()
    assert (labels != Label.HAIR).all()
    assert (labelled(torch.zeros_like(CROWN), CROWN | BODY, PERSON, bare=True)[CROWN] == Label.HAT).all()


SHADE = (FACE | NECK) & (COLUMNS > 108)
DARK_SKIN = (0.45, 0.34, 0.3)


@pytest.mark.parametrize(
    ("cheek", "grain", "neck", "face_is_skin", "neck_is_skin"),
    [
        (DARK_SKIN, 1.0, DARK_SKIN, True, True),
        (DARK_SKIN, 1.0, (0.15, 0.1, 0.08), True, False),  # long hair behind a dark cheek
        (DARK_SKIN, 4.0, DARK_SKIN, False, False),  # strands
        ((0.12, 0.09, 0.08), 0.5, (0.12, 0.09, 0.08), False, False),  # black hair
        ((0.3, 0.4, 0.6), 1.0, (0.3, 0.4, 0.6), False, False),  # of another tint
    ],
)
def test_a_dark_side_as_smooth_as_the_lit_one_and_of_its_tint_is_skin(
    cheek: tuple[float, float, float],
    grain: float,
    neck: tuple[float, float, float],
    face_is_skin: bool,
    neck_is_skin: bool,
) -> None:
    noise = torch.randn(SIZE, SIZE, 1, generator=torch.Generator().manual_seed(5)) * 0.01
    skin = torch.tensor([0.8, 0.62, 0.55])
    dark = torch.where(FACE[..., None], torch.tensor(cheek), torch.tensor(neck))
    # Noise of a photo is a share of its light.
    picture = torch.where(SHADE[..., None], dark * (1 + grain * noise), skin * (1 + noise))
    portrait = Portrait(picture, picture, PERSON.float(), torch.ones(SIZE, SIZE))
    landmarks = torch.full((478, 2), 100.0)
    landmarks[152], landmarks[[66, 296]] = torch.tensor([100.0, 115.0]), torch.tensor([[88.0, 66.0], [112.0, 66.0]])
    found = shaded_side(portrait, 0.8 * SHADE, landmarks, FACE.float())
    low = ROWS > 66 + 0.25 * (115 - 66)
    assert torch.equal(found & FACE, (SHADE & FACE & low) if face_is_skin else torch.zeros_like(found))
    assert torch.equal(found & NECK & ~FACE, (SHADE & NECK & ~FACE) if neck_is_skin else torch.zeros_like(found))
    assert not (found & ~SHADE).any()


def test_hair_that_hardly_reaches_a_cheek_is_hair() -> None:
    picture = torch.full((SIZE, SIZE, 3), 0.6)
    portrait = Portrait(picture, picture, PERSON.float(), torch.ones(SIZE, SIZE))
    landmarks = torch.full((478, 2), 100.0)
    landmarks[152], landmarks[[66, 296]] = torch.tensor([100.0, 115.0]), torch.tensor([[88.0, 66.0], [112.0, 66.0]])
    few = disc(125, 85, 3)
    assert not shaded_side(portrait, few.float(), landmarks, FACE.float()).any()
