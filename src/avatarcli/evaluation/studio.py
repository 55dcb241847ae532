"""The benchmark `studio`: avatars of synthetic people, judged all around and in known faces against exact ground truth.

The avatar is made from one photo, the neutral face from the front; everything else of `truth.TruthSet` judges it. The true
cameras stand around the avatar as `alignment.Alignment` says, the true expressions drive it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarcli.arrays import Float64
from avatarcli.capture.identity import cosine_similarity, l2_distance
from avatarcli.capture.landmarks import FaceLandmarks, detect_face
from avatarcli.capture.portrait import Portrait
from avatarcli.config import CreateConfig, DeviceName
from avatarcli.datasets.benchmarks import STUDIO
from avatarcli.devices import resolve_device
from avatarcli.errors import AvatarError, PhotoError
from avatarcli.evaluation.alignment import Alignment, whole_photo
from avatarcli.evaluation.metrics import keypoint_distance, motion_response
from avatarcli.evaluation.results import Comparison, Report, Result
from avatarcli.evaluation.run import COST, PERCEPTUAL, PIXELS, cost, load_sitter, machine, named, written_down
from avatarcli.evaluation.sitter import Instruments, Sitter, interocular
from avatarcli.evaluation.truth import EXPRESSIONS, SUBJECTS, Place, Truth, TruthSet
from avatarcli.evaluation.views import compare, perceptual_scores, pixel_scores, silhouette_overlap
from avatarcli.gaussians.rasterize import Rasterized
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.fill import resized
from avatarcli.head.face_points import SURFACE_LANDMARKS
from avatarcli.multiview.pictures import MultiViewVideo
from avatarcli.multiview.plan import Plan
from avatarcli.pictures import to_bytes
from avatarcli.progress import Progress
from avatarcli.stages.pipeline import RunOptions, run_pipeline
from avatarcli.weights.models import generator_of
from avatarcli.workspace import Workspace

# Degrees of yaw, to either side, from which a bucket begins and at which it ends.
BUCKETS = {"0-30°": (0, 30), "30-60°": (30, 60), "60-120°": (60, 120), "120-180°": (120, 181)}
_FACE_BUCKETS = ("0-30°", "30-60°")  # those where the detector is at ease
_GENERATED = "generated "  # before the buckets of the generate stage's own frames
_DETECTOR = "true "  # before the numbers of faces in the true pictures
_IDENTITY = ("l2", "csim")
_MOTION = ("response", "scores")
_FRONT = 30  # degrees: nearer to the front, landmarks tell expressions
_QUICK_FACE = 60  # degrees: in a quick run, only nearer views show more than the neutral face
_SHOWN = 256  # pixels: side of the pictures that are kept for the page

Draw = Callable[[Place], Rasterized]


@dataclass(frozen=True)
class StudioRun:
    """What to judge.

    people: how many, from the first; None: all; quick: every second true camera, and faces other than the neutral one only
    from the front and its sides; generated: also the frames of the generate stage, which the avatar is distilled from.
    """

    people: int | None = None
    quick: bool = False
    generated: bool = False

    def metric_keys(self) -> tuple[str, ...]:
        """Every number that is wanted of a subject."""
        views = list(BUCKETS)
        if self.generated:
            views += [_GENERATED + name for name in BUCKETS]
        return (
            *(key for name in views for key in named(name, PIXELS + PERCEPTUAL)),
            *(key for name in _FACE_BUCKETS for key in named(name, _IDENTITY)),
            *_face_keys(""),
            *_face_keys(_DETECTOR),
            *COST,
        )

    def places(self, plan: Plan, step: int = 1) -> list[Place]:
        """The pictures of a plan that are judged, of every `step`-th camera, the neutral face first.

        Views that see the face only are left out.
        """
        yaw = yaws(plan.cameras)
        views = range(0, plan.views - plan.crops, step)
        seen = [
            Place(view, frame)
            for view, frame in plan.pictures
            if view in views and (frame == 0 or not self.quick or abs(yaw[view]) < _QUICK_FACE)
        ]
        return sorted(seen, key=lambda place: (place.frame, place.view))


def evaluate_studio(
    run: StudioRun,
    assets: Path,
    workspace: Workspace,
    config: CreateConfig,
    device: DeviceName,
    progress: Progress,
    *,
    cache: Path | None = None,
) -> Report:
    """Make the avatar of every person in `workspace`, or take the one there if it is up to date, and judge it.

    assets, cache: see `TruthSet`.

    Raises:
        AssetsError: the pack is not there, or not whole.
    """
    computes_on = resolve_device(device, progress)
    truths = TruthSet(assets, computes_on, progress, cache)
    made_by = {"preset": config.preset, "generator": generator_of(config.generate), "weights": config.generate.weights}
    settings = {**machine(computes_on), **made_by, "truth": truths.version, "quick": run.quick}
    report = Report(STUDIO, settings)
    instruments = Instruments(computes_on)
    options = RunOptions(device, progress, replace=True)
    people = min(run.people or SUBJECTS, SUBJECTS)
    with progress.task(f"eval {STUDIO}", people) as advance:
        for index in range(people):
            result = Result(f"{STUDIO}-{index:02d}")
            with written_down(result, run.metric_keys()):
                truth = truths.person(index)
                subject = run_pipeline(workspace.new_subject(truth.name), truth.photo, config, options).subject
                sitter = load_sitter(subject, computes_on)
                result.photo = sitter.photo.portrait.resized(_SHOWN).photo
                alignment = _align(truth, sitter)
                judge = Judge(result, run, truths, truth, instruments)
                judge.avatar(sitter, alignment)
                if run.generated:
                    video = MultiViewVideo.load(subject.artefact("generate", "transforms.json").parent)
                    judge.generated(video, alignment.inverse())
                with written_down(result, COST):
                    result.record(COST, cost(sitter))
            report.results.append(result)
            advance(1)
    return report


def yaws(cameras: Camera) -> list[float]:
    """Degrees from the front, to a tenth, positive on the subject's left, of cameras around the head [V]: -179.9 to 180."""
    centre = cameras.centre
    angles = [round(float(v), 1) for v in torch.rad2deg(torch.atan2(centre[:, 0], centre[:, 2]))]
    return [180.0 if angle == -180 else angle + 0.0 for angle in angles]  # no -0 either


