"""`avatar create`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarcli.cli import option_groups, options
from avatarcli.cli.console import print_error, print_failure, print_json
from avatarcli.config import CreateConfig, GeneratorName, PresetName, resolve
from avatarcli.errors import AvatarError, UsageError
from avatarcli.workspace import Workspace

if TYPE_CHECKING:
    from avatarcli.stages.batch import Job, Outcome
    from avatarcli.stages.pipeline import PipelineResult, RunOptions


_Generator = Annotated[GeneratorName | None, typer.Option(help="What imagines the unseen views. Default: auto.")]


@dataclass(frozen=True)
class _Making(option_groups.Making):
    preset: Annotated[PresetName | None, typer.Option(help="How much work to put in. Default: standard.")] = None
    generator: _Generator = None


@dataclass(frozen=True)
class _Batch:
    """How many photos are worked on at a time, and where."""

    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="How many photos to work on at a time, each in its own process with its own GPU "
            "(several GPUs: experimental).",
        ),
    ] = None
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Work on this Ray cluster (experimental): host:6379.")
    ] = None

    @property
    def in_turn(self) -> bool:
        """Whether all is done in this process, one photo after another."""
        return self.cluster is None and self.jobs in (None, 1)


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: avatar create photo.jpg --preset draft")(option_groups.flat(create))


def create(
    *,
    photos: Annotated[
        list[Path],
        typer.Argument(
            readable=False,  # whether it can be read is found out photo by photo: one that cannot stops no others
            metavar="PHOTO",
            help="Portraits, or films of somebody turning: each another person, unless --together.",
        ),
    ],
    subject: Annotated[
        str | None,
        typer.Option("--subject", "-s", metavar="NAME", help="Name of the avatar. Default: the (first) file's name."),
    ] = None,
    together: options.Together = False,
    workspace: options.Workspace = None,
    face: Annotated[
        str | None,
        typer.Option(
            metavar="N|largest|left|right",
            help="Whose avatar, of several faces; N counts from the left. Default: largest.",
        ),
    ] = None,
    making: _Making,
    computing: option_groups.Computing,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of everything random. Default: 0.", **options.SEEDS)
    ] = None,
    batch: _Batch,
    replace: options.Replace = False,
    force: options.ForcePhoto = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done for each photo, and do nothing.")
    ] = False,
    no_wait: options.NoWait = False,
    answer: option_groups.Answer,
) -> None:
    """Make an avatar of each photo.

    With --together, all photos make one avatar.
    Work that is up to date is not redone: run the same command again to finish an interrupted batch.
    """
    from avatarcli.stages.batch import Job
    from avatarcli.stages.naming import name_subjects
    from avatarcli.stages.pipeline import RunOptions

    if not batch.in_turn and (computing.gpus or 1) > 1:
        raise UsageError("--jobs and --cluster give each subject one GPU: leave out --gpus")
    if subject is not None and len(photos) > 1 and not together:
        raise UsageError("--subject names one avatar: leave it out, or add --together if all photos show one person")
    tree = resolve(making.preset, [*making.layers(), *options.layers(face=face, seed=seed)])
    tree = options.checked_model(tree)
    place = Workspace(workspace)
    progress = answer.console
    further: tuple[Path, ...] = ()
    if together:
        photos, further = photos[:1], tuple(photos[1:])
    named = (
        name_subjects(place, photos, further=further, replace=replace, progress=progress)
        if subject is None
        else {photos[0]: subject}
    )
    run = RunOptions(
        computing.device, progress, force=force, wait=not no_wait, replace=replace, hardware=computing.hardware
    )
    todo = [Job(photo, place.new_subject(name), further) for photo, name in named.items()]
    if dry_run:
        _foretell(todo, tree, run, json=answer.json)
    elif len(todo) == 1 and batch.cluster is None:
        _create_one(todo[0], tree, run, json=answer.json)
    else:
        _create_all(todo, tree, run, place, batch, json=answer.json)


def _create_all(
    jobs: list[Job], config: CreateConfig, run: RunOptions, place: Workspace, batch: _Batch, *, json: bool
) -> None:
    """Say of each job how it ended, and leave with 1 when one of them failed."""
    ended: dict[Path, Outcome] = {}
    with closing(_outcomes(jobs, config, run, batch)) as outcomes:
        try:
            for outcome in outcomes:
                ended[outcome.job.photo] = outcome
                if outcome.error is not None:
                    photo = str(outcome.job.photo)
                    print_failure(outcome.error, "" if photo in str(outcome.error) else f"{photo}: ")
                elif batch.in_turn and not json and outcome.result is not None:
                    print(_line(outcome.result))
        finally:
            # In the order of the photos, and also what was done before Ctrl-C. Not earlier: while bars are on the screen,
            # stdout goes there too.
            in_order = [ended[job.photo] for job in jobs if job.photo in ended]
            results = [outcome.result for outcome in in_order if outcome.result is not None]
            if results:
                place.remember(results[-1].subject.name)
            failed = [outcome for outcome in in_order if outcome.error is not None]
            _say([] if batch.in_turn and not json else results, failed, json=json)
    if failed:
        listed = ", ".join(str(outcome.job.photo) for outcome in failed)
        print_error(f"{len(failed)} of {len(jobs)} photos failed: {listed}")
        raise typer.Exit(1)


def _outcomes(jobs: list[Job], config: CreateConfig, run: RunOptions, batch: _Batch) -> Generator[Outcome, None, None]:
    """The jobs' outcomes, as they come."""
    from avatarcli.stages.batch import MakeAvatar, run_in_processes, run_in_turn

    work = MakeAvatar(config, run)
    if batch.cluster is not None:
        from avatarcli.stages.cluster import run_on_cluster

        return run_on_cluster(jobs, work, run.progress, address=batch.cluster, at_once=batch.jobs, device=run.device)
    if batch.in_turn:
        return run_in_turn(jobs, work, run.progress)
    return run_in_processes(jobs, work, run.progress, processes=batch.jobs or 1, device=run.device)


