"""`avatar eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatarcli.cli import options
from avatarcli.cli.console import Console, print_error, print_json, print_table
from avatarcli.config import PresetName, resolve
from avatarcli.errors import ExportError, UsageError
from avatarcli.files import write_atomically
from avatarcli.workspace import Workspace


def register(app: typer.Typer) -> None:
    app.command("eval", epilog="Example: avatar eval --benchmark self --data photos --html report.html")(evaluate)


def evaluate(
    subjects: Annotated[
        list[str] | None, typer.Argument(metavar="[SUBJECT...]", help="Whose avatars. Default: all in the workspace.")
    ] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Make and judge the avatars of a benchmark: self or london. Needs --data."),
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="FOLDER", help="The benchmark's photos.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the benchmark's first N people.")] = None,
    preset: Annotated[PresetName, typer.Option(help="How a benchmark's avatars are made.")] = "standard",
    workspace: options.Workspace = None,
    device: options.Device = "auto",
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a page with pictures side by side, worst first.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Say how good avatars are: views, likeness, expression, 3D consistency, flicker, cost."""
    if benchmark is None and (data is not None or limit is not None):
        raise UsageError("--data and --limit belong to a benchmark: add --benchmark self or --benchmark london")
    if benchmark is not None and (data is None or subjects):
        raise UsageError("--benchmark wants --data FOLDER, and no subjects: it makes its own")
    place = Workspace(workspace)
    from avatarcli.evaluation.benchmarks import load_benchmark
    from avatarcli.evaluation.results import report_table
    from avatarcli.evaluation.run import evaluate_cases, evaluate_subjects

    progress = Console(quiet=quiet)
    if benchmark is None or data is None:
        people = [place.subject(name) for name in subjects] if subjects else place.subjects()
        if not people:
            raise UsageError(f"there are no avatars in {place.root}: make one with `avatar create photo.jpg`")
        report = evaluate_subjects(people, device, progress)
    else:
        cases = load_benchmark(benchmark, data, limit)
        # A benchmark's avatars stay apart from the user's own.
        if workspace is None:
            place = Workspace(place.root.with_name(f"{place.root.name}-{benchmark}"))
        config = resolve(preset, generator="auto", seed=0)
        report = evaluate_cases(benchmark, cases, place, config, device, progress)
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
