"""The photo's tones in a picture that is known: a face with hair, of which the photo sees one side."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from avatarcli.diffusion.tones import SKIN_REGIONS, Ground, Tones, tone_error, with_detail, with_tones_of
from avatarcli.geometry.cameras import orbit_cameras
from avatarcli.reproject.skin_texture import PhotoView

SIZE = 128
SKIN, HAIR = torch.tensor([0.80, 0.60, 0.50]), torch.tensor([0.25, 0.17, 0.10])
TONES = Tones(SKIN, bald=False)
NO_SCALP = torch.zeros(SIZE, SIZE)
Y, X = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")


def person() -> Tensor:
    """A premultiplied RGBA picture [H, W, 4] of an oval: skin in uneven light, and hair above it."""
    radius = (((X - 64) / 44).square() + ((Y - 64) / 56).square()).sqrt()
    alpha = ((1 - radius) * 25 + 0.5).clamp(0, 1)[..., None]
    light = (1 + 0.15 * ((X - 64) / 44) - 0.1 * ((Y - 64) / 56))[..., None]
    color = torch.where((Y > 45)[..., None], SKIN * light, HAIR * light)
    return torch.cat([color * alpha, alpha], dim=-1)


def skin_mask() -> Tensor:
    return ((Y > 45) & (person()[..., 3] > 0.5)).float()


def hint_of(picture: Tensor) -> Tensor:
    """What a photo of the picture's own colors says where it sees it: up to column 70, all but the soft edge."""
    seen = ((X < 70) & (picture[..., 3] > 0.99)).float()[..., None]
    return torch.cat([picture[..., :3] * seen, seen, 0.9 * seen], dim=-1)


def tinted(picture: Tensor, tint: Tensor) -> Tensor:
    return torch.cat([(picture[..., :3] * tint).minimum(picture[..., 3:]), picture[..., 3:]], dim=-1)


def ground(skin: Tensor = NO_SCALP, scalp: Tensor = NO_SCALP) -> Ground:
    """A view of somebody whose clothes and hanging hair are not known."""
    nothing = torch.zeros(SIZE, SIZE)
    return Ground(skin, nothing, scalp, torch.zeros(SIZE, SIZE, 4), nothing, nothing, nothing, nothing)


def is_picture(picture: Tensor, before: Tensor) -> None:
    """Alpha is what it was, and no color exceeds it."""
    assert torch.equal(picture[..., 3], before[..., 3])
    assert picture.min() >= 0
    assert (picture[..., :3] <= picture[..., 3:] + 1e-6).all()


def error(picture: Tensor, truth: Tensor, where: Tensor) -> float:
    """Mean difference of colors where a mask [H, W] holds and the person is opaque."""
    return float((picture - truth)[where & (truth[..., 3] > 0.99)][:, :3].abs().mean())


@pytest.mark.parametrize("tint", [(1.15, 0.95, 0.80), (0.85, 0.85, 0.85), (0.9, 1.1, 1.2), (1.12, 1.12, 1.12)])
def test_a_tinted_picture_gets_the_photos_tones(tint: tuple[float, float, float]) -> None:
    truth = person()
    hint, wrong = hint_of(truth), tinted(truth, torch.tensor(tint))
    right = TONES.matched(wrong, hint, ground(skin_mask()))
    is_picture(right, wrong)
    assert tone_error(truth, hint) == 0
    assert tone_error(wrong, hint) > 0.05
    assert tone_error(right, hint) < 0.05 * tone_error(wrong, hint)
    for part in (Y > 50, Y < 40):  # skin and hair
        seen, near, far = part & (X < 66), part & (X > 70) & (X < 80), part & (X > 92)
        assert error(right, truth, seen) < 0.05 * error(wrong, truth, seen)
        # Beyond what the photo sees the correction goes on, and fades.
        assert error(right, truth, near) < 0.15 * error(wrong, truth, near)
        assert error(right, truth, far) < 0.9 * error(wrong, truth, far)


def test_a_right_picture_is_left_alone() -> None:
    truth = person()
    same = TONES.matched(truth, hint_of(truth), ground(skin_mask()))
    is_picture(same, truth)
    assert (same - truth).abs().max() < 0.01
    assert (same - truth).abs().mean() < 1e-4


