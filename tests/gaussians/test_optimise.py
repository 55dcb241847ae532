"""Fitting a small avatar to pictures of another one: it learns, it repeats itself, and it survives being stopped."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.gaussians.bust import Bust
from avatarcli.gaussians.clothes import dressed
from avatarcli.gaussians.fit_quality import fit_quality
from avatarcli.gaussians.fit_state import REACH_OF_SKIN, Follows
from avatarcli.gaussians.losses import psnr
from avatarcli.gaussians.openings import at_rims
from avatarcli.gaussians.optimise import optimise
from avatarcli.gaussians.pictures import FRONTAL, Schedule, TrainingPicture
from avatarcli.geometry.rotations import quaternion_to_matrix
from avatarcli.head.parameters import HeadParameters

AvatarMaker = Callable[..., Avatar]
Comb = Callable[[Avatar], tuple[Avatar, Tensor]]
SIZE = 48
COUNT = 2000  # so many that they need not be larger than the optimiser lets them


def faces() -> HeadParameters:
    """At rest, and with an open mouth."""
    rest = HeadParameters.at_rest(2)
    expression = torch.zeros(2, 52)
    expression[1, 24] = 0.8
    return replace(rest, expression=expression)


def pictures_of(avatar: Avatar) -> list[TrainingPicture]:
    """The 'photo' from the front, and two frames from the sides."""
    cameras = avatar.framing.cameras(torch.tensor([0.0, 0.7, -0.9]), torch.tensor([0.0, 0.2, -0.1]), SIZE)
    rig, moments = avatar.rig(), (0, 0, 1)
    pictures = []
    for camera, moment in zip((cameras[i] for i in range(3)), moments, strict=True):
        face = faces()[moment : moment + 1]
        drawn = avatar.render(rig, face, camera)
        pictures.append(TrainingPicture(camera, face, moment, drawn.color, drawn.alpha, torch.ones(SIZE, SIZE)))
    return pictures


def likeness(avatar: Avatar, pictures: list[TrainingPicture]) -> float:
    """Mean PSNR over the pictures."""
    rig = avatar.rig()
    drawn = [avatar.render(rig, picture.parameters, picture.camera) for picture in pictures]
    return sum(psnr(d.color, p.color) for d, p in zip(drawn, pictures, strict=True)) / len(pictures)


@pytest.fixture(scope="module")
def pictures(make_avatar: AvatarMaker) -> list[TrainingPicture]:
    avatar = make_avatar(COUNT, seed=1)
    with torch.no_grad():
        return pictures_of(replace(avatar, sh=0.5 * torch.sin(25 * avatar.means)[:, None]))


@pytest.fixture(scope="module")
def blank(make_avatar: AvatarMaker) -> Avatar:
    """The same head in plain grey, its Gaussians elsewhere."""
    avatar = make_avatar(COUNT, seed=2)
    return replace(avatar, sh=torch.zeros_like(avatar.sh))


def same(first: Avatar, second: Avatar, tolerance: float = 0.0) -> None:
    assert first.count == second.count
    for name, value in first._tensors().items():
        torch.testing.assert_close(
            value, second._tensors()[name], atol=tolerance, rtol=0, msg=lambda text, n=name: f"{n}: {text}"
        )


def test_it_learns(blank: Avatar, pictures: list[TrainingPicture]) -> None:
    steps: list[int] = []
    fitted = optimise(blank, pictures, Schedule(40, 3, COUNT, seed=0), device="cpu", advance=steps.append)
    assert sum(steps) == 40
    assert likeness(fitted, pictures) > likeness(blank, pictures) + 8
    assert not fitted.means.requires_grad
    for value in fitted._tensors().values():
        assert value.isfinite().all()
    # Nothing wandered off, and what was given is as it was.
    assert (fitted.means.amax(0) < blank.means.amax(0) + 0.01).all()
    assert (blank.sh == 0).all()
    torch.testing.assert_close(fitted.quaternions.norm(dim=-1), torch.ones(fitted.count), atol=1e-5, rtol=0)


def test_expressions_are_learnt_by_the_correctives(blank: Avatar, pictures: list[TrainingPicture]) -> None:
    fitted = optimise(blank, pictures, Schedule(20, 3, COUNT, seed=0), device="cpu")
    assert fitted.correctives.basis.abs().max() > 0
    assert fitted.correctives.offsets(torch.zeros(52)).abs().max() == 0


def test_gaussians_are_added_up_to_the_limit(blank: Avatar, pictures: list[TrainingPicture]) -> None:
    fitted = optimise(blank, pictures, Schedule(60, 3, COUNT + 200, seed=0), device="cpu")
    assert COUNT < fitted.count <= COUNT + 200
    assert len(fitted.binding) == len(fitted.correctives.basis) == fitted.count
    assert likeness(fitted, pictures) > likeness(blank, pictures) + 8


def test_the_same_seed_makes_the_same_avatar(blank: Avatar, pictures: list[TrainingPicture]) -> None:
    runs = [optimise(blank, pictures, Schedule(15, 3, COUNT + 200, seed), device="cpu") for seed in (0, 0, 1)]
    same(runs[0], runs[1])
    assert (runs[0].sh != runs[2].sh).any()


class Stopped(Exception):
    """What stands for a kill."""


def uneven_reach() -> Tensor:
    """Every other Gaussian may move far, the others hardly."""
    return torch.where(torch.arange(COUNT) % 2 == 0, 0.02, 0.001)


def stopped_and_resumed(
    blank: Avatar, pictures: list[TrainingPicture], schedule: Schedule, at: int, folder: Path, comb: Comb | None = None
) -> Avatar:
    done = 0

    def advance(steps: int) -> None:
        nonlocal done
        done += steps
        if done == at:
            raise Stopped

    def run(advance: Callable[[int], None]) -> Avatar:
        return optimise(
            blank, pictures, schedule, reach=uneven_reach(), device="cpu", folder=folder, advance=advance, comb=comb
        )

    with pytest.raises(Stopped):
        run(advance)
    assert list(folder.iterdir()), "there is a checkpoint"
    again: list[int] = []
    fitted = run(again.append)
    assert sum(again) == schedule.iterations
    assert again[0] > 1  # it did not start anew
    assert not list(folder.iterdir())  # and leaves nothing behind
    return fitted


def test_a_stopped_run_ends_as_if_it_had_not_been(
    blank: Avatar, pictures: list[TrainingPicture], tmp_path: Path
) -> None:
    """The density changes before the checkpoint, at steps 15 to 36."""
    schedule = Schedule(60, 3, COUNT + 200, seed=0)
    whole = optimise(blank, pictures, schedule, reach=uneven_reach(), device="cpu")
    same(stopped_and_resumed(blank, pictures, schedule, 55, tmp_path), whole, 1e-5)


def test_also_when_gaussians_are_added_after_it(blank: Avatar, pictures: list[TrainingPicture], tmp_path: Path) -> None:
    schedule = Schedule(100, 3, 3 * COUNT, seed=0)
    whole = optimise(blank, pictures, schedule, reach=uneven_reach(), device="cpu")
    same(stopped_and_resumed(blank, pictures, schedule, 55, tmp_path), whole, 1e-5)


def test_every_picture_is_shown_and_the_photo_at_regular_steps(blank: Avatar, pictures: list[TrainingPicture]) -> None:
    asked: list[int] = []

    class Counted:
        def __len__(self) -> int:
            return len(pictures)

        def __getitem__(self, index: int) -> TrainingPicture:
            asked.append(index)
            return pictures[index]

    optimise(blank, Counted(), Schedule(6, 3, COUNT, seed=0), device="cpu")
    assert asked[0] == 0
    assert sorted(asked) == [0, 1, 2]


def test_a_photo_alone_is_enough(blank: Avatar, pictures: list[TrainingPicture]) -> None:
    fitted = optimise(blank, pictures[:1], Schedule(10, 3, COUNT, seed=0), device="cpu")
    assert likeness(fitted, pictures[:1]) > likeness(blank, pictures[:1])


def test_shreds_of_clothes_in_the_air_are_gone_in_the_end(blank: Avatar, pictures: list[TrainingPicture]) -> None:
    model = blank.head.model
    dressed = model.in_regions("torso")[model.faces].all(-1)[blank.binding % len(model.faces)].nonzero()[:20, 0]
    means, reach = blank.means.clone(), torch.full((blank.count,), REACH_OF_SKIN)
    air = torch.tensor([0.17, 0.08, 0.0])  # beside the head
    means[dressed] = air
    fitted = optimise(replace(blank, means=means), pictures, Schedule(2, 3, COUNT, 0), reach=reach, device="cpu")
    assert fitted.count == blank.count - 20
    assert (fitted.means - air).norm(dim=-1).min() > 0.02


def test_pixels_without_trust_do_not_count(blank: Avatar, pictures: list[TrainingPicture]) -> None:
    photo, green = pictures[0], torch.tensor([0.0, 1.0, 0.0])
    left = (torch.arange(SIZE) < SIZE // 2).float().expand(SIZE, SIZE)
    painted = torch.lerp(photo.color, green * photo.alpha[..., None], left[..., None])

    def greenness(avatar: Avatar) -> float:
        """How green the left third is, which no window across the border reaches."""
        color = avatar.render(avatar.rig(), photo.parameters, photo.camera).color[:, : SIZE // 3]
        return float((color[..., 1] - 0.5 * (color[..., 0] + color[..., 2])).mean())

    schedule = Schedule(15, 3, COUNT, seed=0)
    believed = optimise(blank, [replace(photo, color=painted)], schedule, device="cpu")
    doubted = optimise(blank, [replace(photo, color=painted, trust=1 - left)], schedule, device="cpu")
    assert greenness(believed) > greenness(blank) + 0.015
    assert greenness(doubted) < greenness(blank) + 0.003


@pytest.fixture
def shifted(blank: Avatar, pictures: list[TrainingPicture]) -> TrainingPicture:
    """The head a centimetre and a half beside where it is."""
    aside = replace(blank, means=blank.means + torch.tensor([0.015, 0.0, 0.0]))
    drawn = aside.render(aside.rig(), pictures[0].parameters, pictures[0].camera)
    return replace(pictures[0], color=drawn.color, alpha=drawn.alpha)


def test_what_may_reach_far_moves_further(blank: Avatar, shifted: TrainingPicture) -> None:
    schedule = Schedule(40, 3, COUNT, seed=0)  # too short for Gaussians to be added or dropped
    moves = []
    for reach in (uneven_reach(), None, torch.full((COUNT,), REACH_OF_SKIN)):
        fitted = optimise(blank, [shifted], schedule, reach=reach, device="cpu")
        moves.append((fitted.means - blank.means).norm(dim=-1))
    far, near = moves[0][::2], moves[0][1::2]
    assert far.median() > 0.004
    assert near.max() < 0.002
    # Without a word of it everything reaches as far as skin.
    assert torch.equal(moves[1], moves[2])
    assert moves[1].max() < REACH_OF_SKIN + 0.001


def test_clothes_stay_within_the_shape_of_the_bust(blank: Avatar, pictures: list[TrainingPicture]) -> None:
    """A shape that ends two centimetres to the right of the middle: of what starts within it, nothing stands out."""
    low, high = blank.means.amin(0) - 0.05, blank.means.amax(0) + 0.05
    counts = [int(count) for count in ((high - low) / 0.01).ceil()]
    depth = (low[0] + 0.01 * torch.arange(counts[0]) + 0.02)[:, None, None].expand(counts).contiguous()
    bust = Bust(depth, low, 0.01, torch.tensor([0.0, -0.05, 0.0]))
    clothes = dressed(blank.head, blank.binding) & (bust.share(blank.means) > 0.5) & (bust.depth_at(blank.means) > 0)
    assert clothes.sum() > 20
    needles = blank.log_scales.clone()
    needles[:, 0] = math.log(0.01)
    avatar = replace(blank, log_scales=needles)

    def out(fitted: Avatar, chosen: Tensor) -> float:
        ends = 2 * quaternion_to_matrix(fitted.quaternions)[chosen] * fitted.log_scales.exp()[chosen, None]
        tips = fitted.means[chosen, :, None] + torch.cat([ends, -ends], dim=-1)
        return float(-bust.depth_at(tips.transpose(1, 2)).min())

    free, held = (optimise(avatar, pictures, Schedule(9, 3, COUNT, 0), bust=b, device="cpu") for b in (None, bust))
    assert out(free, clothes) > 0.006
    assert out(held, clothes) < 0.0045


def test_skin_lies_flat_on_the_face(blank: Avatar, pictures: list[TrainingPicture]) -> None:
    """Needles that stand upright would show what they show to whoever looks along them alone."""
    model = blank.head.model
    skin = model.in_regions("face", "nose")[model.faces].all(-1) & ~at_rims(blank.head)
    chosen = (blank.binding < len(skin)) & skin[blank.binding % len(skin)]
    assert chosen.sum() > 50
    outward = quaternion_to_matrix(blank.quaternions)[..., 2]
    needles = blank.log_scales.clone()
    needles[:, 2] = math.log(0.004)
    fitted = optimise(replace(blank, log_scales=needles), pictures, Schedule(9, 3, COUNT, seed=0), device="cpu")
    axes = quaternion_to_matrix(fitted.quaternions) * fitted.log_scales.exp()[:, None]
    stands = (axes * outward[..., None]).sum(1).abs().amax(-1)
    assert stands[chosen].max() < 0.0008
    assert stands[blank.binding >= len(skin)].quantile(0.9) > 0.002


def test_a_close_up_of_the_photo_stays_where_it_is(blank: Avatar, shifted: TrainingPicture) -> None:
    """A view that is out of place is nudged there; the photo and its close-ups are right as they are."""

    def shown(moment: int) -> float:
        """How well the avatar shows, without a nudge, what a second picture of this moment taught it."""
        photo = replace(shifted, trust=torch.zeros(SIZE, SIZE), moment=FRONTAL)
        other = replace(shifted, moment=moment)
        fitted = optimise(blank, [photo, other], Schedule(40, 2, COUNT, seed=0, photos=2), device="cpu")
        return likeness(fitted, [shifted])

    assert shown(FRONTAL) > shown(FRONTAL - 1)


def test_gaussians_that_are_added_reach_as_far_as_those_they_come_of(blank: Avatar, shifted: TrainingPicture) -> None:
    """Hair, which is every fourth, may move far."""
    hair = len(blank.head.model.faces)
    reach = torch.where(blank.binding >= hair, 0.02, 0.001)
    fitted = optimise(blank, [shifted], Schedule(60, 3, COUNT + 400, seed=0), reach=reach, device="cpu")
    assert fitted.count > COUNT + 200
    moved = torch.cdist(fitted.means, blank.means)
    moved = torch.where(fitted.binding[:, None] == blank.binding, moved, torch.inf).amin(1)
    far, near = moved[fitted.binding >= hair], moved[fitted.binding < hair]
    assert far.median() > 0.004
    assert near.quantile(0.9) < 0.002


def test_held_out_pictures_are_not_seen_before_the_judge_has_seen_the_avatar(
    blank: Avatar, pictures: list[TrainingPicture]
) -> None:
    looked: list[int | str] = []

    class Watched:
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> TrainingPicture:
            looked.append(index)
            return pictures[index % 3]

    judged: list[Avatar] = []

    def judge(avatar: Avatar) -> None:
        looked.append("judged")
        judged.append(replace(avatar, sh=avatar.sh.clone(), means=avatar.means.clone()))  # the fit goes on in place

    schedule = Schedule(40, 3, COUNT, seed=0, hold_out=3)
    assert schedule.shown(8) == [2, 3, 5, 6]
    fitted = optimise(blank, Watched(), schedule, device="cpu", judge=judge)
    before, after = looked[: looked.index("judged")], looked[looked.index("judged") + 1 :]
    assert set(before) == {0, 2, 3, 5, 6}
    assert set(after) == {1, 4, 7}
    assert len(judged) == 1
    assert (judged[0].sh != fitted.sh).any()
    assert likeness(judged[0], pictures) > likeness(blank, pictures) + 5


def test_quality_tells_a_good_fit_from_a_bad_one(
    make_avatar: AvatarMaker, blank: Avatar, pictures: list[TrainingPicture]
) -> None:
    truth = make_avatar(COUNT, seed=1)
    with torch.no_grad():
        truth = replace(truth, sh=0.5 * torch.sin(25 * truth.means)[:, None])
    perfect, poor = fit_quality(truth, pictures), fit_quality(blank, pictures)
    assert perfect.pictures == 3
    assert perfect.psnr > 60
    assert perfect.ssim == pytest.approx(1, abs=1e-4)
    assert perfect.alpha_iou == pytest.approx(1)
    assert poor.psnr < 30
    assert poor.ssim < 0.95
    half = TrainingPicture(**{**vars(pictures[0]), "alpha": pictures[0].alpha * (torch.arange(SIZE) < SIZE // 2)})
    assert fit_quality(truth, [half]).alpha_iou == pytest.approx(0.5, abs=0.15)
    distrusted = replace(pictures[0], color=0.3 * pictures[0].color, trust=torch.zeros(SIZE, SIZE))
    assert fit_quality(truth, [distrusted]).psnr > 60


def test_what_is_combed_late_in_the_run_does_not_follow_the_views(
    blank: Avatar, pictures: list[TrainingPicture], tmp_path: Path
) -> None:
    """Also when the run is stopped after it."""
    red = (torch.tensor([1.0, 0.0, 0.0]) - 0.5) / SH_C0
    follows = torch.arange(COUNT) % 3
    schedule = Schedule(60, 3, COUNT, seed=0)
    calls: list[int] = []

    def comb(avatar: Avatar) -> tuple[Avatar, Tensor]:
        calls.append(avatar.count)
        return replace(avatar, sh=torch.where(follows[:, None, None] > 0, red, avatar.sh)), follows

    fitted = optimise(blank, pictures, schedule, reach=uneven_reach(), device="cpu", comb=comb)
    still = (fitted.sh[:, 0] == red).all(-1)
    assert still[follows == Follows.NONE].all()
    changes = (fitted.sh[:, 0] - red)[follows == Follows.PHOTOS]
    assert changes.abs().amax() > 0
    assert (changes.amax(-1) - changes.amin(-1)).amax() < 1e-4  # in shade alone
    assert SH_C0 * changes.abs().amax() < 0.1 / 3  # by a tenth of red's brightness at most: no streaks
    assert not still[follows == Follows.ALL].any()
    same(stopped_and_resumed(blank, pictures, schedule, 55, tmp_path, comb), fitted, 1e-5)
    assert calls == [COUNT, COUNT]
    # Where the photo shows nothing that is believed, what follows photos alone stays as it is.
    unseen = [replace(pictures[0], trust=torch.zeros(SIZE, SIZE)), *pictures[1:]]
    fitted = optimise(blank, unseen, schedule, device="cpu", comb=comb)
    assert (fitted.sh[follows == Follows.PHOTOS] == red).all()
