"""A head with striped hair in front and plain hair behind: what is hair, and what combing makes of what no photo sees."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from avatarcli.capture.portrait import Label, Portrait
from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.gaussians.fit_state import Follows
from avatarcli.gaussians.hair import HairPhoto, find_hair, splat_log_colors
from avatarcli.gaussians.strands import HairSurface, comb
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.colors import log_colors
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.geometry.rotations import quaternion_to_matrix
from avatarcli.geometry.space import neighbours
from avatarcli.head.model import PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.head.photo_fit import PhotoFit
from drawing import drawn_on

AvatarMaker = Callable[..., Avatar]
SIZE, COUNT = 160, 6000
SKIN, BROWN = torch.tensor([0.75, 0.55, 0.45]), torch.tensor([0.25, 0.17, 0.1])


@dataclass(frozen=True)
class Person:
    """A fitted avatar, its photo and where the fit started; hairy [G]: whether a Gaussian was painted as hair."""

    avatar: Avatar
    portrait: Portrait
    track: PhotoFit
    hairy: Tensor

    @property
    def photo(self) -> HairPhoto:
        photo = HairPhoto.of(self.portrait, self.track, SIZE)
        assert photo is not None
        return photo

    @property
    def surface(self) -> HairSurface:
        """The photo knows what is before the ears."""
        return HairSurface.of(self.avatar, (self.avatar.means[:, 2] > 0.02).float()[None])

    @property
    def behind(self) -> Tensor:
        """Hair [G] (bool) that the photo does not see, away from where it ends."""
        return self.hairy & (self.avatar.means[:, 2] < 0) & (self.avatar.means[:, 1] > 0.03)

    def combed(self, seed: int = 0) -> tuple[Avatar, Tensor]:
        """The combed avatar, and which Gaussians [G] (bool) do not follow the views any more."""
        avatar, follows = comb(self.avatar, self.photo, self.surface, seed=seed, device="cpu")
        return avatar, follows > Follows.ALL


@pytest.fixture(scope="module")
def person(make_avatar: AvatarMaker, mean_head: PersonalHead) -> Person:
    avatar = make_avatar(COUNT)
    model = mean_head.model
    camera = avatar.framing.cameras(torch.zeros(1), torch.zeros(1), SIZE)[0]
    on_scalp = model.in_regions("scalp")
    hairy = on_scalp[model.faces[avatar.binding % len(model.faces)]].all(-1)
    colors = torch.where(hairy[:, None], BROWN, SKIN)
    raster = rasterize_mesh(mean_head.neutral, model.faces, camera)
    hair = raster.covered & on_scalp[model.faces[raster.face.clamp(min=0)]].all(-1)
    stripes = 0.4 * torch.sin(torch.arange(SIZE) * 2.0).expand(SIZE, SIZE)
    image = torch.where(hair[..., None], BROWN * stripes.exp()[..., None], SKIN)
    labels = torch.where(hair, int(Label.HAIR), int(Label.SKIN)) * raster.covered
    matte, inside = raster.covered.float(), torch.ones(SIZE, SIZE)
    portrait = Portrait(image, image, matte, inside, labels.to(torch.uint8))
    # As small as in a real avatar, which has more of them.
    avatar = replace(avatar, sh=((colors - 0.5) / SH_C0)[:, None], log_scales=avatar.log_scales - math.log(2))
    return Person(avatar, portrait, track_of(mean_head, camera), hairy)


def track_of(head: PersonalHead, camera: Camera) -> PhotoFit:
    rest, (landmarks, _) = HeadParameters.at_rest(), camera.project(head.model.landmarks(head.neutral))
    return PhotoFit(
        camera=camera,
        identity=torch.zeros(head.model.identity_basis.shape[0]),
        residual=torch.zeros_like(head.neutral),
        expression=rest.expression[0],
        gaze=rest.gaze[0],
        landmarks=landmarks,
        scores=torch.zeros(52),
    )


def test_hair_is_what_covers_the_scalp_or_looks_like_it(person: Person) -> None:
    found, share = find_hair(person.avatar, person.photo, person.surface.authority[0])
    is_hair = torch.zeros(COUNT, dtype=torch.bool)
    is_hair[found] = True
    assert (is_hair & person.hairy).sum() > 0.95 * person.hairy.sum()
    assert (is_hair & ~person.hairy).sum() < 0.02 * person.hairy.sum()
    assert ((share > 0.5) & (share <= 1)).all()


def test_a_bald_crown_is_none(person: Person) -> None:
    """Skin of the scalp, which no cover hides, in the color of the face."""
    still = person.avatar.binding >= len(person.avatar.head.model.faces)
    crown = person.hairy & ~still & (person.avatar.means[:, 1] > 0.09)
    painted = replace(person.avatar, sh=torch.where(crown[:, None, None], (SKIN - 0.5) / SH_C0, person.avatar.sh))
    found, _ = find_hair(painted, person.photo, person.surface.authority[0])
    assert crown.sum() > 50
    assert crown[found].sum() < 0.02 * crown.sum()


@pytest.mark.parametrize(("cloth", "told"), [((0.75, 0.03, 0.1), True), ((0.2, 0.14, 0.1), False)])
def test_imagined_hair_over_clothes_is_told_by_its_color(
    person: Person, cloth: tuple[float, float, float], told: bool
) -> None:
    """It hangs lower behind than the photo shows any; over clothes of its own color nobody knows which is which."""
    avatar, model, color = person.avatar, person.avatar.head.model, torch.tensor(cloth)
    torso = model.in_regions("torso")[model.faces[avatar.binding % len(model.faces)]].all(-1)
    cover, behind = avatar.binding >= len(model.faces), avatar.means[:, 2] < -0.02
    lock = torso & cover & behind
    assert lock.sum() > 50
    colors = torch.where(lock[:, None], BROWN, torch.where(torso[:, None], color, 0.5 + SH_C0 * avatar.sh[:, 0]))
    hung = avatar.means - 0.05 * lock[:, None] * torch.tensor([0.0, 0.0, 1.0])
    painted = replace(avatar, means=hung, sh=((colors - 0.5) / SH_C0)[:, None])
    raster = rasterize_mesh(avatar.head.neutral, model.faces, person.track.camera)
    worn = model.shows(raster, "torso") > 0.5
    assert worn.any()
    image = torch.where(worn[..., None], color, person.portrait.photo)
    labels = torch.where(worn, int(Label.CLOTHES), person.portrait.labels).to(torch.uint8)
    photo = HairPhoto.of(replace(person.portrait, photo=image, foreground=image, labels=labels), person.track, SIZE)
    assert photo is not None
    found, _ = find_hair(painted, photo, person.surface.authority[0])
    is_hair = torch.zeros(COUNT, dtype=torch.bool)
    is_hair[found] = True
    assert (is_hair & lock).sum() > 0.5 * lock.sum() if told else not (is_hair & lock).any()
    assert not (is_hair & torso & ~lock).any()


def test_only_unseen_hair_is_combed(person: Person) -> None:
    combed, done = person.combed()
    turned = (combed.quaternions != person.avatar.quaternions).any(1)
    changed = turned | (combed.sh != person.avatar.sh).flatten(1).any(1)
    assert done[person.behind].float().mean() > 0.99
    assert changed[done].all()
    before = person.avatar.means[:, 2] > 0.04
    assert not changed[before].any()
    assert changed[~person.hairy].float().mean() < 0.02
    for name in ("binding", "means", "opacity_logits"):
        assert (getattr(combed, name) == getattr(person.avatar, name)).all()


def test_strands_are_long_and_lie_in_the_surface(person: Person) -> None:
    combed, done = person.combed()
    assert (combed.log_scales[done & person.behind][:, :2].diff(dim=-1) < -math.log(3)).float().mean() > 0.95
    scales = combed.log_scales[done].exp()
    assert scales.amax() < 0.008
    # They cover as much as before.
    was = person.avatar.log_scales[done].exp().sort(-1).values
    torch.testing.assert_close(scales[:, 0] * scales[:, 1], was[:, 1] * was[:, 2])
    along = quaternion_to_matrix(combed.quaternions[done])[..., 0]
    normals = quaternion_to_matrix(person.avatar.quaternions[done])[..., 2]
    assert ((along * normals).sum(-1).abs() < 0.5).float().mean() > 0.95
    # At the back of the head hair falls down.
    back = (person.avatar.means[done, 2] < -0.07) & (person.avatar.means[done, 1] < 0.05)
    assert along[back, 1].mean() < -0.7


def test_strands_do_not_reach_out_over_skin(person: Person) -> None:
    """They are shorter where one of their ends would lie among Gaussians of skin."""
    combed, done = person.combed()
    long = combed.log_scales.amax(1).exp()
    longer = (long > 2 * person.avatar.log_scales.amax(1).exp()) & done
    along = quaternion_to_matrix(combed.quaternions)[..., 0]
    ends = torch.stack([combed.means + 2 * side * long[:, None] * along for side in (-1, 1)], dim=1)
    nearest = neighbours(combed.means, ends.view(-1, 3), 8)[1]
    on_skin = person.hairy[nearest].float().mean(1).view(-1, 2).amin(1) < 0.5
    assert longer.sum() > 500
    assert (on_skin & longer).sum() < 5


def full_haired(person: Person) -> Person:
    """The person with hair three centimetres off the scalp."""
    normals = quaternion_to_matrix(person.avatar.quaternions)[..., 2]
    out = normals * ((person.avatar.means - person.avatar.means.mean(0)) * normals).sum(-1, keepdim=True).sign()
    means = person.avatar.means + 0.03 * out * person.hairy[:, None]
    return replace(person, avatar=replace(person.avatar, means=means))


def test_cropped_hair_has_short_strands_and_plainer_detail(person: Person) -> None:
    """The same hair as it lies on the scalp, and three centimetres off it."""
    ratios, contrasts = [], []
    for one in (person, full_haired(person)):
        combed, done = one.combed()
        where = done & person.behind
        ratios.append(float(-combed.log_scales[where][:, :2].diff(dim=-1).mean()))
        contrasts.append(contrast(combed, where))
    assert ratios[0] < ratios[1] - math.log(1.3)
    assert contrasts[0] < 0.5 * contrasts[1]


def contrast(avatar: Avatar, where: Tensor) -> float:
    return float(splat_log_colors(avatar)[where].mean(-1).std())


def test_the_detail_is_the_photos(person: Person) -> None:
    person = full_haired(person)
    (combed, done), photo = person.combed(), person.photo
    own = float(photo.logs[photo.hair > 0.5].mean(-1).std())
    where = done & person.behind
    assert contrast(person.avatar, where) < 0.01
    assert 0.5 * own < contrast(combed, where) < 2 * own
    # Its color stays the hair's.
    before, after = (splat_log_colors(avatar)[where].mean(0) for avatar in (person.avatar, combed))
    assert (after - before).abs().max() < 0.1


def test_detail_goes_on_along_the_strands(person: Person) -> None:
    """Straight hair: what lies along a strand is more like it than what lies as far aside."""
    combed, done = person.combed()
    where = (done & person.behind).nonzero()[:, 0]
    means, tone = combed.means[where], splat_log_colors(combed)[where].mean(-1)
    flow = quaternion_to_matrix(combed.quaternions[where])[..., 0]
    offset = means[None] - means[:, None]
    distance = offset.norm(dim=-1)
    along = (offset * flow[:, None]).sum(-1).abs() / distance.clamp(min=1e-6)
    near = (distance > 0.001) & (distance < 0.008)
    differs = (tone[None] - tone[:, None]).abs()
    assert differs[near & (along > 0.8)].mean() < 0.85 * differs[near & (along < 0.4)].mean()


def test_unseen_hair_beside_seen_hair_takes_its_tone(person: Person) -> None:
    """Views that imagine the hair behind redder than the photo shows it."""
    behind = person.avatar.means[:, 2] < 0.02
    redder = torch.tensor([1.5, 1.0, 0.8]) * BROWN
    shift = (log_colors(redder) - log_colors(BROWN)).norm()
    painted = (person.hairy & behind)[:, None, None]
    avatar = replace(person.avatar, sh=torch.where(painted, (redder - 0.5) / SH_C0, person.avatar.sh))
    combed, done = replace(person, avatar=avatar).combed()
    depth = 0.02 - avatar.means[:, 2]
    hair = done & person.hairy & (avatar.means[:, 1] > 0.06)

    def off(low: float, high: float) -> float:
        """How far the hair's mean tone is off the photo's, between two distances behind it."""
        where = hair & (depth > low) & (depth < high)
        return float((splat_log_colors(combed)[where].mean(0) - log_colors(BROWN)).norm() / shift)

    assert off(0.0, 0.02) < 0.35
    assert off(0.0, 0.02) < off(0.03, 0.05) < off(0.08, 0.12)
    assert off(0.08, 0.12) > 0.7


@pytest.mark.parametrize(("worn", "told"), [((0.05, 0.7, 0.85), True), ((0.05, 0.05, 0.06), False)])
def test_clothes_that_views_mix_into_hair_go(person: Person, worn: tuple[float, float, float], *, told: bool) -> None:
    """Behind, the lower hair is half of the color of clothes: told by another tint, but black may be shade."""
    low = person.behind & (person.avatar.means[:, 1] < 0.05)
    mixed = 0.5 * BROWN + 0.5 * torch.tensor(worn)
    before = person.hairy & (person.avatar.means[:, 2] > 0.04)
    sh = torch.where((low | before)[:, None, None], ((mixed - 0.5) / SH_C0)[None, None], person.avatar.sh)
    photo = replace(person.photo, worn=log_colors(torch.tensor(worn)), lowest=math.inf)
    avatar, _ = comb(replace(person.avatar, sh=sh), photo, person.surface, seed=0, device="cpu")
    off = (splat_log_colors(avatar)[low].mean(0) - log_colors(BROWN)).norm()
    was = (log_colors(mixed) - log_colors(BROWN)).norm()
    assert bool(off < 0.4 * was) == told
    torch.testing.assert_close(avatar.sh[before], sh[before])  # what the photo sees stays


def test_plain_hair_stays_plain(person: Person) -> None:
    hair = person.portrait.region(Label.HAIR)
    assert hair is not None
    plain = torch.where(hair[..., None] > 0.5, BROWN, SKIN)
    combed, done = replace(person, portrait=replace(person.portrait, foreground=plain)).combed()
    assert contrast(combed, done & person.behind) < 0.02


def test_the_seed_alone_decides(person: Person) -> None:
    first, again, other = (person.combed(seed)[0] for seed in (0, 0, 1))
    for key, value in first._tensors().items():
        assert (value == again._tensors()[key]).all()
    assert (first.sh != other.sh).any()


@pytest.mark.parametrize("label", [Label.SKIN, Label.HAT])
def test_bald_heads_and_hats_have_no_strands(person: Person, label: Label) -> None:
    labels = person.portrait.labels
    assert labels is not None
    covered = torch.where(labels == Label.HAIR, int(label), labels).to(torch.uint8)
    assert HairPhoto.of(replace(person.portrait, labels=covered), person.track, SIZE) is None


def test_a_portrait_without_labels_tells_nothing(person: Person) -> None:
    assert HairPhoto.of(replace(person.portrait, labels=None), person.track, SIZE) is None


def test_combing_draws_on_the_device_of_the_fit(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = drawn_on(monkeypatch)
    comb(person.avatar, person.photo, person.surface, seed=0, device="elsewhere")
    assert devices == ["elsewhere"]