def test_unseen_skin_gets_the_tint_of_the_persons_skin_and_nothing_else_does() -> None:
    """From behind and aside the photo sees nothing: a greenish neck is known by where the head model has skin."""
    truth, nothing = person(), torch.zeros(SIZE, SIZE, 5)
    wrong = tinted(truth, torch.tensor([0.94, 1.03, 0.98]))
    lower = skin_mask() * (Y > 80)
    right = TONES.matched(wrong, nothing, ground(lower))
    is_picture(right, wrong)

    def tint_error(picture: Tensor, where: Tensor) -> float:
        colors = [image[where & (truth[..., 3] > 0.99)][:, :3] for image in (picture, truth)]
        mine, true = (color / color.sum(-1, keepdim=True) for color in colors)
        return float((mine - true).abs().mean())

    assert tint_error(right, Y > 86) < 0.4 * tint_error(wrong, Y > 86)
    for elsewhere in (Y < 40, (Y > 46) & (Y < 74)):  # hair, and what the model does not call skin
        assert error(right, wrong, elsewhere) < 1e-4
    # It changes the tint, not the light, and takes no other color for skin.
    neck = (Y > 86) & (truth[..., 3] > 0.99)
    assert (right - wrong)[neck][:, :3].mean(-1).abs().max() < 0.02
    blue = tinted(truth, torch.tensor([0.3, 0.6, 1.0]))
    assert (TONES.matched(blue, nothing, ground(skin_mask())) - blue).abs().max() < 0.02


def test_where_picture_and_photo_show_different_things_neither_changes_the_other() -> None:
    """Dark glasses that the photo's skin does not have."""
    truth = person()
    glasses = ((X - 52).abs() < 10) & ((Y - 60).abs() < 5)
    wrong = tinted(truth, torch.tensor([0.85, 0.85, 0.85]))
    wrong = torch.cat([torch.where(glasses[..., None], 0.05, wrong[..., :3]), wrong[..., 3:]], dim=-1)
    right = TONES.matched(wrong, hint_of(truth), ground(skin_mask()))
    assert right[glasses][:, :3].max() < 0.08
    around = ((X - 52).abs() > 12) & (X < 66) & (Y > 50)
    assert error(right, truth, around) < 0.05 * error(wrong, truth, around)


def test_a_change_has_its_limits() -> None:
    truth = person()
    pale = tinted(truth, torch.tensor([0.55, 0.55, 0.55]))
    right = TONES.matched(pale, hint_of(truth), ground(skin_mask()))
    middle = (X > 40) & (X < 60) & (Y > 50) & (Y < 80)
    gain = right[middle][:, :3] / pale[middle][:, :3]
    assert gain.min() > 1.3
    assert gain.max() < 1.6  # half as much again, of colors that are a little raised


def test_dark_hair_behind_becomes_as_light_as_the_photos_and_dark_clothes_do_not() -> None:
    """From behind the photo sees nothing; a jacket as dark as the hair fills the lower third."""
    truth, nothing = person(), torch.zeros(SIZE, SIZE, 5)
    dark = HAIR * 0.4
    behind = torch.cat([torch.where((Y < 80)[..., None], dark, 0.9 * dark) * truth[..., 3:], truth[..., 3:]], dim=-1)
    scalp = ((Y < 70) & (truth[..., 3] > 0.99)).float()
    tones = Tones(SKIN, bald=False, hair=HAIR)
    right = tones.matched(behind, nothing, ground(scalp=scalp))
    is_picture(right, behind)
    middle = (Y > 20) & (Y < 60) & ((X - 64).abs() < 25)
    wrong, left = ((picture[middle][:, :3] - HAIR).abs().mean() for picture in (behind, right))
    assert left < 0.5 * wrong
    assert (right[middle][:, :3] <= HAIR).all()  # a little darker still, as real hair is behind
    assert error(right, behind, Y > 100) < 0.01
    # What the photo sees is its own; who shows no hair gets none.
    assert error(tones.matched(behind, hint_of(behind), ground(scalp=scalp)), behind, X < 60) < 0.01
    assert torch.equal(TONES.matched(behind, nothing, ground(scalp=scalp)), TONES.matched(behind, nothing, ground()))


