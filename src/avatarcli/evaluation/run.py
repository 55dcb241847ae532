"""Runs every measurement on every subject. What fails is written down with its reason, and the rest goes on."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from avatarcli.capture.identity import cosine_similarity, l2_distance
from avatarcli.capture.landmarks import detect_face
from avatarcli.config import CreateConfig, DeviceName
from avatarcli.datasets.benchmarks import Case, Target
from avatarcli.devices import resolve_device
from avatarcli.errors import AvatarError
from avatarcli.evaluation.behaviour import expression_scores, flicker, reprojection_error, triangulation_error
from avatarcli.evaluation.likeness import likeness
from avatarcli.evaluation.metrics import keypoint_distance
from avatarcli.evaluation.results import Comparison, Report, Result
from avatarcli.evaluation.sitter import Instruments, Sitter, interocular
from avatarcli.evaluation.targets import align
from avatarcli.evaluation.views import compare, perceptual_scores, photo_view, pixel_scores, silhouette_overlap
from avatarcli.files import explain_io_error
from avatarcli.head.face_points import SURFACE_LANDMARKS
from avatarcli.head.parameters import HeadParameters
from avatarcli.pictures import to_bytes
from avatarcli.progress import Progress
from avatarcli.stages.artefacts import AVATAR_FILE
from avatarcli.stages.person import preprocess_folder
from avatarcli.stages.pipeline import PIPELINE, RunOptions, run_pipeline
from avatarcli.workspace import Subject, Workspace

PIXELS, PERCEPTUAL, _FACE = ("psnr", "ssim", "iou"), ("lpips_alex", "lpips_vgg"), ("akd", "l2", "csim")
_LIKENESS = ("identity-front.l2", "identity-35.l2", "identity-front.csim", "identity-35.csim")
_EXPRESSION = ("expression.akd", "expression.response", "expression.scores")
_CONSISTENCY, _LANDMARKS = ("3d.reprojection", "3d.matches"), ("3d.triangulation",)
_FLICKER = ("temporal.flicker",)
COST = ("cost.seconds", "cost.fps", "cost.gaussians", "cost.megabytes")
_TIMED_FRAMES = 12  # of a turn around the head


def evaluate_subjects(subjects: Sequence[Subject], device: DeviceName, progress: Progress) -> Report:
    """Judge avatars that exist by their own photos."""
    computes_on = resolve_device(device, progress)
    report = Report("self", machine(computes_on))
    instruments = Instruments(computes_on)
    with progress.task("eval", len(subjects)) as advance:
        for subject in subjects:
            report.results.append(_judged(subject, (), instruments, computes_on))
            advance(1)
    return report


def evaluate_cases(
    name: str, cases: Sequence[Case], workspace: Workspace, config: CreateConfig, device: DeviceName, progress: Progress
) -> Report:
    """Make the avatar of every case in `workspace`, or take the one there if it is up to date, and judge it."""
    computes_on = resolve_device(device, progress)
    report = Report(name, {**machine(computes_on), "preset": config.preset, "generator": config.generate.generator})
    instruments = Instruments(computes_on)
    options = RunOptions(device, progress, replace=True)
    with progress.task(f"eval {name}", len(cases)) as advance:
        for case in cases:
            result = Result(case.name)
            with written_down(result, metric_keys(case.targets)):
                place = workspace.new_subject(case.name)
                subject = run_pipeline(place, case.photo, config, options, further=case.further).subject
                result = _judged(subject, case.targets, instruments, computes_on)
            report.results.append(result)
            advance(1)
    return report


def metric_keys(targets: Iterable[Target]) -> tuple[str, ...]:
    """Every number that is wanted of a subject with these targets."""
    own = (
        *named("photo", PIXELS + PERCEPTUAL),
        *(_LIKENESS + _EXPRESSION + _CONSISTENCY + _LANDMARKS + _FLICKER + COST),
    )
    return own + tuple(key for target in targets for key in _target_keys(target))


def _target_keys(target: Target) -> tuple[str, ...]:
    return named(target.name, PIXELS + PERCEPTUAL + (_FACE if target.yaw is None else ()))


def named(prefix: str, keys: Iterable[str]) -> tuple[str, ...]:
    """Metric keys of one view."""
    return tuple(f"{prefix}.{key}" for key in keys)


@contextmanager
def written_down(result: Result, keys: tuple[str, ...]) -> Iterator[None]:
    """What fails in the block costs these numbers, with the reason; the other numbers get their turn."""
    try:
        yield
    except AvatarError as error:
        result.fail(keys, str(error))
    except Exception as error:  # a defect, or a full disk: also no reason to lose the rest
        problem = explain_io_error(error) or f"a defect of avatarcli: {type(error).__name__}: {error}"
        result.fail(keys, problem)


def _judged(subject: Subject, targets: Sequence[Target], instruments: Instruments, device: str) -> Result:
    """Everything that is wanted of one subject."""
    result = Result(subject.name)
    with written_down(result, metric_keys(targets)):
        sitter = load_sitter(subject, device)
        result.photo = sitter.photo.portrait.photo
        _own_photo(result, sitter, instruments)
        for target in targets:
            _target(result, sitter, target, instruments)
    return result


def load_sitter(subject: Subject, device: str) -> Sitter:
    """The avatar of a subject whose stages are done. Raises WorkspaceError or OSError."""
    file = subject.whole("distill", AVATAR_FILE)
    records = (subject.record(stage.name) for stage in PIPELINE)
    seconds = sum(record.seconds for record in records if record is not None)
    return Sitter.load(subject.name, preprocess_folder(subject), file, seconds=seconds, device=device)


def _own_photo(result: Result, sitter: Sitter, instruments: Instruments) -> None:
    with written_down(result, named("photo", PIXELS + PERCEPTUAL)):
        comparison, iou = photo_view(sitter)
        _pictures(result, comparison, iou, instruments)
    with written_down(result, _LIKENESS):
        result.record(_LIKENESS, likeness(sitter, instruments))
    with written_down(result, _EXPRESSION):
        result.record(_EXPRESSION, expression_scores(sitter))
    with written_down(result, _CONSISTENCY):
        result.record(_CONSISTENCY, reprojection_error(sitter))
    with written_down(result, _LANDMARKS):
        result.record(_LANDMARKS, (triangulation_error(sitter),))
    with written_down(result, _FLICKER):
        result.record(_FLICKER, (flicker(sitter),))
    with written_down(result, COST):
        result.record(COST, cost(sitter))


def _target(result: Result, sitter: Sitter, target: Target, instruments: Instruments) -> None:
    with written_down(result, _target_keys(target)):
        aligned = align(sitter, target)
        drawn = sitter.draw(aligned.parameters, aligned.camera)
        comparison = compare(target.name, aligned.portrait, drawn, aligned.region)
        iou = silhouette_overlap(aligned.portrait, drawn, aligned.region)
        _pictures(result, comparison, iou, instruments)
        if aligned.face is not None:
            _face(result, target.name, aligned.picture, aligned.face.points, to_bytes(drawn.color), instruments)


def _pictures(result: Result, comparison: Comparison, iou: float, instruments: Instruments) -> None:
    result.comparisons.append(comparison)
    result.record(named(comparison.name, PIXELS), (*pixel_scores(comparison), iou))
    perceptual = named(comparison.name, PERCEPTUAL)
    with written_down(result, perceptual):
        result.record(perceptual, perceptual_scores(comparison, instruments))


def _face(
    result: Result,
    name: str,
    photo: NDArray[np.uint8],
    points: NDArray[np.float32],
    render: NDArray[np.uint8],
    instruments: Instruments,
) -> None:
    """The face in a render against the face in the photo of that view."""
    with written_down(result, named(name, _FACE)):
        seen = detect_face(render).points
        distance = keypoint_distance(seen[:SURFACE_LANDMARKS], points[:SURFACE_LANDMARKS], interocular(points))
        result.record(named(name, _FACE[:1]), (distance,))
        with written_down(result, named(name, _FACE[1:])):
            real, own = instruments.embed(photo, points), instruments.embed(render, seen)
            result.record(named(name, _FACE[1:]), (l2_distance(real, own), cosine_similarity(real, own)))


def cost(sitter: Sitter) -> tuple[float, float, float, float]:
    """Seconds to make, frames/s at 512², Gaussians, megabytes."""
    cameras = sitter.orbit([360.0 * index / _TIMED_FRAMES for index in range(_TIMED_FRAMES)])
    rest = HeadParameters.at_rest()
    sitter.draw(rest, cameras[0])  # what only the first picture pays for
    start = time.perf_counter()
    for index in range(_TIMED_FRAMES):
        sitter.draw(rest, cameras[index])  # copies to the CPU, so the GPU is waited for
    seconds = time.perf_counter() - start
    return sitter.seconds, _TIMED_FRAMES / seconds, float(sitter.avatar.count), sitter.file.stat().st_size / 1e6


def machine(device: str) -> dict[str, str | int]:
    """What a report says of where it was made."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return {"device": device, "device_name": name, "cpu_cores": os.cpu_count() or 1, "torch": torch.__version__}
