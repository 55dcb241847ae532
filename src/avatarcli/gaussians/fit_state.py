"""What a fit is in the middle of: parameters, their optimiser, and the rules for what may change them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from avatarcli.files import replacing
from avatarcli.gaussians.adam import Adam, Moments
from avatarcli.gaussians.avatar import SH_C0, Avatar, Correctives
from avatarcli.gaussians.bust import Bust
from avatarcli.gaussians.clothes import THICK_CLOTHES, Surface, Witness, dressed, find_strays
from avatarcli.gaussians.color_range import ColorRange
from avatarcli.gaussians.correctives import may_follow
from avatarcli.gaussians.density import Density
from avatarcli.gaussians.objective import Bounds, Shot, Wanted
from avatarcli.gaussians.openings import RIMS, at_edges, at_rims, between_rims, rolled_lids
from avatarcli.gaussians.pictures import FRONTAL, TrainingPicture
from avatarcli.gaussians.rasterize import rasterize
from avatarcli.gaussians.recorder import Recorder
from avatarcli.gaussians.rig import Motion, Rig, on_triangles
from avatarcli.geometry.rotations import quaternion_to_matrix

# Learning rates of Adam, in the unit of the parameter: metres, log, logit, SH coefficient.
_RATES = {
    "means": 6e-4, "quaternions": 6e-3, "log_scales": 2.4e-2, "opacity_logits": 0.12, "sh": 3e-2,
    "basis": 3e-5, "hidden_weight": 1e-3, "hidden_bias": 1e-3, "output_weight": 1e-3, "nudge": 2e-4, "tint": 1e-3,
}  # fmt: skip
_PER_GAUSSIAN = ("means", "quaternions", "log_scales", "opacity_logits", "sh", "basis")
_SHAPE = ("quaternions", "log_scales")
_CLOSED, _PLACE = (*_SHAPE, "opacity_logits"), ("means", "basis")
_NETWORK = ("hidden_weight", "output_weight")
# What is left of the rates at the end of a run. Positions and correctives fall more: late steps should settle detail, not move it.
_SETTLING, _SETTLED, _OTHERS = ("means", "basis", "nudge"), 0.1, 0.3
REACH_OF_SKIN = 0.004  # metres: hair may move, faces may not melt
# Regions whose skin is one layer, and metres that an axis may stand out of it. Standing on edge, Gaussians would show what the
# photo shows only to whoever looks from where it was taken, and others behind them what the views imagine.
_SKIN, _THICK_SKIN = ("face", "nose", *RIMS), 0.0006
_KNOWN = 0.5  # trust from which a photo tells where there is nothing
# Of its brightness, by which a photo may change what is combed. At the outline it shows such hair aslant and mixed with what stands
# behind, and Adam follows the faintest pull as far as a strong one: from aside there would be light streaks and dark blots.
_SHADE = 0.08
# By which lids that open eyes roll up may differ from the color that they began with. Pictures show them in the shadow of their
# fold; unrolled with all of it, they would be bruised.
_FOLD = 0.1


class Follows(IntEnum):
    """Which pictures change a Gaussian: most follow all. What is combed keeps its shape and tint; a photo may change its shade."""

    ALL = 0
    PHOTOS = 1
    NONE = 2


@dataclass
class FitState:
    """Parameters, their optimiser and the statistics for adding Gaussians."""

    fixed: Avatar
    parameters: dict[str, Tensor]
    binding: Tensor
    start: Tensor
    reach: Tensor
    colors: ColorRange
    normal: Tensor
    optimizer: Adam
    density: Density
    follows: Tensor  # [G]: a `Follows` for each
    combed: Tensor  # [G, K, 3]: the colors from which lids and what does not follow all hardly depart

    def __post_init__(self) -> None:
        count = len(self.parameters["nudge"])
        self._rows = torch.eye(count, device=self.start.device)
        self._rows[0] = 0  # the photo is where it is
        self._recorder = Recorder()
        self._rebind()

    def _rebind(self) -> None:
        """Make anew what depends on which Gaussians there are."""
        self._rig, self._motions = Rig.create(self.fixed.head, self.binding), dict[int, Motion]()
        self._recorder.follow(self.parameters, Bounds(self.moving, self.start, self.reach))
        self._in_openings = on_triangles(between_rims(self.fixed.head), self.binding)
        self._at_rims = on_triangles(at_rims(self.fixed.head), self.binding)
        self._at_edges = on_triangles(at_edges(self.fixed.head), self.binding)
        self._dressed = dressed(self.fixed.head, self.binding)
        self._on_lids = on_triangles(rolled_lids(self.fixed.head), self.binding).nonzero()[:, 0]
        self._surfaces = [
            Surface(chosen, self.start[chosen], self.normal[chosen], self.reach[chosen], thick)
            for chosen, thick in (
                (self._dressed.nonzero()[:, 0], THICK_CLOTHES),
                (self._bare_skin().nonzero()[:, 0], _THICK_SKIN),
            )
        ]
        self._allow()

    def _allow(self) -> None:
        """Make anew what depends on which Gaussians there are and on whom they follow. A step waits for none of it on a GPU."""
        every = self.follows == Follows.ALL
        self._every = None if bool(every.all()) else every
        self._allowed = {photo: self._allowance(photo) for photo in (False, True)}
        self._in_bust: Tensor | None = None

    def _allowance(self, photo: bool) -> dict[str, Tensor]:
        """By the names of parameters: 1 where a photo, or else another picture, may change them, 0 elsewhere."""
        free = (self.follows <= (Follows.PHOTOS if photo else Follows.ALL)) & ~self._in_openings
        may = dict.fromkeys(_PER_GAUSSIAN, free)
        # What does not follow all pictures keeps its shape and its tint: one photo alone, where it shows little, would spoil both.
        # Lids and lips turn and stretch as nothing else of a face does: needles that draw their edge at rest would stand out of it
        # as lashes, and what one cannot see through must stay so. The edge itself is the head model's: moved one by one, Gaussians
        # would fray it.
        for keys, chosen in (
            (_SHAPE, self.follows == Follows.ALL),
            (_CLOSED, ~self._at_rims),
            (_PLACE, ~self._at_edges),
        ):
            may |= {key: may[key] & chosen for key in keys}
        allowed = {key: _along(chosen, self.parameters[key]).float() for key, chosen in may.items()}
        model, directions = self.fixed.head.model, self.parameters["basis"].shape[1]
        followed = may_follow(model, self.binding % len(model.faces), directions) & self.moving[:, None]
        # Spelled out: torch takes ten times as long to spread it over each direction.
        allowed["basis"] = (allowed["basis"] * followed[..., None]).expand(-1, -1, 3).contiguous()
        # What is zero in the network is no connection of it.
        return allowed | {key: (self.parameters[key].detach() != 0).float() for key in _NETWORK}

    @classmethod
    def create(cls, avatar: Avatar, reach: Tensor, colors: ColorRange, pictures: int) -> FitState:
        """The beginning of a fit. reach [G], colors: as `optimise` takes them; pictures: how many, each with a nudge and a tint."""
        c = avatar.correctives
        zeros = avatar.means.new_zeros
        tensors = {
            "means": avatar.means, "quaternions": avatar.quaternions, "log_scales": avatar.log_scales,
            "opacity_logits": avatar.opacity_logits, "sh": avatar.sh, "basis": c.basis, "hidden_weight": c.hidden_weight,
            "hidden_bias": c.hidden_bias, "output_weight": c.output_weight,
            "nudge": zeros(pictures, 6), "tint": zeros(pictures, 3),
        }  # fmt: skip
        # In one piece each: kernels read them so, whatever they were cut from.
        parameters = {
            key: value.detach().clone(memory_format=torch.contiguous_format).requires_grad_(True)
            for key, value in tensors.items()
        }
        return cls(
            fixed=avatar,
            parameters=parameters,
            binding=avatar.binding,
            start=avatar.means.clone(),
            reach=reach,
            colors=colors,
            # Starts are discs on a surface; their last axis is its normal.
            normal=quaternion_to_matrix(avatar.quaternions)[..., 2],
            optimizer=Adam(),
            density=Density.empty(avatar.count, avatar.means.device),
            follows=torch.full((avatar.count,), int(Follows.ALL), device=avatar.means.device),
            combed=avatar.sh.clone(),
        )

    @property
    def moving(self) -> Tensor:
        """Which Gaussians [G] follow the expression. Hair and clothes do not, not even by correctives."""
        return self.binding < len(self.fixed.head.model.faces)

    def avatar(self) -> Avatar:
        """The avatar as it is now, on the device of the fit."""
        p = {key: value.detach() for key, value in self.parameters.items()}
        return replace(
            self.fixed,
            binding=self.binding,
            means=p["means"],
            quaternions=functional.normalize(p["quaternions"], dim=-1),
            log_scales=p["log_scales"],
            opacity_logits=p["opacity_logits"],
            sh=p["sh"],
            correctives=Correctives(
                p["hidden_weight"], p["hidden_bias"], p["output_weight"], p["basis"] * self.moving[:, None, None]
            ),
        )

    def loss(self, picture: TrainingPicture, index: int, background: Tensor) -> Tensor:
        """How far one rendered picture is from what it should be before a background [3], plus the regularisers."""
        motion = self._motion(picture)
        row = self._rows[0 if picture.moment == FRONTAL else index]
        shot = Shot(motion.affine, motion.shift, motion.turn, picture.parameters.expression[0], row)
        splats, penalty = self._recorder.pose(shot)
        splats.means.retain_grad()
        drawn = rasterize(*splats, picture.camera)
        self._drawn_means, self._focal = splats.means, picture.camera.K[0, 0]
        wanted = Wanted(picture.color, picture.alpha, picture.trust, background)
        return self._recorder.picture_loss(drawn.color, drawn.alpha, wanted) + penalty

    def _motion(self, picture: TrainingPicture) -> Motion:
        """The Gaussians' motion at the picture's moment; no step changes it, only new Gaussians do."""
        if picture.moment not in self._motions:
            with torch.no_grad():
                self._motions[picture.moment] = self._rig.motion(picture.parameters)
        return self._motions[picture.moment]

    def step(self, loss: Tensor, progress: float, *, photo: bool) -> None:
        """Change the parameters by a picture's loss. progress: share of the run that is done; photo: whether it was a photo's."""
        for parameter in self.parameters.values():
            parameter.grad = None
        loss.backward()
        if self._drawn_means.grad is not None:
            self.density.add(self._drawn_means.grad, self._focal)
        # Adam would follow the faintest pull of a pixel at the lips as far as a strong one.
        for key, allowed in self._allowed[photo].items():
            gradient = self.parameters[key].grad
            if gradient is not None:
                gradient *= allowed
        shade = self.parameters["sh"].grad
        if shade is not None and self._every is not None:
            shade.copy_(torch.where(self._every[:, None, None], shade, shade.mean(-1, keepdim=True)))
        late, other = _SETTLED**progress, 1 - (1 - _OTHERS) * progress
        rates = {key: rate * (late if key in _SETTLING else other) for key, rate in _RATES.items()}
        self.optimizer.step(self.parameters, rates)
        if photo and self._every is not None:
            self._hold_shades(self._every)
        self.colors.hold(self.parameters["sh"], self._every)

    @torch.no_grad()
    def _hold_shades(self, every: Tensor) -> None:
        """Bring what is combed back to nearly its shade. every [G] (bool): what is not, for it follows all pictures."""
        sh = self.parameters["sh"]
        most = _SHADE * (0.5 / SH_C0 + self.combed.mean(-1, keepdim=True)).clamp(min=0)
        held = sh.clamp(self.combed - most, self.combed + most)
        sh.copy_(torch.where(every[:, None, None], sh, held))

    def _bare_skin(self) -> Tensor:
        """Which Gaussians [G] (bool) are of the face's skin, without lids, lips and what grows on it."""
        model = self.fixed.head.model
        skin = on_triangles(model.faces_in(*_SKIN), self.binding) & ~self._at_rims
        return skin & (self.reach <= REACH_OF_SKIN)

    @torch.no_grad()
    def hold_lids(self) -> None:
        """Bring rolled-up lids back to nearly the color that they began with."""
        sh, begun = self.parameters["sh"], self.combed[self._on_lids]
        most = _FOLD / SH_C0
        sh[self._on_lids] = sh[self._on_lids].clamp(begun - most, begun + most)

    def hold_surfaces(self) -> None:
        """Bring clothes back to where they cling, and skin to the face."""
        p = self.parameters
        for surface in self._surfaces:
            surface.hold(p["means"], p["quaternions"], p["log_scales"])

    def hold_in(self, bust: Bust) -> None:
        """Bring back what stands out of a bust. Strands of hair are left as they were combed."""
        p = self.parameters
        if self._in_bust is None:
            low = bust.share(self.start) > 0.5
            self._in_bust = (low & self._dressed & (self.follows == Follows.ALL)).nonzero()[:, 0]
        bust.hold(p["means"], p["quaternions"], p["log_scales"], self._in_bust)

    @torch.no_grad()
    def strays(self, pictures: Iterable[TrainingPicture]) -> Tensor:
        """Which Gaussians [G] (bool) float before the background of photos or of views at rest."""
        p = self.parameters
        witnesses = []
        for picture in pictures:
            if picture.moment > 0:
                continue
            photo = picture.moment < 0
            # A view that yields to the photo about colors yet knows the outline.
            known = picture.trust > _KNOWN if photo else torch.ones_like(picture.trust, dtype=torch.bool)
            means, _, _ = self._motion(picture).place(p["means"], p["quaternions"], p["log_scales"].exp())
            witnesses.append(Witness(picture.camera, picture.alpha, known, means, photo))
        return find_strays(self.fixed.head, self.binding, witnesses)

    def take(self, avatar: Avatar, follows: Tensor) -> None:
        """Go on from a changed avatar of as many Gaussians. follows [G]: a `Follows` for each."""
        avatar, self.follows = avatar.to(str(self.start.device)), follows.to(self.follows)
        self.combed = torch.where((self.follows == Follows.ALL)[:, None, None], self.combed, avatar.sh)
        with torch.no_grad():
            for key in ("means", "quaternions", "log_scales", "opacity_logits", "sh"):
                # In their place: a recorder knows them by it.
                self.parameters[key].copy_(getattr(avatar, key))
        free = self.follows == Follows.ALL
        for key in self.optimizer.moments.keys() & set(_PER_GAUSSIAN):
            moments = self.optimizer.moments[key]
            for memory in (moments.exp_avg, moments.exp_avg_sq):
                memory *= _along(free, memory)
        self._allow()

    def refine(self, limit: int, pictures: Iterable[TrainingPicture]) -> None:
        """Drop Gaussians that show nothing or stand where nothing is, and put new ones where the pictures are still wrong."""
        p = self.parameters
        with torch.no_grad():
            # Nothing is added where nothing may move.
            self.density.pull[self._in_openings | self._at_edges] = 0
            shown = p["opacity_logits"].masked_fill(self.strays(pictures), -torch.inf)
            source, moved = self.density.choose(shown, p["log_scales"], p["quaternions"], limit)
        for key in _PER_GAUSSIAN:
            p[key] = p[key].detach()[source].requires_grad_(True)
        self.optimizer.rearrange(_PER_GAUSSIAN, source)
        with torch.no_grad():
            p["means"] += moved.offset
            p["log_scales"] += moved.log_shrink[:, None]
        self.binding, self.start, self.reach = self.binding[source], self.start[source], self.reach[source]
        self.normal, self.follows = self.normal[source], self.follows[source]
        self.combed, self.colors = self.combed[source], self.colors.part(source)
        self._rebind()
        self.density = Density.empty(len(source), p["means"].device)

    def store(self, path: Path, step: int) -> None:
        """Write a checkpoint from which `restore` goes on with `step`."""
        tensors = {"step": torch.tensor(step), "binding": self.binding, "start": self.start, "reach": self.reach}
        tensors |= {
            "normal": self.normal,
            "follows": self.follows,
            "combed": self.combed,
            **{f"colors.{name}": bound for name, bound in self.colors._asdict().items()},
            "pull": self.density.pull,
            "seen": self.density.seen,
        }
        for key, value in self.parameters.items():
            tensors[key] = value.detach()
        for key, moments in self.optimizer.moments.items():
            tensors |= {f"{key}.{name}": value for name, value in vars(moments).items()}
        with replacing(path) as partial:
            save_file({key: value.cpu().contiguous() for key, value in tensors.items()}, partial)

    def restore(self, path: Path) -> int:
        """Take up a stored state; returns the step to go on with."""
        device = self.binding.device
        tensors = {key: value.to(device) for key, value in load_file(path).items()}
        self.binding, self.start, self.reach = tensors["binding"], tensors["start"], tensors["reach"]
        self.normal, self.follows = tensors["normal"], tensors["follows"]
        self.combed = tensors["combed"]
        self.colors = ColorRange(*(tensors[f"colors.{name}"] for name in ColorRange._fields))
        self.parameters = {key: tensors[key].requires_grad_(True) for key in self.parameters}
        names = [field.name for field in fields(Moments)]
        self.optimizer.moments = {
            key: Moments(*(tensors[f"{key}.{name}"] for name in names))
            for key in self.parameters
            if f"{key}.{names[0]}" in tensors
        }
        self._rebind()
        self.density = Density(tensors["pull"], tensors["seen"])
        return int(tensors["step"])


def _along(chosen: Tensor, values: Tensor) -> Tensor:
    """Of Gaussians [G] (bool) which are chosen, shaped to go with their values [G, ...]."""
    return chosen.view(-1, *(1,) * (values.dim() - 1))
