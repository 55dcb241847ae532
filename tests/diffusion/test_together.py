"""Views of one person, each in a tone of its own, are brought to tones that they share with the photo."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from avatarcli.diffusion.tones import Around, agreed
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.model import PersonalHead, load_head_model
from avatarcli.multiview.framing import Framing
from avatarcli.reproject.shell import Shell, fit_shell
from avatarcli.reproject.skin_texture import PhotoView

SIZE = 96
VIEWS = 8
TINTS = torch.tensor([[1.0, 1.0, 1.0], [0.8, 0.9, 1.0], [1.1, 0.9, 0.9], [0.75, 0.75, 0.75]]).repeat(2, 1)


class Sitter:
    """A head inside a shell whose colors change with its height and its side."""

    def __init__(self) -> None:
        model = load_head_model()
        head = PersonalHead.create(model, torch.zeros(model.identity_size))
        yaw = torch.arange(VIEWS) / VIEWS * 2 * torch.pi
        self.cameras = Framing.of(head.neutral).cameras(yaw, torch.zeros(VIEWS), SIZE)
        matte = rasterize_mesh(head.neutral, model.faces, self.cameras[0]).covered.float()
        self.shell: Shell = fit_shell(head, head.neutral, self.cameras[0], matte, torch.ones(SIZE, SIZE))
        place = self.shell.vertices / 0.15
        bare = torch.zeros(len(self.shell.vertices))
        self.naked = Around(self.shell, torch.zeros(len(bare), 4), bare, bare, bare, bare)
        self.colors = 0.5 + 0.15 * torch.stack([place[:, 0], place[:, 1], place[:, 2]], dim=-1).sin()

    def picture(self, camera: Camera, tint: Tensor) -> Tensor:
        raster = rasterize_mesh(self.shell.vertices, self.shell.faces, camera)
        color = raster.interpolate(self.colors, self.shell.faces)
        return torch.cat([color * tint, raster.covered.float()[..., None]], dim=-1)

    def views(self, tints: Tensor = TINTS) -> list[Tensor]:
        return [self.picture(self.cameras[view], tint) for view, tint in enumerate(tints)]

    def photo(self, inside: float = 1.0) -> PhotoView:
        """A photo from the front in the true colors; inside: whether the crop shows any of it."""
        picture, blank = self.picture(self.cameras[0], torch.ones(3)), torch.zeros(SIZE, SIZE)
        color = picture[..., :3] / picture[..., 3:].clamp(min=1e-3)
        skin, ears, light = torch.full((3,), 0.5), torch.ones(2), torch.zeros(4, 3)
        whole = torch.full((SIZE, SIZE), inside)
        return PhotoView(
            color, picture[..., 3], blank, blank, whole, skin, skin, ears, light=light, camera=self.cameras[0]
        )


@pytest.fixture(scope="module")
def sitter() -> Sitter:
    return Sitter()


def tint_of(picture: Tensor, truth: Tensor) -> Tensor:
    """How a picture's tones differ from the true ones: logarithms [3], means over the person's middle."""
    middle = torch.zeros(truth.shape[:2], dtype=torch.bool)
    middle[:, SIZE * 2 // 5 : SIZE * 3 // 5] = True
    solid = middle & (truth[..., 3] > 0.99)
    return (picture[solid][:, :3] / truth[solid][:, :3]).log().mean(0)


def test_neighbours_come_near_to_each_other_and_to_the_photo(sitter: Sitter) -> None:
    before, truth = sitter.views(), sitter.views(torch.ones(VIEWS, 3))
    after = agreed(before, sitter.cameras, sitter.naked, sitter.photo())
    tints = [torch.stack([tint_of(p, t) for p, t in zip(made, truth, strict=True)]) for made in (before, after)]
    apart = [torch.stack([(a - b).abs().mean() for a, b in pairwise([*tint, tint[0]])]) for tint in tints]
    assert apart[1].mean() < 0.4 * apart[0].mean()
    assert apart[1].max() < 0.6 * apart[0].max()
    # In front the photo's tones count, and farther off those of the neighbours that have them.
    assert tints[1][0].abs().max() < 0.03
    for beside in (1, 7):
        assert tints[1][beside].abs().mean() < 0.7 * tints[0][beside].abs().mean()
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old[..., 3], new[..., 3])
        assert (new[..., :3] <= new[..., 3:] + 1e-6).all()


def test_what_agrees_stays(sitter: Sitter) -> None:
    truth = sitter.views(torch.ones(VIEWS, 3))
    for old, new in zip(truth, agreed(truth, sitter.cameras, sitter.naked, sitter.photo()), strict=True):
        assert (old - new).abs().max() < 0.03
        assert (old - new).abs().mean() < 0.002


def test_a_photo_that_shows_nothing_has_no_say(sitter: Sitter) -> None:
    """All views are alike, but not as the photo is."""
    dark = sitter.views(torch.full((VIEWS, 3), 0.8))
    left, right = (agreed(dark, sitter.cameras, sitter.naked, sitter.photo(inside)) for inside in (0.0, 1.0))
    assert (left[0] - dark[0]).abs().mean() < 0.002
    assert tint_of(right[0], dark[0]).mean() > 0.07
    assert tint_of(right[4], dark[4]).abs().max() < 0.05  # behind, it sees nothing


def test_what_shows_something_else_changes_nothing(sitter: Sitter) -> None:
    """A black bag before one view's chest."""
    before = sitter.views(torch.ones(VIEWS, 3))
    before[2][60:, 30:66, :3] *= 0.05
    after = agreed(before, sitter.cameras, sitter.naked, sitter.photo())
    assert after[2][70:90, 40:56, :3].max() < 0.08
    for neighbour in (1, 3):
        assert (after[neighbour] - before[neighbour]).abs().mean() < 0.01