def test_unseen_clothes_take_the_color_of_the_photos() -> None:
    """A jacket that is orange in the photo and nearly black behind; with a pattern, which stays."""
    truth, nothing = person(), torch.zeros(SIZE, SIZE, 5)
    orange = torch.tensor([0.75, 0.35, 0.15])
    black = with_stripes(torch.cat([torch.full((SIZE, SIZE, 3), 0.15) * truth[..., 3:], truth[..., 3:]], dim=-1))
    dressed = (Y > 80).float()
    cloth = torch.cat([orange.expand(SIZE, SIZE, 3), torch.ones(SIZE, SIZE, 1)], dim=-1)
    right = TONES.matched(black, nothing, replace(ground(), cloth=cloth, dressed=dressed))
    is_picture(right, black)
    jacket = (Y > 88) & (truth[..., 3] > 0.99)
    before, after = (picture[jacket][:, :3].mean(0) - orange for picture in (black, right))
    assert after.abs().mean() < 0.5 * before.abs().mean()
    # The outline changes as what lies inside it: no halo.
    edge = (Y > 88) & (truth[..., 3] > 0.3) & (truth[..., 3] < 0.9)
    rim = (right[edge][:, :3] / right[edge][:, 3:]).mean(0)
    assert (rim - right[jacket][:, :3].mean(0)).abs().max() < 0.2
    assert 0.02 < right[jacket][:, 0].std() < 0.2
    assert error(right, black, Y < 70) < 0.01
    # What the photo sees is its own, and where it tells of no clothes nothing changes.
    unknown = replace(ground(), cloth=0 * cloth, dressed=dressed)
    assert error(TONES.matched(black, nothing, unknown), black, Y > 0) < 0.01


@pytest.mark.parametrize(("shade", "made_light"), [(0.3, True), (0.03, False)])
def test_dark_clothes_become_as_light_as_the_photos_and_black_ones_are_others(shade: float, made_light: bool) -> None:
    truth, nothing, orange = person(), torch.zeros(SIZE, SIZE, 5), torch.tensor([0.9, 0.45, 0.3])
    behind = torch.cat([(shade * orange).expand(SIZE, SIZE, 3) * truth[..., 3:], truth[..., 3:]], dim=-1)
    cloth = torch.cat([orange, torch.ones(1)]).expand(SIZE, SIZE, 4)
    worn = replace(ground(), cloth=cloth, dressed=torch.ones(SIZE, SIZE))
    after = Tones(SKIN, bald=False, hair=HAIR).matched(behind, nothing, worn)
    is_picture(after, behind)
    inside = truth[..., 3] > 0.99
    wanted = 0.85 * orange if made_light else shade * orange
    assert (after[inside][:, :3] - wanted).abs().mean() < 0.05


def test_hair_that_hangs_over_clothes_does_not_take_their_color() -> None:
    truth, nothing, red = person(), torch.zeros(SIZE, SIZE, 5), torch.tensor([0.8, 0.05, 0.1])
    # Strands lighter than what covers the head, between shoulders in red.
    strands = HAIR * torch.where(Y < 50, 1.0, 1.7 + 0.3 * torch.sin(X))[..., None]
    worn = ((X - SIZE / 2).abs() > 20) & (Y > 70)
    behind = torch.cat([torch.where(worn[..., None], red, strands) * truth[..., 3:], truth[..., 3:]], dim=-1)
    cloth = torch.cat([red, torch.ones(1)]).expand(SIZE, SIZE, 4)
    scalp = ((Y < 50) & (truth[..., 3] > 0.5)).float()
    below = replace(ground(scalp=scalp), cloth=cloth, dressed=(Y > 70).float())
    tones, lock = Tones(SKIN, bald=False, hair=HAIR), ~worn & (Y > 75)
    hanging = tones.matched(behind, nothing, replace(below, hanging=torch.ones(SIZE, SIZE)))
    assert error(hanging, behind, lock) < 0.03
    # Of somebody whose hair the photo shows to be short it is no hair.
    assert error(tones.matched(behind, nothing, below), behind, lock) > 0.1
    # Nor is a jacket as dark as imagined hair just below it, which takes the tone of the photo's hair.
    dark = torch.cat([0.4 * HAIR * truth[..., 3:], truth[..., 3:]], dim=-1)
    cloth = torch.cat([0.4 * HAIR, torch.ones(1)]).expand(SIZE, SIZE, 4)
    near = replace(ground(scalp=scalp), cloth=cloth, dressed=(Y > 52).float())
    toned = tones.matched(dark, nothing, near)
    assert error(toned, dark, (Y > 20) & (Y < 45)) > 0.03
    assert error(toned, dark, (Y > 58) & (Y < 75)) < 0.01