def _create_one(job: Job, config: CreateConfig, run: RunOptions, *, json: bool) -> None:
    from avatarcli.stages.batch import Outcome
    from avatarcli.stages.pipeline import run_pipeline

    try:
        result = run_pipeline(job.subject, job.photo, config, run, further=job.further)
    except Exception as error:
        code = print_failure(error)
        if json:
            _say([], [Outcome(job, error=error)], json=True)
        raise typer.Exit(code) from None
    _say([result], [], json=json)


def _foretell(jobs: list[Job], config: CreateConfig, run: RunOptions, *, json: bool) -> None:
    """Say what each job would do."""
    from avatarcli.stages.batch import Outcome
    from avatarcli.stages.dry_run import stages_to_do

    subjects, failed, code = [], [], 0
    for job in jobs:
        try:
            stages = stages_to_do(job, config, run)
        except AvatarError as error:
            code = print_failure(error)
            failed.append(Outcome(job, error=error))
            continue
        subjects.append({"subject": job.subject.name, "photo": str(job.photo), "to_do": list(stages)})
        if not json:
            print(f"{job.subject.name}: {'would run ' + ', '.join(stages) if stages else 'up to date'}")
    if json:
        print_json({"subjects": subjects, "failed": _failures(failed)})
    if failed:
        raise typer.Exit(code if len(jobs) == 1 else 1)


def _failures(failed: list[Outcome]) -> list[dict[str, str]]:
    return [{"photo": str(outcome.job.photo), "error": str(outcome.error)} for outcome in failed]


def _say(results: list[PipelineResult], failed: list[Outcome], *, json: bool) -> None:
    if not json:
        for result in results:
            print(_line(result))
        return
    print_json(
        {
            "subjects": [report(result) for result in results],
            "failed": _failures(failed),
        }
    )


def report(result: PipelineResult) -> dict[str, Any]:
    """A pipeline's result as JSON values."""
    from avatarcli.stages.artefacts import AVATAR_FILE, told_of_photos

    subject = result.subject
    avatar = subject.stage_path("distill") / AVATAR_FILE
    manifest = subject.manifest()
    return {
        "subject": subject.name,
        "folder": str(subject.path),
        "avatar": str(avatar) if avatar.exists() and not subject.outdated("distill") else None,
        "photo": manifest.photo,
        "photo_sha256": manifest.photo_sha256,
        "photos": [manifest.photo, *manifest.further_photos],
        **told_of_photos(subject.stage_path("preprocess")),
        "seconds": round(result.seconds, 3),
        "stages": [
            {
                "stage": stage.stage,
                "cached": stage.cached,
                "seconds": round(stage.seconds, 3),
                "fingerprint": stage.fingerprint,
            }
            for stage in result.stages
        ],
    }


def _line(result: PipelineResult) -> str:
    from avatarcli.stages.artefacts import AVATAR_FILE

    state = "up to date" if all(stage.cached for stage in result.stages) else f"made in {result.seconds:.1f} s"
    return f"{result.subject.name}: {result.subject.stage_path('distill') / AVATAR_FILE} ({state})"
