"""The photo's tones in imagined pictures: what a diffusion model makes of unseen sides drifts to other colors than the photo's.

Nothing is known here of how far a model drifts: what is changed is measured in each picture, kind by kind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatarcli.diffusion.tones.around import Ground
from avatarcli.diffusion.tones.coarse import COARSE, MOST, wide_blur, with_change
from avatarcli.geometry.colors import COLOR_FLOOR, log_colors
from avatarcli.geometry.fill import blur, halved, ramp
from avatarcli.reproject.skin_texture import PhotoView

_DISAGREE = 0.7  # a logarithm: where picture and photo differ by more, they show different things
_FAR = 1 / 8  # of the picture's width: how far beyond what the photo sees its correction goes on
_SOLID = 0.95  # alpha of pixels whose color is the person's alone
_TINT = 0.07  # distance of tints up to which a color may be the skin's in more or less light
_SHADE = (-0.8, -0.4)  # logarithms below the typical skin: darker is no skin beside hair, brighter may be
# Shares of the scalp: whoever has less hair on it is bald; or, with little hair, less that is not of the skin's own color.
_BALD, _STUBBLE, _LITTLE = 0.25, 0.1, 0.5
_RING = 0.04  # of the bare head: more hair than this that stands off it beside the scalp is a ring around a bald crown
_EDGE = 1 / 80  # share of the picture's width: how softly bare skin ends at the hair's edge
_CLOTHLIKE = (0.35, 0.8)  # logarithms: nearer to the picture's clothes than this is no skin, farther may be
_DARK = 0.7  # a logarithm: how much darkness blurs a tint
_FEWEST = 1 / 400  # share of the picture that hair must fill for its color to count
_HAIR_LIKE = 0.7  # a logarithm: how far colors of one head of hair are from its middle
_UNLIKE = (0.3, 0.8)  # logarithms: what is by so much nearer to the hair's color than to the clothes' is none of these
_NAKED = (0.1, 0.4)  # logarithms: what is by so much nearer to skin's color than to any clothes' is bare
_OTHER = (0.4, 0.7)  # logarithms: what is farther off skin's color is no skin, whatever it may be
_HAIRLINE = (0.02, 0.25)  # of the scalp, blurred: there hair may end
_SHADOW = 0.8  # how little it matters that hanging hair is darker
_SHINE = 0.8  # a logarithm: how much brighter than its middle hair may be in the light
_SHADED = 0.6  # a logarithm: how much darker than in the photo skin is to be expected
_TELLING = 0.35  # a logarithm: hair and skin of a picture that are nearer to each other cannot be told apart
# Of each kind: how much darker it is behind than in the photo (London set, photo to profile), as a logarithm; the share of the
# difference that is made good; and the most that it may be.
_HAIR = (0.12, 0.8, 1.1)
_SKIN = (0.15, 0.8, 1.5)
_CLOTH = (0.1, 1.0, 2.0)
_OTHER_CLOTH = (1.2, 1.8)  # by so much darker, a logarithm, clothes are others than those that the photo shows
_CLOTH_TINT = (0.0, 1.0, 2.0)  # darker behind, but of the same tint
# Distances of colors: off the line between clothes and skin up to which one is a mixture of both, and is none; and between clothes
# and skin from where mixtures can be told.
_BESIDE, _APART = (0.12, 0.25), (0.2, 0.4)
_SURE = 0.3  # how sure the color of clothes must be for mixtures to be told
_AROUND_SCALP = (0.02, 0.2)  # of the scalp, blurred: there may be stubble
_CHROMA = 0.8  # how far the tint of unseen skin is brought to the photo's
# Cosines: where the photo's skin turns out of sight, and from where it is seen squarely; share of the surroundings that tells.
_TURNS, _SQUARE, _TOLD = (0.05, 0.25), (0.4, 0.7), 0.03
# Logarithms: skin that turns out of sight is ordinarily darker than typical skin by less, away from the light by more.
_AWAY = (0.25, 0.45)
_ANY_TINT = 4.0  # how far off the tint of skin may be that is nearly black
SKIN_REGIONS = ("face", "nose", "ear", "neck", "lip", "eyelid")


@dataclass(frozen=True)
class Tones:
    """What the photo says of the person's colors. skin [3]: the typical one; bald: whether the scalp is skin too; hair [3]: the
    middle one of what grows there, None where little is seen of it."""

    skin: Tensor
    bald: bool
    hair: Tensor | None = None

    @property
    def bare_regions(self) -> tuple[str, ...]:
        """Regions of the head that are skin unless something covers them."""
        return (*SKIN_REGIONS, "scalp") if self.bald else SKIN_REGIONS

    @classmethod
    def of(cls, photo: PhotoView, head: Tensor, scalp: Tensor, hair: Tensor | None = None) -> Tones:
        """head, scalp [H, W]: 1 where the fitted head shows face, ears or scalp in the photo, and where its scalp alone; hair
        [H, W]: 1 where hair was found in it."""
        color = None
        if hair is None:
            bald = bool((photo.hair_color - photo.skin_color).norm() < 0.08)
        else:
            bald = _shaved(hair, scalp, photo) and not _ringed(hair, head, scalp)
            # Ears and temples between the hair are often labelled as hair.
            sure = (hair > 0.5) & (photo.matte > _SOLID) & ((head < 0.5) | (scalp > 0.5))
            color = middle_color(photo.image[sure], hair.numel())
        if color is None:
            color = hair_in(photo.image, photo.matte, scalp, photo.skin_color)
        return cls(photo.skin_color, bald, color)

    def matched(self, picture: Tensor, hint: Tensor, ground: Ground) -> Tensor:
        """A premultiplied RGBA picture [H, W, 4] in the photo's tones.

        hint [H, W, 5]: the photo carried into this view (premultiplied RGB, visibility, facing ratio); ground: what the fitted
        person has there.
        """
        # Changes are smooth: half the size tells them as well, in a quarter of the time.
        return with_change(picture, self._change(halved(picture), halved(hint), ground.halved()))

    def _change(self, picture: Tensor, hint: Tensor, ground: Ground) -> Tensor:
        """What is added to the logarithms of a picture's colors [H, W, 3]. Arguments as for `matched`."""
        alpha = picture[..., 3:]
        color = picture[..., :3] / alpha.clamp(min=0.02)
        photo = hint[..., :3] / hint[..., 3:4].clamp(min=0.02)
        logs = log_colors(color)
        ratio = log_colors(photo) - logs
        opaque = alpha[..., 0] > _SOLID
        solid = opaque & (hint[..., 3] > _SOLID) & (ratio.abs().amax(-1) < _DISAGREE)
        seen = solid * ramp(hint[..., 4], 0.25, 0.6)
        change, known = _spread(ratio, seen, like_skin(color, self.skin))
        unseen = 1 - known
        change = (known[..., None] * change).clamp(-MOST, MOST)
        found = None if self.bald else hair_in(color, alpha[..., 0], ground.scalp, self.skin)
        own = self._own_cloth(logs, ground, opaque)
        # How high clothes reach was told by the photo's front: behind they end below what is skin, and well below the hair.
        naked = bare_skin(logs, ground.skin, ground.cloth, self.skin, own)
        hairline = ramp(wide_blur(ground.scalp[..., None], logs.shape[1] * COARSE)[..., 0], *_HAIRLINE)
        ground = replace(ground, dressed=ground.dressed * (1 - naked) * (1 - hairline))
        skin = self._bare(logs, ground, own, found)
        turning, told = self._turning(logs + change, photo, hint, ground, opaque)
        # Away from the light skin goes on as it turns out of sight: a typical nape would glow beside a cheek in the dark.
        typical = log_colors(self.skin)
        dark = ramp((typical - turning).mean(-1, keepdim=True), *_AWAY)
        wanted = torch.lerp(typical, turning, told * dark)
        change = change + self._skin_change(logs, skin, wanted, ground, unseen, opaque)
        change = change + self._no_darker(logs + change, turning, told, hint, ground, opaque)
        lock = torch.zeros_like(skin)
        if found is not None:
            hair, lock = (part * (1 - skin) for part in self._hairy(logs, ground, found))
            if self.hair is not None:
                wanted = log_colors(self.hair).expand_as(logs)
                change = change + _toned(logs, wanted, hair, unseen, opaque, _FAR, _HAIR)
        dressed = torch.maximum(ground.dressed, self._collar(logs, ground, own, found))
        cloth = dressed * (1 - skin) * (1 - lock) * opaque
        blotches = self._blotches(logs, ground, cloth * unseen)
        return change + blotches + _cloth_change(logs + blotches, ground.cloth, cloth, unseen, opaque)

    def _bare(self, logs: Tensor, ground: Ground, own: Tensor | None, hair: Tensor | None) -> Tensor:
        """How likely pixels [H, W] on the head's skin regions are bare: of the skin's tint, however dark, and no hair's.

        own [3]: see `_own_cloth`; hair [3]: the color of the picture's hair, if it has any.
        """
        size = logs.shape[1]
        region = blur(ground.skin[..., None], size * _EDGE)[..., 0] * (1 - ground.dressed) * (1 - ground.hairy)
        # In the dark a tint is hardly known.
        dark = (log_colors(self.skin).mean() - logs.mean(-1)).clamp(0, _DARK)
        skin = region * tint_likeness(logs.exp() - COLOR_FLOOR, self.skin, dark.exp())
        if own is not None:
            # What is near to the picture's own clothes is none.
            skin = skin * ramp((logs - own).norm(dim=-1), *_CLOTHLIKE)
        if hair is None:
            return skin
        # A nape well below the hairline is no hair, where the photo has none hanging beside the neck.
        nape = ground.neck * (1 - ramp(wide_blur(ground.scalp[..., None], size * COARSE)[..., 0], *_HAIRLINE))
        way = log_colors(self.skin) - _SHADED - log_colors(hair)
        if way.norm() < _TELLING:
            return skin * nape
        return skin * torch.maximum(ramp((logs - log_colors(hair)) @ way / way.dot(way), 0.4, 0.8), nape)

    def _own_cloth(self, logs: Tensor, ground: Ground, opaque: Tensor) -> Tensor | None:
        """The middle color of the picture's own clothes, as logarithms [3]; None where there are few."""
        dressed = (ground.dressed > 0.9) & (ground.skin < 0.5) & opaque
        dressed &= like_skin(logs.exp() - COLOR_FLOOR, self.skin) < 0.5
        return middle_color(logs[dressed], dressed.numel())

    def _collar(self, logs: Tensor, ground: Ground, own: Tensor | None, hair: Tensor | None) -> Tensor:
        """How likely pixels [H, W] at the neck are clothes, which reach higher behind than the photo shows beside the neck.

        own [3]: see `_own_cloth`; hair [3]: the color of the picture's hair, if it has any. Clothes must be of another color, and
        of another tint than skin's.
        """
        if own is None or (hair is not None and (log_colors(hair) - own).norm() < _CLOTHLIKE[1]):
            return torch.zeros_like(ground.neck)
        alike = 1 - ramp((logs - own).norm(dim=-1), *_CLOTHLIKE)
        near = ramp(wide_blur(ground.neck[..., None], logs.shape[1] * COARSE)[..., 0], 0.02, 0.2)
        return near * alike * (1 - tint_likeness(logs.exp() - COLOR_FLOOR, self.skin))

    def _blotches(self, logs: Tensor, ground: Ground, where: Tensor) -> Tensor:
        """Change of clothes [H, W], as logarithms [H, W, 3], that takes skin out of them: of cloth that it hardly sees in the photo
        a model makes a mixture of both."""
        cloth = ground.cloth[..., :3]
        way = self.skin - cloth
        away = logs.exp() - COLOR_FLOOR - cloth
        length = way.norm(dim=-1, keepdim=True)
        share = (away * way).sum(-1, keepdim=True) / length.square().clamp(min=1e-3)
        beside = (away - share * way).norm(dim=-1, keepdim=True)
        # A shaded cloth is nearer to skin's lightness, but not to its tint: taken for a mixture, white would become blue.
        mixed = share.clamp(0, 1).minimum(_tint_share(logs.exp() - COLOR_FLOOR, cloth, self.skin))
        mixed = mixed * (1 - ramp(beside, *_BESIDE)) * ramp(length, *_APART)
        known = where * ramp(ground.cloth[..., 3], 0.0, _SURE)
        return known[..., None] * (log_colors(cloth) - log_colors(cloth + mixed * way))

    def _hairy(self, logs: Tensor, ground: Ground, found: Tensor) -> tuple[Tensor, Tensor]:
        """How likely pixels [H, W] are hair of the found color [3], on the head or beside it (clothes of its color are farther
        off), and how likely a lock, which may be darker, that hangs on the clothes."""
        off_hair = _off_in_shade(logs, log_colors(found))
        alike, darker = (
            torch.exp(-(off / _HAIR_LIKE).square()) for off in ((logs - log_colors(found)).norm(dim=-1), off_hair)
        )
        # Single strands are farther off than clothes of nearly the hair's color, but nothing that the clothes could be.
        off_cloth = _off_in_shade(logs, log_colors(ground.cloth[..., :3]))
        unlike = ramp(off_cloth - _off_in_shade(logs, log_colors(found), _SHINE), *_UNLIKE) * (ground.cloth[..., 3] > 0)
        near = ramp(wide_blur(ground.scalp[..., None], logs.shape[1] / 10)[..., 0], 0.02, 0.2)
        # On clothes there is hair only where any hangs.
        near = near * torch.maximum(1 - ground.dressed, ground.hanging)
        return alike * torch.maximum(near, ground.hanging), torch.maximum(darker, unlike) * ground.hanging

    def _skin_change(
        self, logs: Tensor, skin: Tensor, wanted: Tensor, ground: Ground, unseen: Tensor, opaque: Tensor
    ) -> Tensor:
        """Change of unseen skin [H, W], as logarithms [H, W, 3]: its tint near by, its light over a wide surrounding.

        wanted [H, W, 3]: the skin's color, as logarithms.
        """
        light = _toned(logs.mean(-1, keepdim=True), wanted.mean(-1, keepdim=True), skin, unseen, opaque, _FAR, _SKIN)
        tint = _toned(
            logs - logs.mean(-1, keepdim=True),
            wanted - wanted.mean(-1, keepdim=True),
            skin * (logs.mean(-1) > log_colors(self.skin).mean() - 1.1),
            unseen,
            opaque,
            COARSE,
            (0.0, _CHROMA, MOST),
        )
        if not self.bald:
            return light + tint
        # A bald scalp and what surrounds it are imagined with stubble that the photo does not show: their light is made good by
        # itself, not with the face's.
        scalp = skin * ramp(wide_blur(ground.scalp[..., None], logs.shape[1] * COARSE)[..., 0], *_AROUND_SCALP)
        own = (logs + light).mean(-1, keepdim=True)
        return light + tint + _toned(own, wanted.mean(-1, keepdim=True), scalp, unseen, opaque, COARSE, _SKIN)

    def _turning(
        self, logs: Tensor, photo: Tensor, hint: Tensor, ground: Ground, opaque: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The skin's color, as logarithms [H, W, 3], that the photo shows where it turns out of sight, and how far that tells of
        the surroundings [H, W, 1]. photo [H, W, 3]: its colors carried here; hint: see `matched`."""
        shown, facing = hint[..., 3] > _SOLID, hint[..., 4]
        turning = ramp(facing, *_TURNS) * (1 - ramp(facing, *_SQUARE)) * shown
        turning = turning * self._anyhow_skin(logs, ground) * opaque * tint_likeness(photo, self.skin, _ANY_TINT)
        lift = ground.lift[..., None]
        layers = torch.cat([log_colors(photo) - lift, torch.ones_like(lift)], dim=-1) * turning[..., None]
        total, share = wide_blur(layers, logs.shape[1] * _FAR).split([3, 1], dim=-1)
        return total / share.clamp(min=1e-3) + lift, ramp(share, 0.0, _TOLD)

    def _anyhow_skin(self, logs: Tensor, ground: Ground) -> Tensor:
        """How likely pixels [H, W] are skin, even if it is nearly black."""
        skin = ground.skin * (1 - ground.dressed) * (1 - ground.hairy)
        return skin * tint_likeness(logs.exp() - COLOR_FLOOR, self.skin, _ANY_TINT)

    def _no_darker(
        self, logs: Tensor, turning: Tensor, told: Tensor, hint: Tensor, ground: Ground, opaque: Tensor
    ) -> Tensor:
        """Change of skin, as logarithms [H, W, 1], that the photo does not see: no darker than where it turns out of sight.

        On the side away from the light a model goes on into the dark, until skin is as dark as hair. Where that side was made
        lighter, so is what the photo does not see of it. turning, told: see `_turning`; hint: see `matched`.
        """
        unseen = told[..., 0] * (1 - ramp(hint[..., 4], *_SQUARE) * (hint[..., 3] > _SOLID))
        light, wanted = (part.mean(-1, keepdim=True) for part in (logs, turning))
        skin = self._anyhow_skin(logs, ground)
        return _toned(light, wanted, skin, unseen, opaque, COARSE, (0.0, 1.0, MOST)).clamp(min=0)


def _shaved(hair: Tensor, scalp: Tensor, photo: PhotoView) -> bool:
    """Whether what was found of hair [H, W] on the scalp [H, W] is next to nothing, or stubble through which skin is seen."""
    found, area = hair * scalp, scalp.sum()
    unlike = found * (1 - like_skin(photo.image, photo.skin_color))
    return bool(found.sum() < _BALD * area or (found.sum() < _LITTLE * area and unlike.sum() < _STUBBLE * area))


def _ringed(hair: Tensor, head: Tensor, scalp: Tensor) -> bool:
    """Whether hair [H, W] stands off a head [H, W] beside its scalp [H, W]: stubble, and outlines taken for hair, do not."""
    above = scalp.amax(-1, keepdim=True).flip(0).cummax(0).values.flip(0)  # rows down to where the scalp ends
    beside = hair * (1 - head) * above
    return bool(beside.sum() > _RING * head.sum())


def tone_error(picture: Tensor, hint: Tensor) -> float:
    """How far a picture's coarse colors are from the photo's where both show the same: mean absolute difference in [0, 1]."""
    alpha = picture[..., 3:]
    seen = ((alpha[..., 0] > _SOLID) & (hint[..., 3] > _SOLID)) * ramp(hint[..., 4], 0.25, 0.6)
    difference = (picture[..., :3] - hint[..., :3]) * seen[..., None]
    layers = blur(torch.cat([difference, seen[..., None]], dim=-1), picture.shape[1] * COARSE)
    coarse = (layers[..., :3] / layers[..., 3:].clamp(min=1e-3)).abs().mean(-1)
    return float((coarse * seen).sum() / seen.sum().clamp(min=1))


def _toned(
    logs: Tensor,
    wanted: Tensor,
    where: Tensor,
    unseen: Tensor,
    opaque: Tensor,
    scale: float,
    kind: tuple[float, float, float],
) -> Tensor:
    """Change [H, W, C] that brings the coarse tone of one kind of surface near to what is wanted [H, W, C].

    where [H, W]: how likely it is that kind; unseen [H, W]: how much a change is wanted; opaque [H, W]: whether the color is the
    person's; scale: a share of the picture's width.
    """
    behind, share, most = kind
    size, channels = logs.shape[1], logs.shape[-1]
    weight = (where * opaque)[..., None]
    layers = wide_blur(torch.cat([(wanted - logs) * weight, weight], dim=-1), size * scale)
    darker = layers[..., :channels] / layers[..., channels:].clamp(min=1e-3)
    # What is no darker than it may be there, and no brighter by as much, is right.
    difference = (darker - behind).clamp(min=0) + (darker + behind).clamp(max=0)
    # The soft outline is changed as what lies inside it, up to where next to nothing of it is left: less would leave a halo.
    soft = blur(torch.cat([weight * unseen[..., None], opaque[..., None].to(weight)], dim=-1), size / 100)
    return share * difference.clamp(-most, most) * soft[..., :1] / soft[..., 1:].clamp(min=0.03)


def _cloth_change(logs: Tensor, cloth: Tensor, where: Tensor, unseen: Tensor, opaque: Tensor) -> Tensor:
    """Change of unseen clothes, as logarithms [H, W, 3]: they may be darker than the photo's, but not of another tint.

    cloth [H, W, 4]: as `Ground` has it. The others are as for `_toned`.
    """
    wanted, unseen = log_colors(cloth[..., :3]), unseen * cloth[..., 3]
    light, light_wanted = (part.mean(-1, keepdim=True) for part in (logs, wanted))
    # Nearly black beside what the photo shows of something light is another part of the clothes: made light, it would glow.
    weight = (where * opaque)[..., None]
    layers = wide_blur(torch.cat([(light_wanted - light) * weight, weight], dim=-1), logs.shape[1] * COARSE)
    where = where * (1 - ramp(layers[..., 0] / layers[..., 1].clamp(min=1e-3), *_OTHER_CLOTH))
    lighter = _toned(light, light_wanted, where, unseen, opaque, COARSE, _CLOTH)
    return lighter + _toned(logs - light, wanted - light_wanted, where, unseen, opaque, COARSE, _CLOTH_TINT)


def _off_in_shade(logs: Tensor, of: Tensor, brighter: float = 0.0) -> Tensor:
    """How far [H, W] logarithms of colors [H, W, 3] are from another's, if being darker, or brighter by so much, matters little."""
    difference = logs - of
    return (difference - _SHADOW * difference.mean(-1, keepdim=True).clamp(max=brighter)).norm(dim=-1)


def bare_skin(logs: Tensor, where: Tensor, cloth: Tensor, skin: Tensor, own: Tensor | None = None) -> Tensor:
    """How likely logarithms of colors [..., 3] are skin [3] rather than clothes, in whatever light: 1 … 0 [...].

    where [...]: where there may be skin; cloth [..., 4]: as `Ground` has it; own [3]: the picture's own clothes, as logarithms,
    where they are known.
    """
    off_cloth = torch.where(cloth[..., 3] > 0, _off_in_shade(logs, log_colors(cloth[..., :3])), torch.inf)
    if own is not None:
        off_cloth = off_cloth.minimum(_off_in_shade(logs, own))
    off_skin = _off_in_shade(logs, log_colors(skin))
    return where * ramp(off_cloth - off_skin, *_NAKED) * (1 - ramp(off_skin, *_OTHER)) * off_cloth.isfinite()


def hair_in(color: Tensor, alpha: Tensor, scalp: Tensor, skin: Tensor) -> Tensor | None:
    """The median color [3] of what covers the scalp in a picture [H, W, 3]; None where that is little."""
    return middle_color(color[(scalp > 0.5) & (alpha > _SOLID) & (like_skin(color, skin) < 0.5)], scalp.numel())


def middle_color(hair: Tensor, of: int) -> Tensor | None:
    """The median [3] of the colors [N, 3] of hair in a picture of so many pixels; None where they are few."""
    return hair.median(0).values if len(hair) > _FEWEST * of else None


def _tint_share(color: Tensor, cloth: Tensor, skin: Tensor) -> Tensor:
    """How much of a skin [3] the tints of colors [H, W, 3] tell to be mixed into a cloth [H, W, 3], in whatever light:
    [H, W, 1] in [0, 1]."""
    bright, dark = (c.sum(-1, keepdim=True).clamp(min=0.05) for c in (cloth, skin))
    own = color / color.sum(-1, keepdim=True).clamp(min=0.05)
    way = skin / dark - cloth / bright
    share = ((own - cloth / bright) * way).sum(-1, keepdim=True) / way.square().sum(-1, keepdim=True).clamp(min=1e-4)
    share = share.clamp(0, 1)
    # The lighter of two things has the greater part in their mixture's tint.
    return share * bright / (share * bright + (1 - share) * dark)


def tint_likeness(color: Tensor, skin: Tensor, wide: Tensor | float = 1.0) -> Tensor:
    """How near the tint of colors [H, W, 3] is to a skin's [3], in whatever light: 1 … 0 [H, W]. wide: how far off it may be."""
    tint = color / color.sum(-1, keepdim=True).clamp(min=0.05) - skin / skin.sum()
    return torch.exp(-(tint.norm(dim=-1) / (_TINT * wide)).square())


def like_skin(color: Tensor, skin: Tensor) -> Tensor:
    """How much colors [H, W, 3] may be a skin [3] in any but very little light: 1 … 0 [H, W]."""
    return tint_likeness(color, skin) * ramp(log_colors(color).mean(-1) - log_colors(skin).mean(), *_SHADE)


def _spread(ratio: Tensor, seen: Tensor, likely: Tensor) -> tuple[Tensor, Tensor]:
    """A coarse picture of logarithms [H, W, 3] known where `seen` [H, W], and how far it is known elsewhere [H, W].

    Skin (`likely` [H, W]) and what is not skin do not tell each other's tones.
    """
    size = ratio.shape[1]
    total = torch.zeros_like(ratio)
    known = torch.zeros_like(seen)
    for share in (likely, 1 - likely):
        weight = (seen * share)[..., None]
        layers = torch.cat([ratio * weight, weight], dim=-1)
        # Near what is seen the tone of that very place, farther off that of the surroundings.
        near, far = wide_blur(layers, size * COARSE), wide_blur(layers, size * _FAR)
        mixed = near + 0.1 * far
        total += share[..., None] * mixed[..., :3] / mixed[..., 3:].clamp(min=1e-4)
        known += share * ramp(far[..., 3], 0.0, 0.15)
    return total, known
