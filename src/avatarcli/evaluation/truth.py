"""The static set of the benchmark `studio`: synthetic people whom no model was trained on, seen from all around with known
faces.

Twenty subjects of the studio's split "held_out": their heads, skins and styles of hair are in no training sample. All of
it follows from fixed seeds. Pictures are rendered when they are first asked for and kept in a folder of the user's
cache, one for each state of the pack, so a second run renders nothing; every file is written atomically.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from platformdirs import user_cache_path
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from avatarcli.errors import WorkspaceError
from avatarcli.evaluation.sitter import SIZE
from avatarcli.files import explain_io_error, sha256_file, write_atomically
from avatarcli.head.expressions import NAMED_EXPRESSIONS, expression_vector
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing
from avatarcli.multiview.pictures import MultiViewVideo
from avatarcli.multiview.plan import Plan
from avatarcli.pictures import encode_png
from avatarcli.progress import Progress
from avatarcli.studio.assemble import assemble
from avatarcli.studio.assets import StudioAssets, check_complete
from avatarcli.studio.lights import draw_light
from avatarcli.studio.posing import Poser
from avatarcli.studio.render import composite, render
from avatarcli.studio.scene import Light, RenderMesh
from avatarcli.studio.subject import draw_subject

SUBJECTS, VIEWS = 20, 16
# The fifth is one that a mirrored face gets wrong.
EXPRESSIONS: dict[str, dict[str, float]] = {
    **NAMED_EXPRESSIONS,
    "smirk": {"mouthSmileRight": 0.8, "cheekSquintRight": 0.5, "eyeSquintRight": 0.5, "browInnerUp": 0.3,
              "browOuterUpLeft": 0.8, "jawLeft": 0.3},
}  # fmt: skip

_VERSION = 2  # raise it when the pictures change
_SEED = 2  # its subjects wear each of the held-out families of hair at least twice
_LIGHT = 2000  # the stream of random numbers that lights come from; subjects and training samples use lower ones
_ELEVATIONS = (0.0, 15.0, -10.0)  # degrees, in turn around the circle; the first view, which is the photo's, is level
_PHOTO_SIZE = 1024  # pixels: what `avatar create` works at
_WALL = 0.75  # sRGB: the plain grey behind the person in the photo
# Metres. Wide hair would zoom out to the lower edge of the bust; it leaves the picture instead.
_WIDEST = 0.46
_FACTS, _PHOTO = "truth.safetensors", "photo.png"


class Place(NamedTuple):
    """One picture of a plan."""

    view: int
    frame: int


@dataclass(frozen=True)
class Truth:
    """One person of the set.

    plan: V cameras × the EXPRESSIONS, in the true world; landmarks [F, 478, 3]: where MediaPipe's points truly are,
    metres; photo: the neutral face from the front, before a wall.
    """

    index: int
    name: str
    plan: Plan
    landmarks: Tensor
    photo: Path
    video: MultiViewVideo

    def picture(self, place: Place) -> Tensor:
        """A picture that was rendered before: premultiplied RGBA [S, S, 4] in [0, 1]."""
        return self.video.read_frame(*place)


class TruthSet:
    """The people of one pack of assets. `cache`: where pictures are kept, default a folder of the user's cache.

    Raises AssetsError when the pack is not there, or files of it are missing.
    """

    def __init__(self, assets: Path, device: str, progress: Progress, cache: Path | None = None) -> None:
        check_complete(assets)
        self._folder = assets
        self._device = device
        self._progress = progress
        root = user_cache_path("avatarcli", appauthor=False) / "studio-benchmark" if cache is None else cache
        self.version = f"{_VERSION}-{sha256_file(assets / 'manifest.json')[:12]}"
        self._root = root / self.version
        self._scene = lru_cache(maxsize=1)(self._make_scene)

    def person(self, index: int) -> Truth:
        """The index-th person, with the photo. Raises WorkspaceError when the cache cannot be used."""
        folder = self._root / f"studio-{index:02d}"
        try:
            if not (folder / _FACTS).exists():
                folder.mkdir(parents=True, exist_ok=True)
                scene = self._scene(index)
                write_atomically(folder / _PHOTO, scene.photo())
                write_atomically(folder / _FACTS, scene.facts())
            facts = load((folder / _FACTS).read_bytes())
            x, y, z, span = facts["framing"].tolist()
            framing, landmarks = Framing((x, y, z), span), facts["landmarks"]
        except OSError as error:
            problem = explain_io_error(error) or f"cannot write to {folder}: {error.strerror or error}"
            raise WorkspaceError(problem) from error
        except (SafetensorError, KeyError, ValueError) as error:
            raise WorkspaceError(f"{folder} is damaged ({error}): delete it, it will be made again") from error
        plan = truth_plan(framing)
        video = MultiViewVideo(folder, plan, framing, "studio")
        return Truth(index, folder.name, plan, landmarks, folder / _PHOTO, video)

    def render_missing(self, truth: Truth, places: Sequence[Place]) -> None:
        """Render those of these pictures of a person that are not there yet."""
        video = truth.video
        missing = [place for place in places if not video.frame_path(*place).exists()]
        if not missing:
            return
        with self._progress.task(f"{truth.name}: true pictures", len(missing)) as advance:
            for place in missing:
                video.write_frame(*place, self._scene(truth.index).draw(truth.plan, place))
                advance(1)

    def draw(self, truth: Truth, plan: Plan, place: Place) -> Tensor:
        """The person as another plan's camera sees them: premultiplied RGBA [S, S, 4] in [0, 1]. The plan is in the true
        world. Not kept."""
        return self._scene(truth.index).draw(plan, place)

    @cached_property
    def _assets(self) -> StudioAssets:
        return StudioAssets.load(self._folder)

    def _make_scene(self, index: int) -> _TruthScene:
        number = (_SEED << 32) + index
        subject = draw_subject(self._assets, number, split="held_out")
        mesh, poser = assemble(self._assets, subject, self._device)
        light = draw_light(np.random.default_rng([number, _LIGHT]), float(np.mean(subject.skin.tone)))
        return _TruthScene(mesh, poser, light.to(self._device))


@dataclass(frozen=True)
class _TruthScene:
    """One person in one light."""

    mesh: RenderMesh
    poser: Poser
    light: Light

    def framing(self) -> Framing:
        rest = self.poser(HeadParameters.at_rest().to(self.light.gain.device)).vertices[0].cpu()
        framing = Framing.of(rest)
        return Framing(framing.target, min(framing.span, _WIDEST))

    def draw(self, plan: Plan, place: Place) -> Tensor:
        device = self.light.gain.device
        view, frame = place
        posed = self.poser(plan.parameters[frame : frame + 1].to(device))
        pictures = render(self.mesh, posed, plan.cameras[view : view + 1].to(device), self.light)
        return pictures.rgba[0, 0].clamp(0, 1).cpu()

    def photo(self) -> bytes:
        """A PNG file."""
        plan = truth_plan(self.framing())
        near = replace(plan, cameras=plan.cameras.resized(_PHOTO_SIZE, _PHOTO_SIZE))
        picture = composite(self.draw(near, Place(0, 0)), torch.tensor(_WALL))
        return encode_png(picture)

    def facts(self) -> bytes:
        """A safetensors file with what is known of the person besides the pictures."""
        framing = self.framing()
        device = self.light.gain.device
        landmarks = self.poser.landmarks(truth_plan(framing).parameters.to(device)).cpu()
        tensors = {"landmarks": landmarks.contiguous(), "framing": torch.tensor([*framing.target, framing.span])}
        return save(tensors, {"expressions": json.dumps(list(EXPRESSIONS))})


def truth_plan(framing: Framing) -> Plan:
    """The set's cameras and faces for one person. Eyes look ahead, the neck is at rest."""
    index = torch.arange(VIEWS)
    pitch = torch.deg2rad(torch.tensor([_ELEVATIONS[i % len(_ELEVATIONS)] for i in range(VIEWS)]))
    cameras = framing.cameras(index / VIEWS * 2 * torch.pi, pitch, SIZE)
    rest = HeadParameters.at_rest(len(EXPRESSIONS))
    expression = torch.tensor([expression_vector(weights) for weights in EXPRESSIONS.values()])
    return Plan.full(cameras, HeadParameters(expression, rest.gaze, rest.neck, rest.head_pose))