def test_skin_mixed_into_unseen_clothes_goes_and_other_colors_stay() -> None:
    truth, nothing = person(), torch.zeros(SIZE, SIZE, 5)
    navy, white = torch.tensor([0.10, 0.12, 0.25]), torch.tensor([0.85, 0.85, 0.88])
    alpha = truth[..., 3:]
    share = 0.6 * ((X / 5).sin() > 0.5)[..., None]
    blotched = torch.cat([torch.lerp(navy.expand(SIZE, SIZE, 3), SKIN, share) * alpha, alpha], dim=-1)
    collar = (Y > 92) & (Y < 98)
    blotched[..., :3] = torch.where(collar[..., None], white * alpha, blotched[..., :3])
    cloth = torch.cat([navy.expand(SIZE, SIZE, 3), torch.ones(SIZE, SIZE, 1)], dim=-1)
    dressed = replace(ground(), cloth=cloth, dressed=(Y > 80).float())
    right = TONES.matched(blotched, nothing, dressed)
    is_picture(right, blotched)
    jacket = (Y > 102) & (alpha[..., 0] > 0.99)
    before, after = ((picture[jacket][:, :3] - navy).abs().mean() for picture in (blotched, right))
    assert after < 0.35 * before
    inside = (Y > 93) & (Y < 97) & (alpha[..., 0] > 0.99)
    assert right[inside][:, :3].min() > 0.4  # only coarse tones of it change
    # Skin itself is left where clothes are not known to be, and where they are of its color.
    for bare in (replace(dressed, dressed=NO_SCALP), replace(dressed, cloth=0 * cloth)):
        assert error(TONES.matched(blotched, nothing, bare), blotched, Y > 0) < 0.01
    alike = torch.cat([(0.95 * SKIN).expand(SIZE, SIZE, 3), torch.ones(SIZE, SIZE, 1)], dim=-1)
    beige = torch.cat([SKIN * alpha, alpha], dim=-1)
    assert error(TONES.matched(beige, nothing, replace(dressed, cloth=alike)), beige, Y > 80) < 0.03


@pytest.mark.parametrize("worn", [(0.95, 0.95, 0.95), (0.85, 0.75, 0.62), (0.10, 0.12, 0.25), (0.75, 0.10, 0.12)])
@pytest.mark.parametrize("shade", [(0.70, 0.74, 0.80), (0.78, 0.72, 0.66), (0.60, 0.60, 0.60)])
def test_shaded_clothes_behind_have_the_tint_of_the_photos(
    worn: tuple[float, float, float], shade: tuple[float, float, float]
) -> None:
    """A shade is nearer to skin's lightness: taken for a mixture with skin, white would become sky-blue."""
    truth, nothing, color = person(), torch.zeros(SIZE, SIZE, 5), torch.tensor(worn)
    alpha = truth[..., 3:]
    behind = torch.cat([color * torch.tensor(shade) * alpha, alpha], dim=-1)
    cloth = torch.cat([color, torch.ones(1)]).expand(SIZE, SIZE, 4)
    right = TONES.matched(behind, nothing, replace(ground(), cloth=cloth, dressed=(Y > 60).float()))
    is_picture(right, behind)
    inside = (Y > 80) & (alpha[..., 0] > 0.99)
    shown = right[inside][:, :3].mean(0)
    # Light is left to differ by a tenth, tint is not.
    assert ((shown + 0.04) / (color + 0.04)).log().add(0.1).abs().max() < 0.06
    assert ((shown + 0.04) / (color + 0.04)).log().std() < 0.03


