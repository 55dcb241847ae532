"""`avatar weights list` and `avatar weights verify`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from avatarcli.cli import options
from avatarcli.cli.console import human_bytes, print_error, print_json, print_table


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="The model files that ship with avatarcli.",
        epilog="Example: avatar weights verify",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("list", epilog="Example: avatar weights list --json")(list_weights)
    group.command("verify", epilog="Example: avatar weights verify")(verify)
    app.add_typer(group, name="weights")


def list_weights(json: options.Json = False) -> None:
    """List the model files with their size, licence and purpose."""
    from avatarcli.weights import load_manifest, weights_root

    root, manifest = weights_root(), load_manifest()
    if json:
        print_json({"folder": str(root), "files": {name: asdict(entry) for name, entry in manifest.items()}})
        return
    print(root)
    print_table(
        [(name, human_bytes(entry.bytes), entry.licence, entry.description) for name, entry in manifest.items()]
    )


def verify(json: options.Json = False) -> None:
    """Check every model file against its SHA-256."""
    from avatarcli.weights import verify_all

    checks = verify_all()
    if json:
        print_json({"files": [{"name": check.name, "path": str(check.path), "error": check.error} for check in checks]})
    for check in checks:
        if check.error is not None:
            print_error(check.error)
        elif not json:
            print(f"ok  {check.name}")
    if any(check.error is not None for check in checks):
        raise typer.Exit(1)
