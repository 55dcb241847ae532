"""Clothes and hanging hair of a photo that is known, carried around a head; hair behind that it does not show."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.diffusion.tones import SKIN_REGIONS, Around, Nape, Tones, lowest_hair
from avatarcli.diffusion.tones.nape import _apart, _thin
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.fill import blur
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.model import PersonalHead, load_head_model
from avatarcli.multiview.framing import Framing
from avatarcli.reproject.shell import Shell, fit_shell
from avatarcli.reproject.skin_texture import PhotoView

SIZE = 128
SKIN, DARK = torch.tensor([0.8, 0.6, 0.5]), torch.tensor([0.2, 0.12, 0.08])
RED, BLUE = (
    torch.tensor([0.7, 0.1, 0.1]),
    torch.tensor([0.1, 0.1, 0.7]),
)  # the coat's sides: the subject's right, and left


class Sitter:
    """A bare head whose coat is red on its right and blue on its left."""

    def __init__(self) -> None:
        model = load_head_model()
        self.head = PersonalHead.create(model, torch.zeros(model.identity_size))
        self.framing = Framing.of(self.head.neutral)
        camera = self.view(0.0)
        raster = rasterize_mesh(self.head.neutral, model.faces, camera)
        self.matte = raster.covered.float()
        self.coat = model.shows(raster, "torso")
        left = (torch.arange(SIZE) >= SIZE // 2)[None, :, None]
        image = torch.where(self.coat[..., None] > 0, torch.where(left, BLUE, RED), SKIN)
        whole, nothing = torch.ones(SIZE, SIZE), torch.zeros(SIZE, SIZE)
        self.photo = PhotoView(
            image, self.matte, nothing, nothing, whole, SKIN, SKIN, torch.ones(2), torch.zeros(4, 3), camera
        )
        self.shell: Shell = fit_shell(self.head, self.head.neutral, camera, self.matte, whole)

    def view(self, yaw: float, pitch: float = 0.0) -> Camera:
        return self.framing.cameras(torch.tensor([yaw]), torch.tensor([pitch]), SIZE)[0]

    def around(self, clothes: Tensor | None, hair: Tensor | None) -> Around:
        return Around.of(self.head, self.shell, self.photo, clothes, hair)


@pytest.fixture(scope="module")
def sitter() -> Sitter:
    return Sitter()


@pytest.mark.parametrize("rim", [0, 3], ids=["clean", "flag"])
def test_clothes_go_on_behind_by_their_side(sitter: Sitter, rim: int) -> None:
    """Also where something behind the person shines in at the outline."""
    blank = torch.zeros(SIZE, SIZE)
    inside = -functional.max_pool2d(-sitter.matte[None], 2 * rim + 1, stride=1, padding=rim)[0]
    image = torch.where(inside[..., None] > 0, sitter.photo.image, torch.tensor([0.1, 0.9, 0.1]))
    around = Around.of(sitter.head, sitter.shell, replace(sitter.photo, image=image), sitter.coat, blank)
    ground = around.seen_by(sitter.view(torch.pi), blank, blank, blank, blank)
    chest = slice(SIZE * 7 // 8, SIZE * 15 // 16)
    # From behind, the left side is on the left.
    for columns, color in ((slice(30, 50), BLUE), (slice(78, 98), RED)):
        there = ground.cloth[chest, columns]
        assert (there[..., :3] - color).abs().mean() < 0.1
        assert there[..., 3].min() > 0.5
        assert ground.dressed[chest, columns].min() > 0.9
    assert ground.dressed[20 : SIZE // 2, 54:74].max() < 0.05  # the head is not dressed


def test_a_tail_that_only_another_photo_shows_may_hang_behind(sitter: Sitter) -> None:
    """The frontal photo shows no hair below the ears, a profile shows some down to the shoulders."""
    camera, blank = sitter.view(torch.pi / 2), torch.zeros(SIZE, SIZE)
    tail = blank.clone()
    end = camera.project(torch.tensor([[0.0, -0.15, 0.0]]))[0][0, 1]
    tail[SIZE // 3 : int(end), SIZE // 2 : SIZE // 2 + 8] = 1
    tail[-1, 3] = 1  # a speck is no hair
    whole = torch.ones(SIZE, SIZE)
    shown = lowest_hair(tail, whole, camera)
    assert shown == pytest.approx(-0.15, abs=0.01)
    assert lowest_hair(None, whole, camera) == lowest_hair(blank, whole, camera) == math.inf
    cut = whole.clone()
    cut[int(end) + 1 :] = 0
    assert lowest_hair(tail, cut, camera) == -math.inf

    alone = sitter.around(sitter.coat, blank)
    told = Around.of(sitter.head, sitter.shell, sitter.photo, sitter.coat, blank, shown)
    heights = sitter.shell.vertices[:, 1]
    between = (heights > -0.14) & (heights < -0.11)
    assert alone.hanging[between].max() < 0.1
    assert told.hanging[between].min() > 0.9
    below = heights < -0.18
    assert torch.equal(alone.hanging[below], told.hanging[below])


def test_a_photo_without_known_clothes_says_nothing_of_them(sitter: Sitter) -> None:
    few = sitter.coat * (torch.arange(SIZE) % 64 == 5)
    for clothes in (None, torch.zeros(SIZE, SIZE), few):
        assert sitter.around(clothes, None).cloth[:, 3].max() == 0


def test_a_bare_chest_is_not_dressed_and_the_back_is(sitter: Sitter) -> None:
    """A wide neckline: between the coat's sides the photo shows skin down to its lower border."""
    column = torch.arange(SIZE)
    open_coat = sitter.coat * ((column - SIZE // 2).abs() > SIZE // 8)
    blank = torch.zeros(SIZE, SIZE)
    image = torch.where((sitter.coat > open_coat)[..., None], SKIN, sitter.photo.image)
    photo = replace(sitter.photo, image=image)
    # Labels may take some of the skin for clothes.
    labels = torch.maximum(open_coat, sitter.coat * ((column - SIZE // 2).abs() < 4))
    around = Around.of(sitter.head, sitter.shell, photo, labels, blank)
    front, behind = (around.seen_by(sitter.view(yaw), blank, blank, blank, blank) for yaw in (0.0, torch.pi))
    chest = slice(SIZE * 7 // 8, SIZE * 15 // 16)
    assert front.dressed[chest, SIZE // 2 - 8 : SIZE // 2 + 8].max() < 0.3
    assert front.dressed[chest, SIZE // 2 - 36 : SIZE // 2 - 24].min() > 0.7
    assert behind.dressed[chest, SIZE // 2 - 30 : SIZE // 2 + 30].min() > 0.9
    for ground in (front, behind):
        assert (ground.cloth[chest, SIZE // 2 - 36 : SIZE // 2 + 36, :3] - SKIN).abs().amax(-1).min() > 0.1


def test_hair_hangs_down_to_where_it_is_beside_the_neck(sitter: Sitter) -> None:
    around = sitter.around(sitter.coat, sitter.matte - sitter.coat)
    short, unknown = sitter.around(sitter.coat, torch.zeros(SIZE, SIZE)), sitter.around(sitter.coat, None)
    height = sitter.shell.vertices[:, 1]
    neck = (height < -0.06) & (height > -0.09)
    assert around.hairy[neck].min() > 0.9
    assert around.hairy[height < -0.2].max() < 0.1
    assert short.hairy.max() == 0
    assert unknown.hairy.min() > 0.9  # nothing is taken for a bare nape
    assert (around.hanging >= around.hairy - 1e-6).all()


def test_what_was_padded_tells_nothing(sitter: Sitter) -> None:
    """A photo that ends at the chin."""
    photo = replace(sitter.photo, inside=(torch.arange(SIZE) < SIZE * 5 // 8).float()[:, None].expand(SIZE, SIZE))
    around = Around.of(sitter.head, sitter.shell, photo, sitter.coat, torch.zeros(SIZE, SIZE))
    assert around.cloth[:, 3].max() == 0


def with_hair(sitter: Sitter, lowest: float) -> tuple[PhotoView, Tensor]:
    """The sitter's photo with dark hair on the scalp and beside the neck down to `lowest` (metres), and where it is [H, W]."""
    model, head, camera = sitter.head.model, sitter.head.neutral, sitter.photo.camera
    raster = rasterize_mesh(head, model.faces, camera)
    height = raster.interpolate(head, model.faces)[..., 1]
    hair = torch.maximum(
        model.shows(raster, "scalp"), model.shows(raster, "neck", "torso") * (height > lowest) * raster.covered
    )
    image = torch.where(hair[..., None] > 0, DARK, sitter.photo.image)
    return replace(sitter.photo, image=image, hair_color=DARK), hair


def test_hair_behind_ends_as_the_photo_shows(sitter: Sitter) -> None:
    nape = float(sitter.head.neutral[sitter.head.model.in_regions("scalp"), 1].amin())

    def ends(lowest: float, **changed: Tensor) -> float:
        photo, hair = with_hair(sitter, lowest)
        return Around.of(sitter.head, sitter.shell, replace(photo, **changed), sitter.coat, hair).hair_ends

    assert ends(1.0) == pytest.approx(nape)  # none beside the neck
    assert ends(-0.15) < nape - 0.15
    # Nothing is known of hair behind hidden ears, below a photo that ends at the mouth, and without labels.
    assert ends(1.0, bare_ears=torch.zeros(2)) == -math.inf
    above = (torch.arange(SIZE) < SIZE * 9 // 16).float()[:, None].expand(SIZE, SIZE)
    assert ends(1.0, inside=above) == -math.inf
    assert sitter.around(sitter.coat, None).hair_ends == -math.inf


def drawn(sitter: Sitter, camera: Camera, tail: tuple[float, float, float, float] | None) -> Tensor:
    """A premultiplied RGBA picture [H, W, 4] of the sitter with dark hair, and with a tail of it that is as wide (x) and as far
    behind the middle (z, both ends) as it says, from the nape down to a height (all metres)."""
    model, head = sitter.head.model, sitter.head.neutral
    raster = rasterize_mesh(head, model.faces, camera)
    color = torch.where(model.shows(raster, "torso")[..., None] > 0, BLUE, SKIN)
    color = torch.where(model.shows(raster, "scalp")[..., None] > 0, DARK, color)
    alpha = raster.covered.float()
    if tail is not None:
        half, near, far, low = tail
        corners = torch.cartesian_prod(
            torch.tensor([-half, half]), torch.tensor([-0.03, low]), torch.tensor([near, far])
        )
        left, top = camera.project(corners)[0].amin(0).long()
        right, bottom = camera.project(corners)[0].amax(0).long()
        color[top:bottom, left:right], alpha[top:bottom, left:right] = DARK, 1.0
    return torch.cat([color * alpha[..., None], alpha[..., None]], dim=-1)


def known(sitter: Sitter, lowest: float = 1.0) -> Around:
    """What the photo tells of somebody whose hair hangs beside the neck down to `lowest` (metres); the default: not at all."""
    photo, hair = with_hair(sitter, lowest)
    return Around.of(sitter.head, sitter.shell, photo, sitter.coat, hair)


def shortened(
    sitter: Sitter, camera: Camera, picture: Tensor, *, around: Around | None = None, bald: bool = False
) -> Tensor:
    around = around or known(sitter)
    nape = Nape.of(around, bald=bald)
    if nape is None:
        return picture
    model = sitter.head.model
    raster = rasterize_mesh(sitter.head.neutral, model.faces, camera)
    ground = around.seen_by(
        camera,
        *(model.shows(raster, *names) for names in (SKIN_REGIONS, ("neck",), ("scalp",))),
        torch.zeros(SIZE, SIZE),
    )
    return nape.shortened(picture, camera, ground, raster.covered.float(), Tones(SKIN, bald=bald))


def test_a_tail_that_the_photo_does_not_show_is_cut_off(sitter: Sitter) -> None:
    """Seen from the side, it hangs behind a bare neck."""
    camera = sitter.view(torch.pi / 2)
    tail = drawn(sitter, camera, (0.02, -0.10, -0.17, -0.13))
    without = drawn(sitter, camera, None)
    hung = tail[..., 3] - without[..., 3]
    assert hung.sum() > 100
    after = shortened(sitter, camera, tail)
    assert ((after[..., 3] * hung).sum() / hung.sum()) < 0.1
    # Everything else is as it was, but for the neck's own edge.
    same = (hung == 0) & ((after - tail).abs().amax(-1) < 0.02)
    assert same.sum() > 0.97 * (hung == 0).sum()
    assert torch.equal(
        shortened(sitter, camera, tail, around=known(sitter, -0.15)), tail
    )  # a photo with long hair lets it be


def test_hair_before_the_neck_becomes_skin_and_before_the_coat_cloth(sitter: Sitter) -> None:
    """Seen from behind, a tail covers both."""
    camera = sitter.view(torch.pi)
    without = drawn(sitter, camera, None)
    tail = drawn(sitter, camera, (0.025, -0.09, -0.10, -0.21))
    after = shortened(sitter, camera, tail)
    covered = (tail - without).abs().amax(-1) > 0.05
    model = sitter.head.model
    raster = rasterize_mesh(sitter.head.neutral, model.faces, camera)
    height = raster.interpolate(sitter.head.neutral, model.faces)[..., 1]
    collar = sitter.around(sitter.coat, None).collar
    for region, low, high, wanted in (("neck", collar + 0.01, -0.05, SKIN), ("torso", -1, collar - 0.01, BLUE)):
        there = covered & (model.shows(raster, region) > 0) & (height > low) & (height < high)
        assert there.sum() > 15
        error = (after[there][:, :3] - wanted).norm(dim=-1).median()
        assert error < 0.4 * (DARK - wanted).norm()
    assert after[..., 3][covered].min() > 0.99  # no holes
    crown = (model.shows(raster, "scalp") > 0) & (torch.arange(SIZE) < 40)[:, None]
    assert torch.allclose(after[crown], tail[crown], atol=1e-4)


def test_the_soft_edge_of_hair_that_becomes_skin_leaves_no_line(sitter: Sitter) -> None:
    """A model's pictures mix hair and skin at their border."""
    camera, model = sitter.view(torch.pi), sitter.head.model
    tail = drawn(sitter, camera, (0.02, -0.09, -0.10, -0.09))
    soft = blur(tail, 1.0)
    after = shortened(sitter, camera, torch.where((tail[..., 3:] > 0.99) & (soft[..., 3:] > 0.99), soft, tail))
    raster = rasterize_mesh(sitter.head.neutral, model.faces, camera)
    height = raster.interpolate(sitter.head.neutral, model.faces)[..., 1]
    collar = sitter.around(sitter.coat, None).collar
    neck = (model.shows(raster, "neck") > 0) & (height > collar + 0.02) & (height < -0.06)
    # The neck's own outline is soft too.
    inner = -functional.max_pool2d(-neck.float()[None], 5, stride=1, padding=2)[0] > 0
    assert inner.sum() > 40
    assert after[inner][:, :3].mean(-1).amin() > 0.7 * SKIN.mean()


def test_what_is_thinner_than_a_disc_is_a_stump() -> None:
    alpha = torch.zeros(128, 128)
    alpha[30:90, 30:90] = 1
    alpha[58:61, 90:110] = 1
    thin = _thin(alpha)
    assert thin[58:61, 92:110].all()
    assert not thin[40:80, 40:80].any()
    assert not thin[:, 110:].any()


Box = tuple[tuple[float, float, float], tuple[float, float, float]]
# Metres from the head's middle, which looks along z.
BUN: Box = ((-0.02, -0.005, -0.17), (0.02, 0.035, -0.11))
TAIL: Box = ((-0.02, -0.15, -0.17), (0.02, -0.02, -0.12))


def with_box(picture: Tensor, camera: Camera, box: Box, color: Tensor) -> tuple[Tensor, Tensor]:
    """A premultiplied RGBA picture with a box of one color behind what it shows, and which pixels [H, W] (bool) show that."""
    corners = torch.cartesian_prod(*(torch.tensor(ends) for ends in zip(*box, strict=True)))
    pixels = camera.project(corners)[0]
    (left, top), (right, bottom) = pixels.amin(0).long().tolist(), pixels.amax(0).long().tolist()
    there = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    there[top:bottom, left:right] = picture[top:bottom, left:right, 3] < 0.5
    return torch.where(there[..., None], torch.cat([color, torch.ones(1)]), picture), there


@pytest.mark.parametrize("box", [BUN, TAIL], ids=["bun", "tail"])
@pytest.mark.parametrize("pitch", [0.0, 0.55, -0.3])
def test_what_stands_off_short_hair_behind_is_cut_at_all_heights(sitter: Sitter, box: Box, pitch: float) -> None:
    camera = sitter.view(torch.pi / 2, pitch)
    bare = drawn(sitter, camera, None)
    picture, there = with_box(bare, camera, box, DARK)
    assert there.sum() > 30
    after = shortened(sitter, camera, picture)
    assert after[..., 3][there].mean() < 0.25
    # The head, its clothes and their outlines stay.
    kept = (bare[..., 3] > 0.5) & ~there
    assert (after[..., 3][kept] > 0.5).float().mean() > 0.98


def test_the_end_of_a_tail_beside_the_ear_is_cut_with_the_rest() -> None:
    """From in front and aside it is seen where an earring might be; an earring goes on nowhere."""
    worn, tail, earring = (torch.zeros(SIZE, SIZE, dtype=torch.bool) for _ in range(3))
    worn[40:80, 40:80] = True
    tail[60:120, 70:84] = True
    earring[70:90, 44:50] = True
    left = _apart(worn, tail | earring)
    assert torch.equal(left, worn & ~tail)


def test_a_mass_of_hair_and_a_brim_may_stand_off_behind(sitter: Sitter) -> None:
    """A photo whose outline is far off the head beside it says nothing against a bun."""
    camera = sitter.view(torch.pi / 2)
    picture, there = with_box(drawn(sitter, camera, None), camera, ((-0.02, 0.09, -0.15), (0.02, 0.11, -0.08)), DARK)
    around = known(sitter)
    shell = around.shell
    above = shell.vertices[:, 1].view(shell.thickness.shape) - around.hair_ends
    for wide in ((above > -0.05), (above > 0.12) & (above < 0.14)):
        thick = shell.thickness + 0.05 * wide
        vertices = shell.vertices + (0.05 * wide).view(-1, 1) * shell.directions
        full = replace(around, shell=replace(shell, thickness=thick, vertices=vertices))
        assert shortened(sitter, camera, picture, around=full)[..., 3][there].mean() > 0.9
    assert shortened(sitter, camera, picture)[..., 3][there].mean() < 0.4


def test_behind_clothes_hair_is_cut_and_cloth_is_not(sitter: Sitter) -> None:
    """Whether a hump behind the back is a lock's end or the coat's own only its color tells."""
    camera = sitter.view(torch.pi / 2)
    bare = drawn(sitter, camera, None)
    low, high = sitter.around(sitter.coat, None).collar - 0.10, sitter.around(sitter.coat, None).collar - 0.04
    box: Box = ((-0.03, low, -0.23), (0.03, high, -0.10))
    left = {}
    for name, color in (("hair", DARK), ("coat", BLUE)):
        picture, there = with_box(bare, camera, box, color)
        after = shortened(sitter, camera, picture)
        far = there & (torch.arange(SIZE) > there.nonzero()[:, 1].float().median())[None]
        assert far.sum() > 20
        left[name] = float(after[..., 3][far].mean())
    assert left["hair"] < 0.2
    assert left["coat"] > left["hair"] + 0.3


def test_clothes_of_the_hairs_color_are_not_painted(sitter: Sitter) -> None:
    camera = sitter.view(torch.pi)
    picture = drawn(sitter, camera, None)
    raster = rasterize_mesh(sitter.head.neutral, sitter.head.model.faces, camera)
    coat = sitter.head.model.shows(raster, "torso") > 0
    picture = torch.where(coat[..., None], torch.cat([1.1 * DARK, torch.ones(1)]), picture)
    after = shortened(sitter, camera, picture)
    height = raster.interpolate(sitter.head.neutral, sitter.head.model.faces)[..., 1]
    inner = coat & (height < known(sitter).collar - 0.02)
    assert (after - picture)[inner].abs().mean() < 0.01


def test_a_jacket_like_the_hair_in_shade_is_not_painted(sitter: Sitter) -> None:
    """Of what is cut off its own edge is the lighter part."""
    camera = sitter.view(torch.pi / 2)
    picture = drawn(sitter, camera, None)
    raster = rasterize_mesh(sitter.head.neutral, sitter.head.model.faces, camera)
    coat = sitter.head.model.shows(raster, "torso") > 0
    picture = torch.where(coat[..., None], torch.cat([0.5 * DARK, torch.ones(1)]), picture)
    stripe = coat & (torch.arange(SIZE) % 8 == 0)[None]
    picture = torch.where(stripe[..., None], torch.cat([SKIN.flip(0), torch.ones(1)]), picture)
    picture, _ = with_box(picture, camera, TAIL, DARK)
    after = shortened(sitter, camera, picture)
    assert (after - picture)[stripe & (after[..., 3] > 0.99)].abs().mean() < 0.05


def test_glasses_stay(sitter: Sitter) -> None:
    """Their frame is as thin and dark as a strand, and stands off the temple."""
    camera = sitter.view(0.0)
    model, head = sitter.head.model, sitter.head.neutral
    ear = head[model.in_regions("ear")]
    side, eyes = float(ear[:, 0].abs().amax()), float(head[model.in_regions("eye"), 1].mean())
    frame: Box = ((side - 0.02, eyes, 0.02), (side + 0.015, eyes + 0.006, 0.03))
    picture, there = with_box(drawn(sitter, camera, None), camera, frame, DARK)
    assert there.sum() > 3
    assert torch.allclose(shortened(sitter, camera, picture)[there], picture[there], atol=0.05)


def test_the_root_of_a_tail_on_a_bald_head_goes_too(sitter: Sitter) -> None:
    """A model's skull is often smaller than the fitted one: what lies between them is not off the head."""
    camera = sitter.view(torch.pi / 2)
    model = sitter.head.model
    raster = rasterize_mesh(sitter.head.neutral, model.faces, camera)
    scalp = model.shows(raster, "scalp") > 0
    smaller = torch.where(scalp[..., None], torch.cat([SKIN, torch.ones(1)]), drawn(sitter, camera, None))
    behind = scalp & (torch.arange(SIZE) > scalp.nonzero()[:, 1].max() - 3)[None]
    smaller = torch.where(behind[..., None], 0.0, smaller)
    picture, there = with_box(smaller, camera, ((-0.02, -0.02, -0.17), (0.02, 0.03, -0.06)), DARK)
    after = shortened(sitter, camera, picture, bald=True)
    assert (behind & there).sum() > 5
    assert after[..., 3][there].mean() < 0.25


def test_a_nape_has_no_dark_spot(sitter: Sitter) -> None:
    """Hair mixed into the skin of the nape is painted like the skin beside it."""
    camera = sitter.view(torch.pi)
    picture, model = drawn(sitter, camera, None), sitter.head.model
    raster = rasterize_mesh(sitter.head.neutral, model.faces, camera)
    height = raster.interpolate(sitter.head.neutral, model.faces)[..., 1]
    around = known(sitter)
    neck = (model.shows(raster, "neck") > 0) & (height < around.hair_ends - 0.02) & (height > around.collar + 0.02)
    spot = neck & ((torch.arange(SIZE) - SIZE / 2).abs() < 4)[None]
    assert spot.sum() > 20
    mixed = 0.3 * SKIN + 0.7 * DARK
    stained = torch.where(spot[..., None], torch.cat([mixed, torch.ones(1)]), picture)
    after = shortened(sitter, camera, stained)
    before, left = ((p[spot][:, :3].mean(0) - 0.82 * SKIN).abs().mean() for p in (stained, after))
    assert left < 0.5 * before


def test_dark_skin_below_gray_hair_is_no_hair(sitter: Sitter) -> None:
    """Skin in the shade is darker than gray hair, so only its tint tells; below dark hair it is taken for the hair's shade."""
    camera, model = sitter.view(torch.pi), sitter.head.model
    raster = rasterize_mesh(sitter.head.neutral, model.faces, camera)
    height = raster.interpolate(sitter.head.neutral, model.faces)[..., 1]
    around = known(sitter)
    scalp, neck = (model.shows(raster, name) > 0 for name in ("scalp", "neck"))
    neck &= (height < around.hair_ends - 0.02) & (height > around.collar + 0.03)
    shaded = torch.tensor([0.45, 0.25, 0.18])
    bare = drawn(sitter, camera, None)[..., :3]
    change = []
    for hair in (torch.tensor([0.42, 0.385, 0.375]), DARK):
        color = torch.where(neck[..., None], shaded, torch.where(scalp[..., None], hair, bare))
        picture = torch.cat([color * raster.covered[..., None], raster.covered[..., None].float()], dim=-1)
        change.append((shortened(sitter, camera, picture) - picture)[neck][:, :3].abs().mean())
    assert change[0] < 0.02 < change[1]


def test_no_hair_hangs_below_where_it_is_known_to_end(sitter: Sitter) -> None:
    """A label that takes a beard or a collar for hair is not believed against the photo's colors."""
    photo, hair = with_hair(sitter, 1.0)
    chin = (
        (sitter.photo.matte > 0)
        & (torch.arange(SIZE) > SIZE * 9 // 16)[:, None]
        & ((torch.arange(SIZE) - SIZE / 2).abs() < 10)
    )
    around = Around.of(sitter.head, sitter.shell, photo, sitter.coat, torch.maximum(hair, chin.float()))
    assert around.hair_ends > -0.1
    assert around.hanging[around.shell.vertices[:, 1] < around.hair_ends].max() == 0