def test_a_collar_that_is_higher_behind_than_the_photo_shows_is_of_the_clothes() -> None:
    truth, nothing, white = person(), torch.zeros(SIZE, SIZE, 5), torch.tensor([0.95, 0.95, 0.95])
    alpha = truth[..., 3:]
    shade = white * torch.tensor([0.70, 0.74, 0.80])
    behind = torch.cat(
        [torch.where((Y > 70)[..., None], shade, truth[..., :3] / alpha.clamp(min=0.02)) * alpha, alpha], -1
    )
    neck = ((Y > 58) & (Y < 82)).float()
    cloth = torch.cat([white, torch.ones(1)]).expand(SIZE, SIZE, 4)
    bare = replace(ground(skin=neck), neck=neck, cloth=cloth, dressed=(Y > 82).float())
    inside = alpha[..., 0] > 0.99
    collar, below, nape = (((Y - at).abs() < 4) & inside for at in (76, 94, 63))
    right = TONES.matched(behind, nothing, bare)
    is_picture(right, behind)
    assert (right[collar][:, :3].mean(0) - right[below][:, :3].mean(0)).abs().max() < 0.06
    assert error(right, behind, nape) < 0.05
    # Where hair cannot be told from clothes, nobody knows.
    covered = replace(bare, scalp=((Y < 45) & inside).float())
    dark = torch.cat([torch.where((Y > 70)[..., None], HAIR, behind[..., :3]) * alpha, alpha], -1)
    brown = torch.cat([3 * HAIR, torch.ones(1)]).expand(SIZE, SIZE, 4)
    dark = TONES.matched(dark, nothing, replace(covered, cloth=brown)), dark
    assert error(*dark, collar) < 0.5 * error(*dark, below)


def test_a_dark_nape_becomes_as_light_as_skin_unless_hair_hangs_there() -> None:
    truth, nothing = person(), torch.zeros(SIZE, SIZE, 5)
    dark = torch.where((Y > 45)[..., None], SKIN * 0.35, HAIR * 0.8)
    behind = torch.cat([dark * truth[..., 3:], truth[..., 3:]], dim=-1)
    neck, scalp = ((Y > 60) & (truth[..., 3] > 0.5)).float(), ((Y < 44) & (truth[..., 3] > 0.5)).float()
    tones = Tones(SKIN, bald=False, hair=HAIR)
    bare = replace(ground(neck, scalp), neck=neck)
    lower = (Y > 80) & (truth[..., 3] > 0.99)
    right = tones.matched(behind, nothing, bare)
    is_picture(right, behind)
    wrong, left = ((picture[lower][:, :3] - SKIN).abs().mean() for picture in (behind, right))
    assert left < 0.5 * wrong
    assert right[lower][:, :3].mean() < SKIN.mean()  # a nape is a little in the shade
    hanging = replace(bare, hairy=torch.ones(SIZE, SIZE), hanging=torch.ones(SIZE, SIZE))
    assert error(tones.matched(behind, nothing, hanging), behind, Y > 80) < 0.25 * wrong
    # A beard on the cheeks, as dark as the hair, is no skin in the shade.
    beard = torch.cat([HAIR * 0.8 * truth[..., 3:], truth[..., 3:]], dim=-1)
    cheeks = replace(bare, neck=torch.zeros(SIZE, SIZE))
    assert (tones.matched(beard, nothing, cheeks)[lower][:, :3].mean(0) - HAIR).abs().max() < 0.1


def test_a_bare_nape_at_the_height_of_a_collar_is_skin() -> None:
    """A shirt that stands high in front says that all around the neck is dressed."""
    truth, nothing = person(), torch.zeros(SIZE, SIZE, 5)
    alpha, navy, white = truth[..., 3:], torch.tensor([0.05, 0.06, 0.1]), torch.tensor([0.9, 0.92, 0.95])
    shaded = torch.where((Y > 90)[..., None], navy, SKIN * torch.tensor([0.42, 0.4, 0.36]))
    behind = torch.cat([torch.where((Y > 45)[..., None], shaded, HAIR) * alpha, alpha], dim=-1)
    neck, scalp = ((part & (alpha[..., 0] > 0.5)).float() for part in ((Y > 45) & (Y < 90), Y < 45))
    collar = torch.where((Y > 90)[..., None], navy, 0.5 * (navy + white))
    cloth = torch.cat([collar, torch.ones(SIZE, SIZE, 1)], dim=-1)
    around = replace(ground(neck, scalp), neck=neck, cloth=cloth, dressed=torch.where(Y > 90, 1.0, 0.8 * neck))
    right = TONES.matched(behind, nothing, around)
    is_picture(right, behind)
    nape, coat = (((Y - at).abs() < half) & (alpha[..., 0] > 0.99) for at, half in ((68, 13), (109, 11)))
    seen = right[nape][:, :3].mean(0)
    assert (seen / seen.sum() - SKIN / SKIN.sum()).abs().max() < 0.04
    assert seen.mean() > behind[nape][:, :3].mean() + 0.1
    assert error(right, behind, coat) < 0.03
    # A turtleneck of the clothes' color is dressed.
    pullover = torch.cat([torch.where((Y > 45)[..., None], navy, HAIR) * alpha, alpha], dim=-1)
    worn = replace(around, cloth=torch.cat([navy, torch.ones(1)]).expand(SIZE, SIZE, 4))
    assert error(TONES.matched(pullover, nothing, worn), pullover, nape) < 0.03


