"""Runs a stage: skips it when it is current, resumes it when it was killed, and never leaves half of it behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatarcli.config import CreateConfig, Hardware
from avatarcli.errors import AvatarError, DeviceError, WorkspaceError
from avatarcli.files import explain_io_error
from avatarcli.progress import Progress
from avatarcli.records import fingerprint_of
from avatarcli.system import MissingLibraryError, library_problem
from avatarcli.workspace import Subject, redo_commands


@dataclass(frozen=True)
class RunContext:
    """What all stages of a run get to work with."""

    subject: Subject
    photos: Sequence[Path]  # of one person; only the first stage reads them
    photo_sha256: str  # of all of them
    config: CreateConfig
    device: Callable[[], str]  # asked only by stages that need one: the answer imports torch
    progress: Progress
    hardware: Hardware
    force: bool  # the user insists: redo, and take what would be refused


@dataclass(frozen=True)
class StageContext(RunContext):
    """What one stage gets to work with. out: where to write; holds what an earlier, killed run for the same fingerprint left."""

    out: Path

    def input(self, stage: str) -> Path:
        """The folder of an earlier stage."""
        return self.subject.stage_path(stage)


@dataclass(frozen=True)
class Stage:
    """A step of the pipeline as the runner sees it."""

    name: str
    version: int  # raise it when the same inputs give another result
    after: tuple[str, ...]  # stages whose files it reads; none: it reads the photo
    weights: tuple[str, ...]  # files under weights/ that shape its result
    settings: Callable[[CreateConfig], dict[str, Any]]  # the part of the config that it reads, as JSON values
    run: Callable[[StageContext], None]


@dataclass(frozen=True)
class StageResult:
    """How a stage ended."""

    stage: str
    fingerprint: str
    seconds: float  # of this command: nearly nothing when cached
    cached: bool


def stage_fingerprint(stage: Stage, subject: Subject, photo_sha256: str, config: CreateConfig) -> str:
    """The hash of everything that decides what the stage writes.

    Raises:
        WorkspaceError: an earlier stage has not been run.
        WeightsError: the weights it loads are not there.
    """
    from avatarcli.weights import shipped as weights

    inputs = _inputs(stage, subject)
    return fingerprint_of(
        {
            "stage": stage.name,
            "version": stage.version,
            "settings": stage.settings(config),
            "weights": {name: weights.fingerprint(name) for name in stage.weights},
            "inputs": inputs or {"photo": photo_sha256},
        }
    )


def _inputs(stage: Stage, subject: Subject) -> dict[str, str]:
    """The `content` of every earlier stage that a stage reads. Raises WorkspaceError when one has not been run."""
    inputs = {}
    for name in stage.after:
        record = subject.record(name)
        if record is None:
            raise WorkspaceError(
                f"{subject.name} has no {name} yet: run `avatar {name} --subject {subject.name}` first"
            )
        inputs[name] = record.content
    return inputs


def run_stage(stage: Stage, run: RunContext) -> StageResult:
    """Bring one stage up to date. Call it under the subject's lock.

    A stage that fails leaves nothing behind; one that is killed leaves its working folder for the next run.

    Raises:
        AvatarError: an input is missing, damaged or out of date, or the stage cannot do its work.
    """
    start, subject = time.perf_counter(), run.subject
    for name in stage.after:
        if redo := subject.outdated(name):
            raise WorkspaceError(
                f"{subject.name}'s {name} is out of date: run {redo_commands(subject.name, redo)} first"
            )
        damaged = subject.damaged_file(name) if subject.record(name) else None
        if damaged is not None:
            raise WorkspaceError(
                f"{subject.stage_path(name) / damaged} is damaged: run `avatar {name} --subject {subject.name}`"
            )
    fingerprint = stage_fingerprint(stage, subject, run.photo_sha256, run.config)
    if run.force:
        subject.abandon(stage.name)
    elif subject.current(stage.name, fingerprint) is not None:
        return StageResult(stage.name, fingerprint, time.perf_counter() - start, cached=True)
    try:
        out = subject.begin(stage.name, fingerprint)
        stage.run(StageContext(**vars(run), out=out))
        seconds = time.perf_counter() - start
        subject.commit(stage.name, fingerprint, seconds, _inputs(stage, subject))
    except Exception as error:
        mendable = _mendable(error, subject.path)
        subject.abandon(stage.name)
        if mendable is None:
            raise
        raise mendable from error
    return StageResult(stage.name, fingerprint, seconds, cached=False)


def _mendable(error: Exception, place: Path) -> AvatarError | None:
    """The failure as one the user can mend, where libraries raise types of their own."""
    if isinstance(error, AvatarError):
        return None  # it is one already
    if (problem := library_problem(error)) is not None:
        return MissingLibraryError(problem)
    if (problem := explain_io_error(error, place)) is not None:
        return WorkspaceError(problem)
    # torch.OutOfMemoryError by name: this module does not import torch.
    if type(error).__name__ == "OutOfMemoryError":
        return DeviceError("the GPU ran out of memory: close other programs, use a smaller --preset or --device cpu")
    if isinstance(error, MemoryError):
        return DeviceError("out of memory: close other programs or use --preset draft")
    return None