def _align(truth: Truth, sitter: Sitter) -> Alignment:
    head = sitter.avatar.head
    fitted_face = head.model.landmarks(head.neutral).cpu()
    return Alignment.of(truth.plan.cameras[0], truth.landmarks[0], whole_photo(sitter.photo, truth.photo), fitted_face)


@dataclass(frozen=True)
class Judge:
    """Writes down how one person's pictures compare with the truth."""

    result: Result
    run: StudioRun
    truths: TruthSet
    truth: Truth
    instruments: Instruments

    def avatar(self, sitter: Sitter, alignment: Alignment) -> None:
        """The avatar; alignment: from the true world to the avatar's."""
        truth, result = self.truth, self.result
        places = self.run.places(truth.plan, 2 if self.run.quick else 1)
        self.truths.render_missing(truth, places)
        cameras = alignment.moved(truth.plan.cameras)

        def draw(place: Place) -> Rasterized:
            return sitter.draw(truth.plan.parameters[place.frame : place.frame + 1], cameras[place.view])

        self.views("", truth.plan, places, truth.picture, draw)
        yaw = yaws(truth.plan.cameras)
        for name in _FACE_BUCKETS:
            with written_down(result, named(name, _IDENTITY)):
                seen = [place for place in places if place.frame == 0 and _bucket(yaw[place.view]) == name]
                result.record(named(name, _IDENTITY), _identity(truth, seen, draw, self.instruments))
        front = sorted({place.view for place in places if abs(yaw[place.view]) < _FRONT})
        self.faces("", front, lambda place: to_bytes(draw(place).color))
        self.faces(_DETECTOR, front, lambda place: to_bytes(_on_white(truth.picture(place))))

    def generated(self, video: MultiViewVideo, back: Alignment) -> None:
        """The frames that the avatar was distilled from, at their own size, against the truth as their cameras see it."""
        true_plan = replace(video.plan, cameras=back.moved(video.plan.cameras))

        def frame(place: Place) -> Rasterized:
            picture = video.read_frame(*place)
            return Rasterized(_on_white(picture), picture[..., 3])

        def true(place: Place) -> Tensor:
            return self.truths.draw(self.truth, true_plan, place)

        self.views(_GENERATED, video.plan, self.run.places(video.plan), true, frame)

    def views(
        self, prefix: str, plan: Plan, places: Sequence[Place], true: Callable[[Place], Tensor], draw: Draw
    ) -> None:
        """Pixels, silhouettes and LPIPS of every bucket: means over its pictures."""
        result, yaw = self.result, yaws(plan.cameras)
        for name in BUCKETS:
            keys = named(prefix + name, PIXELS)
            perceptual = named(prefix + name, PERCEPTUAL)
            with written_down(result, keys + perceptual):
                inside = [place for place in places if _bucket(yaw[place.view]) == name]
                if not inside:
                    raise AvatarError(f"no camera stands {name} from the front")
                seen = [_compared(prefix, place, yaw[place.view], true(place), draw(place)) for place in inside]
                result.record(keys, _mean((*pixel_scores(comparison), iou) for comparison, iou in seen))
                result.comparisons += [
                    _small(*each) for place, each in zip(inside, seen, strict=True) if _shown(place, yaw)
                ]
                with written_down(result, perceptual):
                    scores = (perceptual_scores(comparison, self.instruments) for comparison, _ in seen)
                    result.record(perceptual, _mean(scores))

    def faces(self, prefix: str, views: Sequence[int], picture: Callable[[Place], NDArray[np.uint8]]) -> None:
        """Faces that are found in pictures against the known parameters: landmarks, how far they move, ARKit scores.

        The coefficients are the detector's, less its answer to the neutral face. What it gets wrong in the true pictures it
        gets wrong in the avatar's as well, so these have numbers too: the best that an avatar can have.
        """
        truth = self.truth
        with written_down(self.result, _face_keys(prefix)):
            asked, found, scores = [], [], []
            for view in views:
                camera = truth.plan.cameras[view]
                asked.append(camera.project(truth.landmarks)[0].double().numpy())
                faces = [_found(picture(Place(view, frame)), name) for frame, name in enumerate(EXPRESSIONS)]
                found.append(np.stack([face.points.astype(np.float64) for face in faces]))
                scores.append(np.stack([face.scores for face in faces]))
            unit = [interocular(points[0]) for points in asked]
            # [V, F, points, 2]
            known, seen = (np.stack(points)[:, :, :SURFACE_LANDMARKS] for points in (asked, found))
            driven = truth.plan.parameters.expression.numpy()[1:]
            distances = [
                np.mean([keypoint_distance(a[frame], b[frame], u) for a, b, u in zip(seen, known, unit, strict=True)])
                for frame in range(len(EXPRESSIONS))
            ]
            change = np.stack(scores)[:, 1:] - np.stack(scores)[:, :1]
            error = np.abs(change - driven)[:, driven > 0].mean()
            response = motion_response(_moved(seen), _moved(known))
            self.result.record(_face_keys(prefix), (*map(float, distances), response, float(error)))


