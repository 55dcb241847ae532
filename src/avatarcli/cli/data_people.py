"""`avatar data photos` and `avatar data multiview`: samples of real people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from avatarcli.cli import option_groups, options
from avatarcli.config import DeviceName

if TYPE_CHECKING:
    from avatarcli.datasets.captured import CapturedSamples

_PHOTOS_EXAMPLE = (
    "Example: avatar data photos --folder london --layout london --out scenes --autoencoder runs/autoencoder/model"
)
_MULTIVIEW_EXAMPLE = (
    "Example: avatar data multiview --folder nersemble --layout nersemble --out scenes --autoencoder runs/ae/model"
)
_SKINS_EXAMPLE = "Example: avatar data skins --folder london --out skins"

_Out = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Samples; those already there are kept.")]
_Size = Annotated[int, typer.Option(metavar="PIXELS", help="Side of the pictures, a multiple of 16.")]
_Limit = Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the first N.")]
_Evaluated = Annotated[
    str | None,
    typer.Option(
        "--include-evaluated",
        metavar="REASON",
        help="Also take the people of the benchmark `london`, and note why: it cannot judge what was trained on them.",
    ),
]


def register(group: typer.Typer) -> None:
    group.command(epilog=_PHOTOS_EXAMPLE)(option_groups.flat(photos))
    group.command(epilog=_MULTIVIEW_EXAMPLE)(option_groups.flat(multiview))
    group.command(epilog=_SKINS_EXAMPLE)(option_groups.flat(skins))


def photos(
    *,
    folder: Annotated[Path, typer.Option(metavar="FOLDER", help="The photos.")],
    out: _Out,
    layout: Annotated[
        Literal["london", "portraits"],
        typer.Option(help="london: <id>_<neutral|smiling>_<view>.jpg, five views; portraits: single photos."),
    ] = "portraits",
    views: Annotated[int, typer.Option(metavar="N", min=1, help="london: how many photos per person are views.")] = 8,
    photos: Annotated[int, typer.Option(metavar="N", min=1, help="london: how many reference photos per person.")] = 1,
    size: _Size = 256,
    include_evaluated: _Evaluated = None,
    limit: _Limit = None,
    autoencoder: options.Autoencoder = None,
    pictures: Annotated[
        bool,
        typer.Option("--pictures", help="Keep pictures, for `avatar train mmvdm --real`, which changes their colors."),
    ] = False,
    device: options.Device = "auto",
    answer: option_groups.Answer,
) -> None:
    """Fit the head to photos of real people.

    The result is videos for `avatar train autoencoder` or, with --autoencoder, scenes for `avatar train mmvdm`. Run the same
    command again to continue a run that was stopped. Photos without a usable face are named and left out.
    """
    from avatarcli.datasets.photos import LondonPhotos, Portraits

    samples: CapturedSamples
    if layout == "london":
        samples = LondonPhotos(folder, size, views=views, photos=photos, evaluated=include_evaluated)
    else:
        samples = Portraits(folder, size, evaluated=include_evaluated)
    _collect(samples, out, answer, autoencoder=autoencoder, pictures=pictures, device=device, limit=limit)


def multiview(
    *,
    folder: Annotated[Path, typer.Option(metavar="FOLDER", help="The recordings.")],
    out: _Out,
    layout: Annotated[
        Literal["nersemble", "renderme360", "ava256", "transforms"],
        typer.Option(help="How the recordings' files are laid out; all but transforms are experimental."),
    ] = "transforms",
    views: Annotated[
        int, typer.Option(metavar="N", min=1, help="Cameras per recording, spread around the person.")
    ] = 8,
    frames: Annotated[int, typer.Option(metavar="N", min=1, help="Consecutive frames per camera: 1, 5, 9, 13 …")] = 9,
    size: _Size = 256,
    limit: _Limit = None,
    autoencoder: options.Autoencoder = None,
    device: options.Device = "auto",
    answer: option_groups.Answer,
) -> None:
    """Fit the head to recordings of calibrated cameras.

    Writes the same samples as `avatar data photos`.
    """
    from avatarcli.datasets.recordings.reader import MultiViewPeople

    samples = MultiViewPeople(folder, layout, views=views, frames=frames, size=size)
    _collect(samples, out, answer, autoencoder=autoencoder, device=device, limit=limit)


def skins(
    *,
    folder: Annotated[Path, typer.Option(metavar="FOLDER", help="Photos named <id>_<neutral|smiling>_<view>.jpg.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Skins; those already there are kept.")],
    include_evaluated: _Evaluated = None,
    limit: _Limit = None,
    answer: option_groups.Answer,
) -> None:
    """Bake photos of people onto the studio's skins.

    The result is for training only: `avatar data studio --skins FOLDER`.
    """
    from avatarcli.datasets.photo_skins import bake_skins

    baked = bake_skins(folder, out, answer.console, evaluated=include_evaluated, limit=limit)
    answer.give(
        {"folder": str(out), "made": baked.made, "kept": baked.kept, "unusable": list(baked.unusable)},
        f"{out}: {baked.made} skins made, {baked.kept} kept, {len(baked.unusable)} people unusable",
    )


def _collect(
    samples: CapturedSamples,
    out: Path,
    answer: option_groups.Answer,
    *,
    autoencoder: Path | None,
    device: DeviceName,
    limit: int | None,
    pictures: bool = False,
) -> None:
    from avatarcli.datasets.collect import write_captured

    done = write_captured(
        samples, out, answer.console, autoencoder=autoencoder, pictures=pictures, device=device, limit=limit
    )
    answer.give(
        {
            "folder": str(out),
            "kind": done.kind,
            "made": done.made,
            "kept": done.kept,
            "unusable": list(done.unusable),
        },
        f"{out}: {done.made} {done.kind} made, {done.kept} kept, {len(done.unusable)} unusable",
    )
