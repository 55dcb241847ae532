"""Studio samples as files, for `avatar train`: made once, read often."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from avatarcli.config import DeviceName
from avatarcli.devices import cuda_problem
from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder, VideoAutoencoder
from avatarcli.diffusion.checkpoints import load_model
from avatarcli.errors import DeviceError, UsageError, WorkspaceError
from avatarcli.files import write_atomically, write_json
from avatarcli.progress import Progress
from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.dataset import Studio, StudioSettings
from avatarcli.studio.encoding import scene_of
from avatarcli.studio.motion import MotionLibrary
from avatarcli.studio.sample import StudioSample, sample_bytes

SETTINGS_FILE = "studio.json"
Kind = Literal["videos", "scenes", "pictures"]


@dataclass(frozen=True)
class Written:
    """What a run did: files made, and files that were there already."""

    kind: Kind
    made: int
    kept: int


def write_samples(
    studio: Studio,
    out: Path,
    subjects: int,
    progress: Progress,
    *,
    autoencoder: VideoAutoencoder | None = None,
    autoencoder_name: str | None = None,
    skins_name: str | None = None,
) -> Written:
    """Write the first `subjects` subjects into the folder `out`; files that are there are kept, so a run that was stopped goes on.

    Without an autoencoder: videos for `avatar train autoencoder`, a file per view. With one, which must be on the studio's
    device: scenes for `avatar train mmvdm`, a file per subject; autoencoder_name, skins_name: say later which they were.

    Raises:
        UsageError: the folder holds samples of other settings.
        WorkspaceError: the folder cannot be written.
    """
    kind: Kind = "videos" if autoencoder is None else "scenes"
    claim_folder(out, {"kind": kind, "autoencoder": autoencoder_name, "skins": skins_name, **asdict(studio.settings)})
    writer = SampleWriter(out, kind, studio.settings.all_views, autoencoder)
    with progress.task("studio", subjects) as advance:
        for index in range(subjects):
            writer.write(f"{index:07d}", partial(studio.sample, index))
            advance(1)
    return Written(kind, writer.made, writer.kept)


class SampleWriter:
    """Writes people into a folder; files that are there are kept. autoencoder: for scenes, where the samples are."""

    def __init__(self, out: Path, kind: Kind, views: int, autoencoder: VideoAutoencoder | None = None) -> None:
        self._out, self._kind, self._views, self._autoencoder = out, kind, views, autoencoder
        self.made = self.kept = 0

    def write(self, name: str, make: Callable[[], StudioSample]) -> None:
        """The files of one person; make: called where one is missing."""
        names = [f"{name}_v{view:02d}" for view in range(self._views)] if self._kind == "videos" else [name]
        paths = [self._out / f"{file}.safetensors" for file in names]
        if all(path.exists() for path in paths):
            self.kept += len(paths)
            return
        sample = make()
        for path, content in zip(paths, self._contents(sample), strict=True):
            write_atomically(path, sample_bytes(content, sample.number))
        self.made += len(paths)

    def _contents(self, sample: StudioSample) -> Sequence[Mapping[str, Tensor]]:
        if self._kind == "pictures":
            return [sample.tensors()]
        if self._autoencoder is None:
            return sample.videos()
        return [scene_of(sample, self._autoencoder)]


def claim_folder(out: Path, settings: Mapping[str, Any], file: str = SETTINGS_FILE) -> None:
    """Note in the folder what its samples are, or see that they are what is asked for.

    Raises:
        UsageError: the folder holds samples of other settings.
        WorkspaceError: the folder cannot be used.
    """
    path = out / file
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            if any(out.glob("*.safetensors")):
                raise UsageError(f"{out} holds samples from elsewhere: name another folder")
            write_json(path, settings)
            return
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WorkspaceError(f"{path} is damaged ({error}): delete the folder and make the samples again") from error
    except FileExistsError as error:
        raise UsageError(f"{out} is a file: name a folder") from error
    except OSError as error:
        raise WorkspaceError(f"cannot write samples to {out}: {error.strerror}") from error
    for name, value in settings.items():
        if not isinstance(found, dict) or found.get(name) != value:
            other = found.get(name) if isinstance(found, dict) else found
            raise UsageError(f"{out} holds samples with {name} {other}, not {value}: name another folder")


def make_samples(
    assets: Path,
    out: Path,
    subjects: int,
    progress: Progress,
    *,
    settings: StudioSettings,
    autoencoder: Path | None = None,
    clips: Path | None = None,
    skins: Path | None = None,
    device: DeviceName = "auto",
) -> Written:
    """What `avatar data studio` does.

    Raises:
        UsageError, WorkspaceError: as `write_samples`.
        AssetsError: the pack, or ClipError: a clip, is missing or damaged.
        WeightsError: the autoencoder cannot be loaded.
        DeviceError: the GPU cannot be used.
    """
    place = studio_device(device)
    model = None if autoencoder is None else load_model(SmallVideoAutoencoder, autoencoder).to(place)
    library = MotionLibrary.load(clips)
    pack = StudioAssets.load(assets, extra_skins=skins)
    studio = Studio(pack, settings, place, library=library)
    encoder, looks = (None if folder is None else folder.resolve().name for folder in (autoencoder, skins))
    return write_samples(studio, out, subjects, progress, autoencoder=model, autoencoder_name=encoder, skins_name=looks)


def studio_device(requested: DeviceName) -> str:
    """ "cpu" or "cuda". The studio needs no gsplat, so any GPU that torch can use will do.

    Raises:
        DeviceError: "cuda" was asked for and cannot be used.
    """
    problem = None if requested == "cpu" else cuda_problem()
    if requested == "cuda" and problem is not None:
        raise DeviceError(f"--device cuda cannot work: {problem}; or use --device cpu")
    return "cpu" if requested == "cpu" or problem is not None else "cuda"