def _compared(prefix: str, place: Place, yaw: float, true: Tensor, drawn: Rasterized) -> tuple[Comparison, float]:
    """Both pictures, and the overlap of their silhouettes. true [S, S, 4]: premultiplied RGBA."""
    alpha = true[..., 3]
    everywhere = torch.ones_like(alpha)
    # Both on white, so that soft edges are alike in both.
    picture = _on_white(true)
    portrait = Portrait(picture, picture, alpha, everywhere)
    face = list(EXPRESSIONS)[place.frame] if not prefix else f"frame {place.frame}"
    comparison = compare(f"{prefix}{face} {yaw:.0f}°", portrait, drawn, everywhere)
    return comparison, silhouette_overlap(portrait, drawn, everywhere)


def _identity(truth: Truth, places: Sequence[Place], draw: Draw, instruments: Instruments) -> tuple[float, ...]:
    """L2 distance and CSIM of the faces in true pictures and in the avatar's, mean over views."""

    def pair(place: Place) -> tuple[float, float]:
        pictures = {"true picture": to_bytes(_on_white(truth.picture(place))), "avatar": to_bytes(draw(place).color)}
        faces = [instruments.embed(picture, _found(picture, name).points) for name, picture in pictures.items()]
        return l2_distance(*faces), cosine_similarity(*faces)

    return _mean(pair(place) for place in places)


def _face_keys(prefix: str) -> tuple[str, ...]:
    return (*(f"{prefix}{name}.akd" for name in EXPRESSIONS), *named(f"{prefix}expression", _MOTION))


def _found(picture: NDArray[np.uint8], name: str) -> FaceLandmarks:
    """The face in a picture; `name` says which one it was when there is none."""
    try:
        return detect_face(picture)
    except PhotoError as error:
        raise PhotoError(f"{name}: {error}") from error


def _moved(points: Float64) -> Float64:
    """Displacements from the neutral face: of [V, F, N, 2], all but the first."""
    return (points[:, 1:] - points[:, :1]).reshape(-1, *points.shape[2:])


def _bucket(yaw: float) -> str:
    return next(name for name, (low, high) in BUCKETS.items() if low <= abs(yaw) < high)


def _shown(place: Place, yaw: Sequence[float]) -> bool:
    """Every 45° of the neutral face, and the other faces from the front."""
    return yaw[place.view] % 45 == 0 if place.frame == 0 else yaw[place.view] == 0


def _small(comparison: Comparison, iou: float) -> Comparison:
    """What the page shows of a comparison: a full-size picture of each would fill the memory."""
    psnr, ssim = pixel_scores(comparison)
    pictures = torch.cat([comparison.truth, comparison.render, comparison.mask[..., None]], dim=-1)
    small = resized(pictures, _SHOWN, _SHOWN)
    numbers = f"psnr {psnr:.2f}, ssim {ssim:.3f}, iou {iou:.3f}"
    return Comparison(comparison.name, small[..., :3], small[..., 3:6], small[..., 6], numbers)


def _on_white(rgba: Tensor) -> Tensor:
    """Premultiplied RGBA [S, S, 4] on white [S, S, 3]."""
    return rgba[..., :3] + (1 - rgba[..., 3:])


def _mean(rows: Iterable[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.mean(list(rows), axis=0))
