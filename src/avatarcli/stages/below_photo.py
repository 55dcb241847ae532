"""What is worn below the lower border of a photo, as far down as pictures of a bust reach.

What is cut off there the views imagine, each by itself: of their ties and lapels an avatar would make a fog. So the view that
looks from where the photo does goes on for it, and has the photo's word against the others.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.capture.photo import photo_window
from avatarcli.capture.portrait import Label, Portrait
from avatarcli.gaussians.pictures import TrainingPicture
from avatarcli.gaussians.start import Start
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.fill import blur, ramp, spread_nearest
from avatarcli.multiview.pictures import MultiViewVideo
from avatarcli.reproject.skin_texture import without_skin
from avatarcli.stages.shown_clothes import seen_at

# Shares of a photo's width: how much of its lower border tells what is worn there; and how much softer that gets, row by row.
_EDGE, _SPREAD = 1 / 60, 0.15
INSIDE = 0.5  # of a pixel at the photo's border that lies in the photo, from which on it counts
# Of the height of clothes that a photo shows above its border: as far down it is believed wholly, and not at all. A neckline does
# not tell what is worn below it: collars, beads and folds would become stripes.
_GUESSED = (0.5, 1.0)
_JOINED = (0.0, 0.06)  # shares of the photo's width below its border, over which what the view shows takes over
# Where hair crosses the border, views mix it with clothes: so far beside it (of the photo's width) they are not asked, and from
# which share of hair around.
_BESIDE_HAIR, _SOME = 1 / 20, (0.02, 0.2)


def view_nearest(photo: TrainingPicture, video: MultiViewVideo) -> TrainingPicture:
    """The view of the whole head at rest that looks most nearly from where the photo does."""
    plan = video.plan
    rest = plan.parameters[0:1]
    theirs = rest.in_head(plan.cameras[: plan.views - plan.crops].centre)
    ours = photo.parameters.in_head(photo.camera.centre)
    view = int((functional.normalize(theirs, dim=-1) @ functional.normalize(ours, dim=-1)).argmax())
    picture = video.read_frame(view, 0)
    alpha = picture[..., 3]
    return TrainingPicture(plan.cameras[view], rest, 0, picture[..., :3], alpha, torch.ones_like(alpha))


def continued_below(photo: TrainingPicture, portrait: Portrait, start: Start, view: TrainingPicture) -> TrainingPicture:
    """The photo with what is worn at its lower border going on as a view shows it, as far as pictures of a bust reach.

    Next to the border, beside hair, and where the view shows nothing, it goes straight down. portrait: the photo's, at any size.
    Where its labels show no clothes, or are not known, nothing is continued.
    """
    width, framing = photo.camera.width, start.avatar.framing
    portrait = portrait.resized(width)
    border = photo_window((portrait.inside > INSIDE).numpy())[0].stop
    clothes = portrait.region(Label.CLOTHES)
    framed = start.avatar.means[:, 1] > framing.target[1] - framing.span / 2
    lowest = photo.camera.project(start.splats(photo.parameters).means[framed])[0][:, 1].amax()
    height = max(width, min(math.ceil(float(lowest)), 2 * width))
    if clothes is None or height <= border:
        return photo
    skin = portrait.foreground[portrait.labels == Label.SKIN]
    if len(skin):
        clothes = without_skin(clothes, portrait.foreground, skin.median(0).values)
    # Single rows show threads and the photo's own border.
    edge = slice(max(border - round(_EDGE * width), 0), border)
    known = clothes * photo.trust
    worn, shown = blur(torch.stack([known[edge].mean(0), known[:border].sum(0)], dim=-1)[None], _EDGE * width)[
        0
    ].unbind(-1)
    hair = portrait.region(Label.HAIR)
    assert hair is not None  # nor would clothes be known
    beside_hair = ramp(blur(hair[edge].mean(0)[None, :, None], _BESIDE_HAIR * width)[0, :, 0], *_SOME)
    layers = torch.cat([photo.color, photo.alpha[..., None]], dim=-1)
    layers = torch.cat([layers[:border], layers.new_zeros(height - border, width, 4)])
    layers[border - 1] = layers[edge].mean(0)
    above = (torch.arange(height) < border)[:, None].expand(height, width)
    layers = spread_nearest(layers, above, _SPREAD)
    layers[:border] = torch.cat([photo.color, photo.alpha[..., None]], dim=-1)[:border]
    down = torch.arange(height - border)[:, None]
    camera = replace(photo.camera, height=height)
    seen, sure = _carried(view, start, photo, camera.cropped(0, border, width, height - border))
    sure = sure * (1 - beside_hair)
    layers[border:] = torch.lerp(layers[border:], seen, (sure * ramp(down / width, *_JOINED))[..., None])
    believed = torch.maximum(1 - ramp(down / shown.clamp(min=1), *_GUESSED), sure)
    return replace(
        photo,
        camera=camera,
        color=layers[..., :3],
        alpha=layers[..., 3],
        trust=torch.cat([photo.trust[:border], ramp(worn, 0.5, 0.9) * believed]),
    )


def _carried(view: TrainingPicture, start: Start, photo: TrainingPicture, camera: Camera) -> tuple[Tensor, Tensor]:
    """A view as the photo's camera, or a part of it, would see it: premultiplied RGBA [H, W, 4], and how surely it shows clothes
    there [H, W]."""
    rows, columns = torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5
    pixels = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).flatten(0, 1)
    points = camera.unproject(pixels, start.depth(photo.parameters, camera).flatten())
    points = view.parameters.placed(photo.parameters.in_head(points)[None])[0]
    rgba, sure = seen_at(view, points, start.depth(view.parameters, view.camera))
    return rgba.view(camera.height, camera.width, 4), sure.view(camera.height, camera.width)
