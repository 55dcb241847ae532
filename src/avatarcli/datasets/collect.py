"""Samples of real people as files, for `avatar train`: what `avatar data photos` and `avatar data multiview` do."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from avatarcli.config import DeviceName
from avatarcli.datasets.captured import CapturedSamples
from avatarcli.diffusion.generator import load_autoencoder
from avatarcli.errors import PhotoError, UsageError, VideoError
from avatarcli.progress import Progress
from avatarcli.studio.sample import StudioSample
from avatarcli.studio.writer import Kind, SampleWriter, claim_folder, studio_device

SETTINGS_FILE = "captured.json"


@dataclass(frozen=True)
class Collected:
    """What a run did: files made, files that were there already, and whose pictures could not be used."""

    kind: Kind
    made: int
    kept: int
    unusable: tuple[str, ...]


def write_captured(
    samples: CapturedSamples,
    out: Path,
    progress: Progress,
    *,
    autoencoder: Path | None = None,
    pictures: bool = False,
    device: DeviceName = "auto",
    limit: int | None = None,
) -> Collected:
    """Write everybody's samples (at most `limit` people's) into the folder `out`; files that are there are kept.

    Without an autoencoder: videos for `avatar train autoencoder`, one file per view. With one: scenes for
    `avatar train mmvdm`, one file per person. With `pictures`: all that is known about a person, one file each, for its pool.
    People whose pictures cannot be used are named and left out.

    Raises:
        UsageError: the folder holds samples of other settings, nobody's pictures can be used, or both an autoencoder and
            `pictures` are asked for.
        WorkspaceError: the folder cannot be written.
        WeightsError: the autoencoder cannot be loaded. DeviceError: the GPU cannot be used.
    """
    if pictures and autoencoder is not None:
        raise UsageError("--pictures are not encoded: leave out --autoencoder")
    place = studio_device(device)
    model = None if autoencoder is None else load_autoencoder(autoencoder).to(place)
    kind: Kind = "pictures" if pictures else "videos" if model is None else "scenes"
    encoder = None if autoencoder is None else autoencoder.resolve().name
    claim_folder(out, {"kind": kind, "autoencoder": encoder, **samples.settings}, SETTINGS_FILE)
    writer = SampleWriter(out, kind, samples.views, model)
    unusable: list[str] = []

    def read(index: int) -> StudioSample:
        sample = samples.read(index)
        return sample if model is None else sample.to(place)

    names = samples.names[:limit]
    with progress.task("samples", len(names)) as advance:
        for index, name in enumerate(names):
            try:
                writer.write(name, partial(read, index))
            except (PhotoError, VideoError) as error:
                progress.warn(f"{name} is left out: {error}")
                unusable.append(name)
            advance(1)
    if not writer.made + writer.kept:
        raise UsageError(f"no sample can be made of {len(names)} people; the first: {unusable[0]}")
    return Collected(kind, writer.made, writer.kept, tuple(unusable))
