"""`avatar data studio`, and the other commands that make training data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from avatarcli.cli import data_people, option_groups, options


def register(app: typer.Typer) -> None:
    group = options.command_group(
        "Make data to train the models on.",
        example="avatar data studio --assets makehuman --out videos --subjects 100",
    )
    group.command(epilog="Example: avatar data studio --assets makehuman --out videos --subjects 100")(
        option_groups.flat(studio)
    )
    data_people.register(group)
    app.add_typer(group, name="data")


def studio(
    *,
    assets: Annotated[Path, typer.Option(metavar="FOLDER", help="The pack of MakeHuman's CC0 assets.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Samples; those already there are kept.")],
    subjects: Annotated[int, typer.Option(metavar="N", min=1, help="How many people.")] = 100,
    views: Annotated[int, typer.Option(metavar="N", min=1, help="Cameras per person.")] = 8,
    face_views: Annotated[int, typer.Option(metavar="N", min=0, help="Further cameras that see the face only.")] = 0,
    photos: Annotated[
        int, typer.Option(metavar="N", min=1, help="Reference photos per person, each with its own fit.")
    ] = 1,
    frames: Annotated[int, typer.Option(metavar="N", min=1, help="Frames per camera: 1, 5, 9, 13 …")] = 9,
    size: Annotated[int, typer.Option(metavar="PIXELS", help="Side of the pictures, a multiple of 16.")] = 256,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Another seed makes other people.")] = 0,
    split: Annotated[
        Literal["train", "held_out"], typer.Option(help="held_out: people, skins and hair never trained on.")
    ] = "train",
    autoencoder: options.Autoencoder = None,
    clips: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="More motion: clips (.npz) and Live Link recordings (.csv).")
    ] = None,
    skins: Annotated[Path | None, typer.Option(metavar="FOLDER", help="More skins, from `avatar data skins`.")] = None,
    device: options.Device = "auto",
    answer: option_groups.Answer,
) -> None:
    """Render synthetic people.

    The result is videos for `avatar train autoencoder` or, with --autoencoder, scenes for `avatar train mmvdm`. Run the same
    command again to continue a run that was stopped. The same options give the same people everywhere.
    """
    from avatarcli.studio.dataset import StudioSettings
    from avatarcli.studio.writer import make_samples

    written = make_samples(
        assets,
        out,
        subjects,
        answer.console,
        settings=StudioSettings(
            views=views, frames=frames, size=size, seed=seed, split=split, face_views=face_views, photos=photos
        ),
        autoencoder=autoencoder,
        clips=clips,
        skins=skins,
        device=device,
    )
    answer.give(
        {"folder": str(out), "kind": written.kind, "made": written.made, "kept": written.kept},
        f"{out}: {written.made} {written.kind} made, {written.kept} kept",
    )
