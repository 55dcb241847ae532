"""`avatar eval`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avatarcli.cli import option_groups, options
from avatarcli.cli.console import print_error, print_json, print_table
from avatarcli.config import CreateConfig, DeviceName, GeneratorName, PresetName, generator_layers, resolve
from avatarcli.datasets.benchmarks import STUDIO, Case, load_benchmark
from avatarcli.errors import ExportError, UsageError, WorkspaceError
from avatarcli.files import write_atomically
from avatarcli.progress import Progress
from avatarcli.workspace import Subject, Workspace

if TYPE_CHECKING:
    from avatarcli.evaluation.results import Report


@dataclass(frozen=True)
class _Benchmark:
    """Which benchmark, and what of it; none judges the avatars that are there."""

    benchmark: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Make and judge the avatars of a benchmark: self or london (--data), studio (--assets).",
        ),
    ] = None
    data: Annotated[Path | None, typer.Option(metavar="FOLDER", help="The benchmark's photos.")] = None
    assets: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The pack that studio's people are made of.")
    ] = None
    limit: Annotated[
        int | None,
        typer.Option("--limit", "--subjects", metavar="N", min=1, help="Only the benchmark's first N people."),
    ] = None
    given: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PHOTO",
            help="london: a photo that avatars are made of too, and not judged by, as profile-left; can be repeated.",
        ),
    ] = None
    quick: Annotated[bool, typer.Option("--quick", help="studio: a quarter of the pictures.")] = False
    generated: Annotated[
        bool, typer.Option("--generated", help="studio: judge also the frames that avatars are distilled from.")
    ] = False

    def check(self, subjects: Sequence[str]) -> None:
        """Raise UsageError for options that do not go together."""
        of_studio, of_photos = self.benchmark == STUDIO, self.benchmark not in (None, STUDIO)
        if self.benchmark is None and (self.data is not None or self.limit is not None):
            raise UsageError("--data and --limit belong to a benchmark: add --benchmark self or --benchmark london")
        if self.given and not of_photos:
            raise UsageError(
                "--given belongs to a benchmark with several photos of each person: add --benchmark london"
            )
        if not of_studio and (self.assets is not None or self.quick or self.generated):
            raise UsageError("--assets, --quick and --generated belong to a benchmark: add --benchmark studio")
        if of_photos and (self.data is None or subjects):
            raise UsageError("--benchmark wants --data FOLDER, and no subjects: it makes its own")
        if of_studio and (self.assets is None or self.data is not None or subjects):
            raise UsageError(
                "--benchmark studio wants --assets FOLDER, and neither --data nor subjects: it makes its own"
            )


@dataclass(frozen=True)
class _Tuning(option_groups.Tuning):
    preset: Annotated[
        PresetName | None, typer.Option(help="How a benchmark's avatars are made. Default: standard.")
    ] = None


def register(app: typer.Typer) -> None:
    app.command("eval", epilog="Example: avatar eval --benchmark self --data photos --html report.html")(
        option_groups.flat(evaluate)
    )


def evaluate(
    *,
    subjects: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SUBJECT",
            help="Whose avatars. Default: all in the workspace.",
            autocompletion=options.subject_names,
        ),
    ] = None,
    of: _Benchmark,
    tuning: _Tuning,
    generator: Annotated[
        GeneratorName | None, typer.Option(help="What imagines their unseen views. Default: auto.")
    ] = None,
    weights: options.Weights = None,
    workspace: options.Workspace = None,
    device: options.Device = "auto",
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a page with pictures side by side, worst first.")
    ] = None,
    answer: option_groups.Answer,
) -> None:
    """Measure how good avatars are.

    It judges views, likeness, expression, 3D consistency, flicker and cost.
    The benchmark studio renders its people once and keeps them in the user's cache.
    """
    of.check(subjects or ())
    place = Workspace(workspace)
    layers = [*tuning.layers(), *generator_layers(generator, weights)]
    tree = options.checked_model(resolve(tuning.preset, layers))
    # A benchmark's avatars stay apart from the user's own.
    if of.benchmark is not None and workspace is None:
        place = Workspace(place.root.with_name(f"{place.root.name}-{of.benchmark}"))
    if of.benchmark is None:
        report = _judge_own(subjects or (), place, device, answer.console)
    else:
        report = _run_benchmark(of, of.benchmark, place, tree, device, answer.console)
    if html is not None:
        from avatarcli.evaluation.html import report_page

        try:
            write_atomically(html, report_page(report).encode())
        except OSError as error:
            raise ExportError(f"cannot write {html}: {error.strerror}") from error
    if answer.json:
        print_json(report.to_json())
    else:
        from avatarcli.evaluation.results import report_table

        print_table(report_table(report))
    failures = report.failures()
    for name, reason, keys in failures:
        lost = ", ".join(keys) if len(keys) < 6 else f"{len(keys)} numbers"
        print_error(f"{name}: {reason} (not measured: {lost})")
    if failures:
        raise typer.Exit(1)


def _judge_own(names: Sequence[str], place: Workspace, device: DeviceName, progress: Progress) -> Report:
    # Known before anything slow is loaded.
    people: list[Subject] = [place.subject(name) for name in names] if names else place.subjects()
    if not people:
        raise WorkspaceError(f"no avatar in {place.root} yet: make one with `avatar create photo.jpg`")
    from avatarcli.evaluation.run import evaluate_subjects

    return evaluate_subjects(people, device, progress)


def _run_benchmark(
    of: _Benchmark, name: str, place: Workspace, config: CreateConfig, device: DeviceName, progress: Progress
) -> Report:
    if of.assets is not None:
        from avatarcli.evaluation.studio import StudioRun, evaluate_studio

        run = StudioRun(of.limit, of.quick, of.generated)
        return evaluate_studio(run, of.assets, place, config, device, progress)
    assert of.data is not None  # one of the two is given
    cases: list[Case] = load_benchmark(name, of.data, of.limit, of.given or ())
    from avatarcli.evaluation.run import evaluate_cases

    report = evaluate_cases(name, cases, place, config, device, progress)
    if of.given:
        report.settings["given"] = ", ".join(of.given)
    return report