def test_hair_in_the_light_that_hangs_beside_the_neck_does_not_take_the_clothes_color() -> None:
    truth, nothing = person(), torch.zeros(SIZE, SIZE, 5)
    alpha, blue = truth[..., 3:], torch.tensor([0.12, 0.16, 0.22])
    color = torch.where((Y < 45)[..., None], HAIR, 2.2 * HAIR)
    behind = torch.cat([torch.where((Y > 95)[..., None], blue, color) * alpha, alpha], dim=-1)
    scalp = ((Y < 45) & (alpha[..., 0] > 0.5)).float()
    cloth = torch.cat([blue, torch.ones(1)]).expand(SIZE, SIZE, 4)
    hangs = replace(ground(scalp=scalp), cloth=cloth, dressed=(Y > 60).float(), hanging=torch.ones(SIZE, SIZE))
    lock = (Y > 66) & (Y < 88)
    assert error(Tones(SKIN, bald=False, hair=HAIR).matched(behind, nothing, hangs), behind, lock) < 0.05


def test_hair_is_what_covers_the_scalp_in_the_photo() -> None:
    picture = person()
    photo = replace(photo_with(HAIR), image=picture[..., :3], matte=picture[..., 3])
    scalp = (Y < 60).float()  # down over the forehead, which is skin
    hair = Tones.of(photo, scalp, scalp).hair
    assert hair is not None
    assert (hair - HAIR).abs().max() < 0.05
    assert Tones.of(photo, scalp, (Y > 60).float()).hair is None


def test_ears_that_labels_call_hair_do_not_tell_its_color() -> None:
    picture = person()
    photo = replace(photo_with(HAIR), image=picture[..., :3], matte=picture[..., 3])
    scalp, head = (Y < 45).float(), (Y < 90).float()
    labelled = ((Y < 45) | ((Y > 50) & (Y < 90))).float()  # hair, and more skin than that
    hair = Tones.of(photo, head, scalp, labelled).hair
    assert hair is not None
    assert (hair - HAIR).abs().max() < 0.05


def photo_with(hair: Tensor) -> PhotoView:
    blank = torch.zeros(4, 4)
    camera = orbit_cameras(torch.zeros(1), torch.zeros(1), distance=1.0, target=torch.zeros(3), focal=4.0, size=4)[0]
    return PhotoView(
        image=torch.zeros(4, 4, 3),
        matte=blank,
        cover=blank,
        mouth=blank,
        inside=blank,
        skin_color=SKIN,
        hair_color=hair,
        bare_ears=torch.ones(2),
        light=torch.zeros(4, 3),
        camera=camera,
    )


def test_a_bald_persons_scalp_is_skin() -> None:
    haired, bald = (Tones.of(photo_with(hair), *torch.zeros(2, 4, 4)) for hair in (HAIR, SKIN - 0.02))
    assert (haired.bald, haired.bare_regions) == (False, SKIN_REGIONS)
    assert (bald.bald, bald.bare_regions) == (True, (*SKIN_REGIONS, "scalp"))
    assert torch.equal(bald.skin, SKIN)


def test_hair_at_a_bald_heads_outline_makes_no_hairy_scalp() -> None:
    """Labels take the dark outline of a bald head for hair."""
    picture = person()
    photo = replace(photo_with(HAIR), image=picture[..., :3], matte=picture[..., 3])
    scalp = (Y < 60) & (picture[..., 3] > 0.5)
    outline, half = scalp & ((X - 64).abs() > 28), scalp & (X < 64)
    assert 0.2 < outline.sum() / scalp.sum() < 0.25
    head = (Y < 90).float() * picture[..., 3]
    assert Tones.of(photo, head, scalp.float(), outline.float()).bald
    assert not Tones.of(photo, head, scalp.float(), half.float()).bald


