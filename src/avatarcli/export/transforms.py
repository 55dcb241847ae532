"""The multi-view video as a dataset folder that nerfstudio and its kin train on: pictures and `transforms.json`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from avatarcli.errors import WorkspaceError
from avatarcli.export.origin import Origin
from avatarcli.multiview.pictures import MultiViewVideo
from avatarcli.pictures import read_picture

TRANSFORMS = "transforms.json"


def write_dataset(folder: Path, video: MultiViewVideo, origin: Origin, advance: Callable[[int], None]) -> None:
    """Copy a multi-view video into an empty folder, every picture checked on the way.

    Raises:
        WorkspaceError: a picture is missing, cannot be read or has another size than its camera.
        OSError: the folder cannot be written.
    """
    document = json.loads((video.folder / TRANSFORMS).read_text(encoding="utf-8"))
    for frame in document["frames"]:
        _check_picture(video.folder / frame["file_path"], (int(frame["w"]), int(frame["h"])))
        target = folder / frame["file_path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(video.folder / frame["file_path"], target)
        advance(1)
    document["origin"] = json.loads(origin.to_json())
    (folder / TRANSFORMS).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _check_picture(path: Path, size: tuple[int, int]) -> None:
    try:
        height, width = read_picture(path).shape[:2]
    except OSError as error:
        raise WorkspaceError(f"{path}: cannot read the picture ({error}); run `avatar generate --force`") from error
    if (width, height) != size:
        raise WorkspaceError(f"{path}: {width} × {height} pixels, its camera says {size[0]} × {size[1]}")