def test_hair_that_ends_elsewhere_in_each_view_keeps_its_color(sitter: Sitter) -> None:
    """Fair hair over a red coat: whoever sees more of it must not turn the others' green."""
    hair, coat = torch.tensor([0.62, 0.52, 0.43]), torch.tensor([0.75, 0.02, 0.12])
    before = []
    for view in range(VIEWS):
        camera = sitter.cameras[view]
        raster = rasterize_mesh(sitter.shell.vertices, sitter.shell.faces, camera)
        height = raster.interpolate(sitter.shell.vertices[:, 1:2], sitter.shell.faces)
        end = -0.12 - 0.02 * (view % 3)
        color = torch.where(height > end, hair, coat) * raster.covered[..., None]
        before.append(torch.cat([color, raster.covered.float()[..., None]], dim=-1))
    after = agreed(before, sitter.cameras, sitter.naked, sitter.photo(0.0))
    for old, new in zip(before, after, strict=True):
        solid = (old[..., 3] > 0.99) & ((old[..., :3] - hair).abs().amax(-1) < 0.01)
        greener = (new - old)[..., 1] - (new - old)[..., 0]
        assert greener[solid].max() < 0.04


@pytest.mark.parametrize("hair", [False, True])
def test_clothes_are_no_darker_behind_than_in_front(sitter: Sitter, hair: bool) -> None:
    """A coat that all views make dark behind becomes lighter, and hair that hangs over it stays as it is."""
    place = sitter.shell.vertices
    coat = place[:, 1] < -0.15
    worn, hanging = coat.float(), (coat & hair).float()
    dressed = replace(sitter.naked, dressed=worn, hanging=hanging)
    dark = 1 - 0.5 * worn * ((0.02 - place[:, 2]) / 0.04).clamp(0, 1)
    truth = sitter.views(torch.ones(VIEWS, 3))
    before = [
        torch.cat([picture[..., :3] * shade, picture[..., 3:]], dim=-1)
        for picture, shade in (
            (picture, rasterize_mesh(place, sitter.shell.faces, camera).interpolate(dark[:, None], sitter.shell.faces))
            for picture, camera in zip(truth, sitter.cameras, strict=True)
        )
    ]
    after = agreed(before, sitter.cameras, dressed, sitter.photo(0.0))
    back = VIEWS // 2
    low = slice(SIZE * 4 // 5, SIZE - 6)
    old, new = (tint_of(views[back][low], truth[back][low]).mean() for views in (before, after))
    assert old < -0.5
    assert abs(new - old) < 0.03 if hair else new > 0.6 * old
    # The head and what is in front have the tones that they had.
    assert (after[back][: SIZE // 2] - before[back][: SIZE // 2]).abs().mean() < 0.005
    assert (after[0] - before[0]).abs().mean() < 0.01


def test_no_pictures_are_no_fault(sitter: Sitter) -> None:
    assert agreed([], sitter.cameras[:0], sitter.naked, sitter.photo()) == []
