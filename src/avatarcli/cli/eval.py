"""`avatar eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatarcli.cli import options
from avatarcli.cli.console import Console, print_error, print_json, print_table
from avatarcli.config import GeneratorName, PresetName, generator_layers, resolve
from avatarcli.datasets.benchmarks import STUDIO, Case, load_benchmark
from avatarcli.errors import ExportError, UsageError, WorkspaceError
from avatarcli.files import write_atomically
from avatarcli.workspace import Subject, Workspace


def register(app: typer.Typer) -> None:
    app.command("eval", epilog="Example: avatar eval --benchmark self --data photos --html report.html")(evaluate)


def evaluate(
    subjects: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SUBJECT",
            help="Whose avatars. Default: all in the workspace.",
            autocompletion=options.subject_names,
        ),
    ] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Make and judge the avatars of a benchmark: self or london (--data), studio (--assets).",
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="FOLDER", help="The benchmark's photos.")] = None,
    assets: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The pack that studio's people are made of.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "--subjects", metavar="N", min=1, help="Only the benchmark's first N people."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="studio: a quarter of the pictures.")] = False,
    generated: Annotated[
        bool, typer.Option("--generated", help="studio: judge also the frames that avatars are distilled from.")
    ] = False,
    preset: Annotated[
        PresetName | None, typer.Option(help="How a benchmark's avatars are made. Default: standard.")
    ] = None,
    config: options.Config = None,
    settings: options.Set = None,
    generator: Annotated[
        GeneratorName | None, typer.Option(help="What imagines their unseen views. Default: auto.")
    ] = None,
    weights: options.Weights = None,
    workspace: options.Workspace = None,
    device: options.Device = "auto",
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a page with pictures side by side, worst first.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure how good avatars are.

    It judges views, likeness, expression, 3D consistency, flicker and cost.
    The benchmark studio renders its people once and keeps them in the user's cache.
    """
    of_studio, of_photos = benchmark == STUDIO, benchmark not in (None, STUDIO)
    if benchmark is None and (data is not None or limit is not None):
        raise UsageError("--data and --limit belong to a benchmark: add --benchmark self or --benchmark london")
    if not of_studio and (assets is not None or quick or generated):
        raise UsageError("--assets, --quick and --generated belong to a benchmark: add --benchmark studio")
    if of_photos and (data is None or subjects):
        raise UsageError("--benchmark wants --data FOLDER, and no subjects: it makes its own")
    if of_studio and (assets is None or data is not None or subjects):
        raise UsageError("--benchmark studio wants --assets FOLDER, and neither --data nor subjects: it makes its own")
    place = Workspace(workspace)
    progress = Console(quiet=quiet)
    layers = [*options.read_layers(config, settings), *generator_layers(generator, weights)]
    tree = options.checked_model(resolve(preset, layers))
    # A benchmark's avatars stay apart from the user's own.
    if benchmark is not None and workspace is None:
        place = Workspace(place.root.with_name(f"{place.root.name}-{benchmark}"))
    people: list[Subject] = []
    cases: list[Case] = []
    # Known before anything slow is loaded.
    if benchmark is None:
        people = [place.subject(name) for name in subjects] if subjects else place.subjects()
        if not people:
            raise WorkspaceError(f"no avatar in {place.root} yet: make one with `avatar create photo.jpg`")
    elif data is not None:
        cases = load_benchmark(benchmark, data, limit)
    from avatarcli.evaluation.results import report_table

    if assets is not None:
        from avatarcli.evaluation.studio import StudioRun, evaluate_studio

        run = StudioRun(limit, quick, generated)
        report = evaluate_studio(run, assets, place, tree, device, progress)
    elif benchmark is not None:
        from avatarcli.evaluation.run import evaluate_cases

        report = evaluate_cases(benchmark, cases, place, tree, device, progress)
    else:
        from avatarcli.evaluation.run import evaluate_subjects

        report = evaluate_subjects(people, device, progress)
    if html is not None:
        from avatarcli.evaluation.html import report_page

        try:
            write_atomically(html, report_page(report).encode())
        except OSError as error:
            raise ExportError(f"cannot write {html}: {error.strerror}") from error
    if json:
        print_json(report.to_json())
    else:
        print_table(report_table(report))
    failures = report.failures()
    for name, reason, keys in failures:
        print_error(f"{name}: {reason} (costs {', '.join(keys) if len(keys) < 6 else f'{len(keys)} numbers'})")
    if failures:
        raise typer.Exit(1)
