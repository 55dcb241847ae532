"""`avatar bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatarcli.cli import options
from avatarcli.cli.console import Console, print_json, print_table
from avatarcli.config import PRESETS, PresetName
from avatarcli.errors import UsageError


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: avatar bench examples/astronaut.png --preset draft")(bench)


def bench(
    photo: Annotated[Path, typer.Argument(readable=False, metavar="PHOTO", help="The portrait to measure with.")],
    preset: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"{', '.join(PRESETS)}; repeatable. Default: draft and standard."),
    ] = None,
    device: options.Device = "auto",
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure time per stage, peak memory, start-up and rendering."""
    import tempfile

    from avatarcli.capture.photo import check_photo
    from avatarcli.evaluation.bench import bench_table, peers_table, run_bench

    presets: list[PresetName] = [name for name in PRESETS if name in (preset or ("draft", "standard"))]
    if unknown := set(preset or ()) - set(PRESETS):
        raise UsageError(f"--preset {unknown.pop()}: choose from {', '.join(PRESETS)}")
    check_photo(photo)
    with tempfile.TemporaryDirectory(prefix="avatar-bench-") as work:
        results = run_bench(photo, Path(work), presets=presets, device=device, progress=Console(quiet=quiet))
    if json:
        print_json(results)
        return
    print_table(bench_table(results))
    print()
    print_table(peers_table())
    print(f"\n`avatar --help`: {results['help_seconds']:.2f} s; {results['machine']['cpu_cores']} CPU cores")
