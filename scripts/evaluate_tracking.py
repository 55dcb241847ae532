"""How well `avatar track` finds the motion of videos whose motion is known: renders of our own avatars.

    python scripts/evaluate_tracking.py avatars/ada/distill/avatar.safetensors [...] [--clips tour speech take.npz]

Every avatar plays every clip, is filmed (H.264, 512 × 512, frontal), tracked, and compared with the clip, which is told
against its own rest first (each coefficient's 10 % quantile over time taken off), as the tracker tells what it finds.
Printed, with what a tracker that says nothing would get in brackets:

* error: mean absolute difference of the visible actions over all frames. Visible are the ARKit coefficients whose shape
  moves a landmark by 2 mm or more and that are not the gaze's;
* active: the same where the clip's coefficient is above 0.1;
* blinks: found ones of those of the clip, and how many more were reported. An eye blinks when its coefficient passes
  0.5; it is found when the tracker's does within two frames;
* head: mean angle between the clip's head rotation and the tracked one, up to a constant;
* jitter: how far landmarks of the fitted mesh scatter on a still face with sensor noise, root mean square in pixels.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from avatarcli.capture.face_sequence import detect_faces
from avatarcli.capture.video import probe_video
from avatarcli.clips.clip import Clip
from avatarcli.clips.files import load_clip, shipped_clips
from avatarcli.export.origin import Origin
from avatarcli.export.video import write_frames
from avatarcli.head.expressions import BLINKS
from avatarcli.head.model import HeadModel, load_head_model
from avatarcli.progress import SilentProgress
from avatarcli.stages.render import render_avatar
from avatarcli.stages.render_request import RenderRequest
from avatarcli.tracking.fit import landmark_shape
from avatarcli.tracking.resting_face import LOOKS
from avatarcli.tracking.video import VideoTrack, fit_video

SIZE = 512
VISIBLE_FROM = 2e-3  # metres
ACTIVE_FROM = 0.1
BLINK_FROM, BLINK_FRAMES = 0.5, 2
STILL_FRAMES, STILL_NOISE = 90, 4.0  # frames; standard deviation of a pixel, of 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatars", type=Path, nargs="+", help="avatar.safetensors files")
    parser.add_argument("--clips", nargs="+", default=sorted(shipped_clips()), help="clips (default: the shipped ones)")
    parser.add_argument("--fps", type=float, default=30.0)
    arguments = parser.parse_args()
    model = load_head_model()
    rows = []
    print(
        f"{'avatar':20s} {'clip':16s} {'error':>14s} {'active':>14s} {'blinks':>14s} {'head':>6s} {'ms a frame':>10s}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for avatar in arguments.avatars:
            for name in arguments.clips:
                clip = against_rest(load_clip(name).resample(arguments.fps))
                video = film(avatar, clip, Path(folder) / "film.mp4", arguments.fps)
                start = time.process_time()
                track = tracked(model, video, arguments.fps)
                rows.append(compare(model, clip, track.clip))
                spent = 1e3 * (time.process_time() - start) / len(clip)
                label = avatar.parent.parent.name
                print(f"{label:20s} {Path(name).stem:16s} {describe(rows[-1])} {spent:10.1f}", flush=True)
            steady = jitter(model, still(video, Path(folder) / "still.mp4", arguments.fps), arguments.fps)
            print(f"{avatar.parent.parent.name:20s} {'still':16s} jitter {steady:.3f} px", flush=True)
    total = np.nanmean(rows, axis=0)
    found, there, more = np.sum([row[4:7] for row in rows], axis=0)
    print(f"{'all':37s} {describe(np.concatenate([total[:4], [found, there, more], total[7:]]))}")


def against_rest(clip: Clip) -> Clip:
    """The clip with each coefficient's own low taken off."""
    return replace(
        clip, expression=(clip.expression - np.quantile(clip.expression, 0.1, axis=0)).clip(0, 1).astype(np.float32)
    )


def film(avatar: Path, clip: Clip, out: Path, fps: float) -> Path:
    request = RenderRequest(clip=clip, fps=fps, size=SIZE, background=(0.6, 0.65, 0.7))
    render_avatar(avatar, out, request, device="cpu", progress=SilentProgress())
    return out


def still(video: Path, out: Path, fps: float) -> Path:
    """The first frame of a video for `STILL_FRAMES`, each with its own noise."""
    with av.open(str(video)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(np.float32)
    random = np.random.default_rng(0)

    def frames() -> Iterator[NDArray[np.uint8]]:
        for _ in range(STILL_FRAMES):
            yield (picture + random.normal(0, STILL_NOISE, picture.shape)).clip(0, 255).round().astype(np.uint8)

    write_frames(out, frames(), fps, origin=Origin("Test", "0", "compositeSynthetic", None))
    return out


def tracked(model: HeadModel, video: Path, fps: float) -> VideoTrack:
    face = detect_faces(probe_video(video), fps)
    return fit_video(model, face.points, face.scores, face.seen, (face.width, face.height), fps)


def compare(model: HeadModel, clip: Clip, found: Clip) -> NDArray[np.float64]:
    """[error, its baseline, active, its baseline, blinks found, there, reported beyond, head angle in degrees]."""
    frames = min(len(clip), len(found))
    wanted, given = clip.expression[:frames], found.expression[:frames]
    reach = np.linalg.norm(landmark_shape(model).expression_basis, axis=-1).max(1)
    visible = (reach >= VISIBLE_FROM) & ~np.isin(np.arange(52), LOOKS)
    error, truth = np.abs(wanted - given)[:, visible], wanted[:, visible]
    active = truth > ACTIVE_FROM
    turn = Rotation.from_rotvec(clip.head_rotation[:frames]).inv() * Rotation.from_rotvec(found.head_rotation[:frames])
    angle = np.rad2deg((turn.mean().inv() * turn).magnitude().mean())
    hits = misses = extra = 0
    for eye in BLINKS:
        there, seen = events(wanted[:, eye]), events(given[:, eye])
        matched = sum(any(near(a, b) for b in seen) for a in there)
        hits, misses = hits + matched, misses + len(there) - matched
        extra += sum(not any(near(a, b) for a in there) for b in seen)
    return np.array(
        [
            error.mean(),
            truth.mean(),
            error[active].mean() if active.any() else np.nan,
            truth[active].mean() if active.any() else np.nan,
            hits,
            hits + misses,
            extra,
            angle,
        ]
    )


def events(values: NDArray[np.float32]) -> list[tuple[int, int]]:
    """First and last frame of every run above BLINK_FROM."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], values > BLINK_FROM, [0]]).astype(int)))
    return [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]


def near(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] - BLINK_FRAMES <= b[1] and b[0] - BLINK_FRAMES <= a[1]


def jitter(model: HeadModel, video: Path, fps: float) -> float:
    track = tracked(model, video, fps)
    points = torch.stack(
        [track.cameras[i].project(model.landmarks(track.vertices(i)))[0] for i in range(len(track.clip))]
    )
    return float((points - points.mean(0)).square().sum(-1).mean().sqrt())


def describe(row: NDArray[np.float64]) -> str:
    error, base, active, active_base, found, there, more, angle = row
    blinks = f"{found:.0f}/{there:.0f} +{more:.0f}"
    return f"{error:6.3f} ({base:.3f}) {active:6.3f} ({active_base:.3f}) {blinks:>14s} {angle:5.2f}°"


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