@pytest.mark.parametrize(("wide", "bald"), [(2, True), (10, False)])
def test_a_ring_of_hair_beside_a_bald_crown_is_hair(wide: int, bald: bool) -> None:
    """It stands off the fitted head; the outline of a shaved one, taken for hair, does not."""
    picture = person()
    photo = replace(photo_with(HAIR), image=picture[..., :3], matte=torch.ones(SIZE, SIZE))
    head = ((Y < 90) & ((X - 64).abs() < 30)).float()
    ring = (Y > 25) & (Y < 60) & ((X - 64).abs() >= 30) & ((X - 64).abs() < 30 + wide)
    assert Tones.of(photo, head, head * (Y < 60), ring.float()).bald == bald


def test_the_stubble_of_a_bald_scalp_becomes_as_light_as_the_face_beside_it() -> None:
    truth, nothing = person(), torch.zeros(SIZE, SIZE, 5)
    scalp, around = Y < 55, (Y >= 55) & (Y < 60)  # the scalp's region ends above the ears
    color = torch.where((scalp | around)[..., None], 0.55 * SKIN, SKIN)
    dark = torch.cat([color * truth[..., 3:], truth[..., 3:]], dim=-1)
    right = Tones(SKIN, bald=True).matched(dark, nothing, ground(skin=truth[..., 3], scalp=scalp.float()))
    is_picture(right, dark)
    inner = (Y > 20) & (Y < 58) & ((X - 64).abs() < 25)
    assert right[inner][:, :3].mean() > 0.75 * SKIN.mean()
    assert error(right, dark, (Y > 75) & (Y < 110)) < 0.05  # the face


def test_stubble_on_a_scalp_is_skin_and_a_fringe_or_blond_hair_is_not() -> None:
    """Labels call stubble hair: it counts by how little of it there is, and by skin that is seen through it."""
    scalp, few, many = torch.ones(4, 4), torch.zeros(4, 4), torch.ones(4, 4)
    few[0] = 1
    for hair, color, bald in ((few, 0.75 * SKIN, True), (few, HAIR, False), (many, 0.75 * SKIN, False)):
        photo = replace(photo_with(HAIR), image=color.expand(4, 4, 3))
        assert Tones.of(photo, scalp, scalp, hair).bald == bald


def test_unseen_skin_is_no_darker_than_where_the_photo_sees_it_turn_away() -> None:
    """Lit from the right, the left side is in the shade in the photo, and a model goes on into the dark."""
    alpha, face = person()[..., 3:], (Y > 45)[..., None]
    hair = 0.33 * SKIN  # as dark as the imagined skin

    def half(light: float) -> Tensor:
        """A picture whose left part is lit so."""
        color = torch.where((X < 52)[..., None], light * SKIN, 0.6 * SKIN)
        return torch.cat([torch.where(face, color, hair) * alpha, alpha], dim=-1)

    seen = ((X > 44)[..., None] & face & (alpha > 0.99)).float()
    hint = torch.cat([half(0.6)[..., :3] * seen, seen, 0.2 * seen], dim=-1)
    where = ground(skin_mask(), (alpha[..., 0] > 0.5) * (Y < 45).float())
    unseen = (X > 34) & (X < 44) & (Y > 60) & (alpha[..., 0] > 0.99)
    tones = Tones(SKIN, bald=False, hair=hair)

    def light(picture: Tensor) -> float:
        return float((picture[unseen][:, :3] / SKIN).mean())

    darker = half(0.35)
    right = tones.matched(darker, hint, where)
    is_picture(right, darker)
    assert 0.45 < light(right) < 0.65
    # Where the photo's dark side was made lighter, so is what follows on it.
    lifts = [torch.zeros(SIZE, SIZE), torch.full((SIZE, SIZE), 0.4), 0.4 * (X < 44).float()]
    as_taken, all_alike, farther = (light(tones.matched(half(0.45), hint, replace(where, lift=lift))) for lift in lifts)
    assert all_alike == pytest.approx(as_taken, abs=1e-4)
    assert 1.15 < farther / as_taken < math.exp(0.4)
    # What is lighter is brought nearer to what the photo shows there, not to the typical skin: no step between both.
    assert 0.6 < light(tones.matched(half(1.0), hint, where)) < 0.9


# Detail


def striped(amplitude: float = 0.06) -> Tensor:
    """Stripes [H, W, 1] three pixels wide."""
    return amplitude * torch.sin(2 * math.pi * X / 3 + 0.4)[..., None]


