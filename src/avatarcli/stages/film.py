"""A film of a person who turns: frames are chosen, and taken as several photos of one person are.

preprocess/film.json      the film's length, the frames that were taken, and those that were left out
preprocess/…              as of several photos; of a single one where nobody turns
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avatarcli.capture.film import WHOLE, look_through, looks
from avatarcli.capture.film_choice import choose_frames
from avatarcli.capture.measures import head_angles
from avatarcli.capture.photo import MAX_SIDE
from avatarcli.capture.video import VideoInfo, frame_at, probe_video
from avatarcli.config import PreprocessConfig
from avatarcli.errors import PhotoError, UsageError, VideoError
from avatarcli.files import sha256_file, write_json
from avatarcli.progress import Progress
from avatarcli.stages.artefacts import FILM_FILE, fitted_photos
from avatarcli.stages.photos import preprocess_photos
from avatarcli.stages.preprocess import preprocess_photo
from avatarcli.stages.source import Source


def preprocess_film(
    film: Path, out: Path, config: PreprocessConfig, progress: Progress, *, force: bool = False
) -> None:
    """Write what `preprocess_photos` writes of a film's chosen frames, and which they are, into `out`.

    `force` takes frames that would be refused.

    Raises:
        PhotoError: no frame can be used, or the film shows several people; then nothing is written.
        UsageError: a face is to be chosen, as in photos.
    """
    if config.face != "largest":
        raise UsageError(f"{film} is a film: --face is for photos; use a film of one person")
    info = probe_video(film)
    moments, alone = looks(info)
    if info.duration > WHOLE and not alone:
        progress.warn(f"{film.name}: only the first {WHOLE:g} s are looked at")
    if info.hdr:
        progress.warn(f"{film.name}: an HDR film, whose colors will look pale: export or record it without HDR")
    with progress.task("look through the film", len(moments)) as advance:
        sights = look_through(info, advance)
    try:
        chosen = choose_frames(sights, force=force)
    except PhotoError as error:
        raise PhotoError(f"{film}: {error}") from None
    sha256 = sha256_file(film)
    sources = [Source(film, sha256, partial(_read, info, frame.time), frame.time, frame.profile) for frame in chosen]
    left_out: list[dict[str, Any]] = []

    def leave_out(source: Source, error: PhotoError) -> None:
        progress.info(f"{source.name}: left out, {str(error).removeprefix(f'{source}: ')}")
        left_out.append({"time": source.time, "why": str(error).removeprefix(f"{source}: ")})

    if len(sources) == 1:
        yaws = [sight.face.yaw for sight in sights if sight.face is not None]
        progress.warn(
            f"{film.name}: nobody turns in it ({min(yaws):+.0f}° to {max(yaws):+.0f}°), so its best frame, at"
            f" {chosen[0].time:.2f} s, is taken as a single photo"
        )
        photo = preprocess_photo(sources[0], out, config, progress, force=force)
        frames = [{"time": chosen[0].time, "yaw": round(head_angles(photo.track)[0], 1)}]
    else:
        preprocess_photos(sources, out, config, progress, force=force, leave_out=leave_out)
        frames = [{"time": photo["time"], "yaw": photo["yaw"]} for photo in fitted_photos(out)]
        listed = ", ".join(f"{frame['time']:.2f} s ({frame['yaw']:+.0f}°)" for frame in frames)
        progress.info(f"{film.name}: {len(frames)} frames taken: {listed}")
    content = {
        "film": film.name,
        "sha256": sha256,
        "seconds": round(info.duration, 3),
        "looked_at": len(sights),
        "frames": frames,
        "left_out": left_out,
    }
    write_json(out / FILM_FILE, content)


def _read(info: VideoInfo, moment: float) -> NDArray[np.uint8]:
    try:
        return frame_at(info, moment, longest=MAX_SIDE)
    except VideoError as error:
        raise PhotoError(str(error)) from error
