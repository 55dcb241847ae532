"""The stages of an avatar, and the command that runs them all."""

from __future__ import annotations

import functools
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatarcli import __version__
from avatarcli.config import CreateConfig, DeviceName, Hardware, to_json
from avatarcli.errors import UsageError, WeightsError, WorkspaceError
from avatarcli.progress import Progress
from avatarcli.records import Manifest
from avatarcli.stages.naming import SOURCE, different_photos, owner, photos_hash, workspace_photos
from avatarcli.stages.runner import RunContext, Stage, StageContext, StageResult, run_stage, stage_fingerprint
from avatarcli.workspace import Subject, redo_commands

if TYPE_CHECKING:
    from avatarcli.stages.person import Person

HEAD_MODEL = "head/head.safetensors"
# Settings that concern only one of the generators.
_OF_REPROJECT: tuple[str, ...] = ("reproject_size",)
_OF_MMVDM: tuple[str, ...] = ("size", "weights", "steps", "guidance", "second_look")


def _preprocess(context: StageContext) -> None:
    from avatarcli.capture.photo import check_photo
    from avatarcli.capture.video import is_film

    photos = context.photos
    films = [photo for photo in photos if is_film(photo)]
    if films and len(photos) > 1:
        raise UsageError(f"{films[0]} is a film, which is taken alone: leave out --together, or the film")
    for photo in () if films else photos:
        check_photo(photo)  # before torch is loaded, which takes seconds
    from avatarcli.stages.source import Source

    config, progress, force = context.config.preprocess, context.progress, context.force
    folders = dict.fromkeys(photos, context.out)
    if films:
        from avatarcli.stages.film import preprocess_film

        preprocess_film(films[0], context.out, config, progress, force=force)
    elif len(photos) == 1:
        from avatarcli.stages.preprocess import preprocess_photo

        preprocess_photo(Source.photo(photos[0]), context.out, config, progress, force=force)
    else:
        from avatarcli.stages.photos import preprocess_photos

        sources = [Source.photo(photo) for photo in photos]
        made = preprocess_photos(sources, context.out, config, progress, force=force)
        folders = {source.path: folder for source, folder in made.items()}
    # The workspace keeps the photos, so that later commands need nothing else.
    for photo, folder in folders.items():
        ending = photo.suffix.lower()
        copy = SOURCE + (ending if re.fullmatch(r"\.[a-z0-9]{1,5}", ending) else "")
        shutil.copyfile(photo, folder / copy)


def _person(context: StageContext) -> Person:
    """What preprocessing made, read once for the stages after it."""
    record = context.subject.record("preprocess")
    return _loaded(context.input("preprocess"), "" if record is None else record.content)


@functools.lru_cache(maxsize=1)
def _loaded(preprocess: Path, content: str) -> Person:
    """content: of the folder's files, which may have been made anew."""
    from avatarcli.stages.person import Person

    return Person.load(preprocess)


def _generate(context: StageContext) -> None:
    from avatarcli.stages.generate import generate_views

    generate_views(
        _person(context),
        context.out,
        context.config.generate,
        seed=context.config.seed,
        device=context.device(),
        progress=context.progress,
        hardware=context.hardware,
    )


def _generate_settings(config: CreateConfig) -> dict[str, Any]:
    """What the multi-view video depends on: the generator that `auto` means here, and for mmvdm the model's weights."""
    from avatarcli.weights.models import find_model, generator_of, model_digest

    generate = asdict(config.generate)
    generate |= {"generator": generator_of(config.generate), "seed": config.seed}
    if generate["generator"] == "mmvdm":
        generate["weights"] = model_digest(find_model(config.generate.weights))
    others = _OF_REPROJECT if generate["generator"] == "mmvdm" else _OF_MMVDM
    if not config.generate.second_look:
        others = (*others, "second_look")  # views of versions that knew none are current
    return {name: value for name, value in generate.items() if name not in others}


def _distill(context: StageContext) -> None:
    from avatarcli.stages.distill import distill_avatar

    distill_avatar(
        _person(context),
        context.input("generate"),
        context.out,
        context.config.distill,
        seed=context.config.seed,
        device=context.device(),
        progress=context.progress,
        provenance=_provenance(context),
    )


def _provenance(context: StageContext) -> dict[str, str]:
    """Where an avatar comes from, for its metadata."""
    from avatarcli.multiview.pictures import MultiViewVideo
    from avatarcli.weights import shipped as weights

    names = sorted({name for stage in PIPELINE for name in stage.weights})
    return {
        "avatarcli": __version__,
        "photo_sha256": context.photo_sha256,
        "preset": context.config.preset,
        "generator": MultiViewVideo.load(context.input("generate")).generator,
        "seed": str(context.config.seed),
        "weights": ",".join(f"{name}:{weights.fingerprint(name)[:16]}" for name in names),
    }


PIPELINE: tuple[Stage, ...] = (
    Stage(
        name="preprocess",
        version=10,
        after=(),
        weights=(
            HEAD_MODEL,
            "mediapipe/face_landmarker.task",
            "mediapipe/selfie_segmentation.tflite",
            "mediapipe/hair_segmentation.safetensors",
        ),
        settings=lambda config: asdict(config.preprocess),
        run=_preprocess,
    ),
    Stage(
        name="generate",
        version=13,
        after=("preprocess",),
        weights=(HEAD_MODEL,),
        settings=_generate_settings,
        run=_generate,
    ),
    Stage(
        name="distill",
        version=15,
        after=("preprocess", "generate"),
        weights=(HEAD_MODEL,),
        settings=lambda config: {**asdict(config.distill), "seed": config.seed},
        run=_distill,
    ),
)