def with_stripes(picture: Tensor) -> Tensor:
    color = (picture[..., :3] + striped() * picture[..., 3:]).clamp(min=0).minimum(picture[..., 3:])
    return torch.cat([color, picture[..., 3:]], dim=-1)


def test_a_picture_takes_the_coarse_tones_of_another_of_its_view_and_nothing_else() -> None:
    """The other has a black speck; the picture is tinted, has a fine pattern, and an earring that the other lacks."""
    other = person()
    other[60:68, 60:68, :3] = 0
    picture = person()
    pattern = 0.03 * torch.cos(X * torch.pi)[..., None]
    picture[..., :3] = ((picture[..., :3] + pattern) * torch.tensor([1.1, 1.0, 0.9])).clamp(min=0)
    picture[..., :3] = picture[..., :3].minimum(picture[..., 3:])
    picture[70:74, 20:24] = torch.tensor([0.0, 1.0, 0.0, 1.0])
    toned = with_tones_of(picture, other)
    assert torch.equal(toned[..., 3], picture[..., 3])
    inside = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    inside[80:100, 50:80] = True
    torch.testing.assert_close(toned[inside][:, :3].mean(0), person()[inside][:, :3].mean(0), atol=0.01, rtol=0)
    waves = [float(p[inside][:, 1].diff().abs().mean()) for p in (picture, toned)]
    assert waves[1] == pytest.approx(waves[0], rel=0.1)
    assert toned[60:68, 60:68, 0].min() > 0.6
    assert toned[70:74, 20:24, 1].min() > 0.9


def test_fine_detail_comes_from_the_photo_where_it_is_seen() -> None:
    plain, still = person(), torch.zeros(SIZE, SIZE)
    fine = with_stripes(plain)
    coarsely_wrong = tinted(plain, torch.tensor([0.95, 0.95, 0.95]))
    hint = hint_of(fine)
    made = with_detail(coarsely_wrong, hint, still, angle=0.2)
    is_picture(made, plain)
    seen, unseen = (X > 30) & (X < 64) & (Y > 50) & (Y < 100), X > 76
    added, wanted = (made - coarsely_wrong)[seen][:, :3], striped().expand(-1, -1, 3)[seen]
    # All of the stripes, and nothing of the photo's coarse tones.
    share = (added * wanted).sum() / wanted.square().sum()
    assert 0.8 < share < 1.2
    assert abs(float((made - coarsely_wrong)[seen][:, :3].mean())) < 0.002
    assert torch.equal(made[unseen], coarsely_wrong[unseen])


@pytest.mark.parametrize("angle", [math.radians(60), math.radians(90), math.pi])
def test_from_aside_and_behind_no_detail_is_taken(angle: float) -> None:
    plain = person()
    assert torch.equal(with_detail(plain, hint_of(with_stripes(plain)), torch.zeros(SIZE, SIZE), angle), plain)


def test_detail_fades_with_the_angle_and_with_how_far_the_skin_has_moved() -> None:
    plain = person()
    hint, seen = hint_of(with_stripes(plain)), (X > 30) & (X < 64) & (Y > 50) & (Y < 100)

    def strength(angle: float, moved: Tensor, where: Tensor = seen) -> float:
        return float((with_detail(plain, hint, moved, angle) - plain)[where][:, :3].abs().mean())

    still = torch.zeros(SIZE, SIZE)
    by_angle = [strength(math.radians(degrees), still) for degrees in (0, 25, 35, 45, 50)]
    assert by_angle[0] == by_angle[1]
    assert all(after < before for before, after in pairwise(by_angle[1:]))
    mouth = (Y - 80).abs() < 8
    moved = torch.where(mouth, 0.01, 0.0)
    assert strength(0.0, moved, seen & ((Y - 80).abs() < 6)) == 0
    assert strength(0.0, moved, seen & (Y < 66)) == pytest.approx(by_angle[0], rel=0.2)
    assert 0 < strength(0.0, torch.full((SIZE, SIZE), 0.002)) < 0.8 * by_angle[0]


def test_bright_detail_stays_within_alpha() -> None:
    picture = person()
    faint = picture * torch.where(X < 40, 0.7, 1.0)[..., None]
    loud = torch.cat([picture[..., :3] + 10 * striped(), torch.ones(SIZE, SIZE, 2)], dim=-1)
    is_picture(with_detail(faint, loud, torch.zeros(SIZE, SIZE), 0.0), faint)
