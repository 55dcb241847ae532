"""Clothes and hanging hair of a photo that is known, carried around a head."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from avatarcli.diffusion.tones import Around
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.model import PersonalHead, load_head_model
from avatarcli.multiview.framing import Framing
from avatarcli.reproject.shell import Shell, fit_shell
from avatarcli.reproject.skin_texture import PhotoView

SIZE = 128
SKIN = torch.tensor([0.8, 0.6, 0.5])
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

    def view(self, yaw: float) -> Camera:
        return self.framing.cameras(torch.tensor([yaw]), torch.zeros(1), SIZE)[0]

    def around(self, clothes: Tensor | None, hair: Tensor | None) -> Around:
        return Around.of(self.head, self.shell, self.photo, clothes, hair)


@pytest.fixture(scope="module")
def sitter() -> Sitter:
    return Sitter()


def test_clothes_go_on_behind_by_their_side(sitter: Sitter) -> None:
    blank = torch.zeros(SIZE, SIZE)
    ground = sitter.around(sitter.coat, blank).seen_by(sitter.view(torch.pi), blank, blank, blank)
    chest = slice(SIZE * 7 // 8, SIZE * 15 // 16)
    # From behind, the left side is on the left.
    for columns, color in ((slice(30, 50), BLUE), (slice(78, 98), RED)):
        there = ground.cloth[chest, columns]
        assert (there[..., :3] - color).abs().mean() < 0.1
        assert there[..., 3].min() > 0.5
        assert ground.dressed[chest, columns].min() > 0.9
    assert ground.dressed[20 : SIZE // 2, 54:74].max() < 0.05  # the head is not dressed


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
    front, behind = (around.seen_by(sitter.view(yaw), blank, blank, blank) for yaw in (0.0, torch.pi))
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