@dataclass(frozen=True)
class PipelineResult:
    """What became of one subject."""

    subject: Subject
    stages: tuple[StageResult, ...]
    seconds: float


@dataclass(frozen=True)
class RunOptions:
    """How to run, as opposed to what to make."""

    device: DeviceName
    progress: Progress
    force: bool = False  # redo what is current, take a photo that is not good enough
    wait: bool = True  # for another process that holds the subject
    replace: bool = False  # whether a name may pass from one photo to another
    hardware: Hardware = field(default_factory=Hardware)


def run_pipeline(
    subject: Subject,
    photo: Path | None,
    config: CreateConfig,
    options: RunOptions,
    *,
    further: Sequence[Path] = (),
    only: str | None = None,
    pipeline: Sequence[Stage] = PIPELINE,
) -> PipelineResult:
    """Bring a subject's stages, or only one of them, up to date.

    photo: None takes the workspace's own copies. further: more photos of the same person, in any order. The settings are saved in
    the manifest when the first stage has succeeded, so a photo that shows no face leaves no subject behind.

    Raises:
        UsageError: the subject is of another photo, and `options.replace` is not set.
        AvatarError: one line for the user, see `run_stage`.
    """
    start = time.perf_counter()
    if photo is None:
        manifest = subject.manifest()
        named, sources = [manifest.photo, *manifest.further_photos], workspace_photos(subject)
    else:
        sources = different_photos([photo, *further])
        named = [str(source) for source in sources]
    sha256 = photos_hash(sources)
    if photo is None and sha256 != subject.manifest().photo_sha256:
        raise WorkspaceError(f"the copy of the photo, {sources[0]}, is damaged: run `avatar create` on the photo")
    wanted = [stage for stage in pipeline if only in (None, stage.name)]
    if not subject.workspace.writable() and not options.force:
        # Nothing can be locked, written or remembered; nor need it be, if nothing is left to do.
        current = _all_current(wanted, subject, sha256, config)
        if current:
            options.progress.info(f"{subject.name}: up to date; {subject.workspace.root} is read-only")
            return PipelineResult(subject, current, time.perf_counter() - start)
    run = RunContext(
        subject, sources, sha256, config, _resolver(options), options.progress, options.hardware, options.force
    )
    results = []
    with subject.lock(wait=options.wait, progress=options.progress):
        check_owner(subject, sha256, options)
        for stage in wanted:
            if only is not None:
                _warn_if_stale(stage, subject, sha256, config, options.progress, pipeline)
            result = run_stage(stage, run)
            state = "up to date" if result.cached else f"done in {result.seconds:.1f} s"
            options.progress.info(f"{subject.name}: {stage.name} {state}")
            results.append(result)
            subject.save_manifest(Manifest(subject.name, named[0], sha256, to_json(config), named[1:]))
        _say_what_is_outdated(subject, options.progress, pipeline)
        subject.workspace.remember(subject.name)
    return PipelineResult(subject, tuple(results), time.perf_counter() - start)


def _all_current(
    stages: Sequence[Stage], subject: Subject, sha256: str, config: CreateConfig
) -> tuple[StageResult, ...]:
    """The results of stages that are all up to date; none if any is not."""
    results = []
    for stage in stages:
        start = time.perf_counter()
        try:
            fingerprint = stage_fingerprint(stage, subject, sha256, config)
        except WorkspaceError:
            return ()
        if subject.current(stage.name, fingerprint) is None:
            return ()
        results.append(StageResult(stage.name, fingerprint, time.perf_counter() - start, cached=True))
    return tuple(results)


def check_owner(subject: Subject, sha256: str, options: RunOptions) -> None:
    """Raise UsageError when the subject is of another photo, and `options.replace` is not set."""
    if options.replace or owner(subject) in (None, sha256):
        return
    raise UsageError(
        f"{subject.name} is the avatar of another photo ({subject.manifest().photo}), or of this one before it was edited:"
        " give another name with --subject, or --replace it"
    )


def _say_what_is_outdated(subject: Subject, progress: Progress, pipeline: Sequence[Stage]) -> None:
    redo = [stage.name for stage in pipeline if stage.name in subject.outdated(stage.name)]
    if redo:
        progress.info(f"{subject.name}: {' and '.join(redo)} out of date now: run {redo_commands(subject.name, redo)}")


def _resolver(options: RunOptions) -> Callable[[], str]:
    @functools.cache
    def device() -> str:
        from avatarcli.devices import resolve_device

        return resolve_device(options.device, options.progress)

    return device


def _warn_if_stale(
    stage: Stage, subject: Subject, sha256: str, config: CreateConfig, progress: Progress, pipeline: Sequence[Stage]
) -> None:
    """Say so when a stage is about to read what no longer fits the photo or the settings.

    What does not fit an earlier stage is refused by `run_stage`.
    """
    for earlier in pipeline:
        record = subject.record(earlier.name)
        if earlier.name not in stage.after or record is None or subject.outdated(earlier.name):
            continue
        try:
            fits = record.fingerprint == stage_fingerprint(earlier, subject, sha256, config)
        except (WorkspaceError, WeightsError):
            fits = False
        if not fits:
            progress.warn(f"{earlier.name} is out of date: run `avatar {earlier.name} --subject {subject.name}` first")
