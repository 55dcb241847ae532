"""Avatar → files that other programs open, whole or not at all."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from avatarcli.clips.clip import Clip
from avatarcli.clips.files import load_clip, shipped_clips
from avatarcli.export import gaussianavatars, glb, glb_splats, html, ply, sog, spz, transforms
from avatarcli.export.axes import turned
from avatarcli.export.origin import Origin
from avatarcli.files import finished_output
from avatarcli.gaussians.avatar import Avatar, Splats
from avatarcli.head.model import still_head
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.pictures import MultiViewVideo
from avatarcli.progress import Progress
from avatarcli.stages.artefacts import AVATAR_FILE
from avatarcli.stages.export_request import ExportRequest, ExportResult
from avatarcli.stages.person import Person, preprocess_folder
from avatarcli.workspace import Subject

FRAME_NAME = "frame_{:05d}.ply"


def export_subject(subject: Subject, out: Path, request: ExportRequest, *, progress: Progress) -> ExportResult:
    """Write the subject's avatar as the request says.

    Raises:
        AvatarError: there is no whole avatar, the name does not fit the format, or the file cannot be written.
    """
    request.check_output(out)
    start = time.perf_counter()
    avatar_file = subject.whole("distill", AVATAR_FILE)
    with finished_output(out, folder=request.folder) as place, torch.inference_mode():
        _Export(subject, Avatar.load(avatar_file), request, progress).write(place)
        written = [path for path in place.rglob("*") if path.is_file()] if request.folder else [place]
        size = sum(path.stat().st_size for path in written)
    return ExportResult(out, request.format, len(written), size, time.perf_counter() - start)


@dataclass(frozen=True)
class _Export:
    """One export under way."""

    subject: Subject
    avatar: Avatar
    request: ExportRequest
    progress: Progress

    def write(self, place: Path) -> None:
        {
            "ply": lambda: self._ply(place, self._face()),
            "ply-sequence": lambda: self._sequence(place),
            "spz": lambda: spz.write_spz(place, self._turned_face(), self.origin, self.request.spz_version or 3),
            "sog": lambda: sog.write_sog(place, self._turned_face(), self.origin),
            "glb-splats": lambda: glb_splats.write_glb_splats(place, self._face(), self.origin),
            "gaussianavatars": lambda: self._bound(place),
            "transforms": lambda: self._dataset(place),
            "glb": lambda: self._glb(place),
            "html": lambda: self._page(place),
        }[self.request.format]()

    @property
    def origin(self) -> Origin:
        return Origin.of_avatar(self.avatar.provenance.get("photo_sha256"))

    def _face(self) -> Splats:
        """The Gaussians with the wanted expression."""
        return self.avatar.splats(self.avatar.rig(), still_head(self.request.expression))

    def _turned_face(self) -> Splats:
        return turned(self._face(), self.request.axis)

    def _ply(self, place: Path, splats: Splats) -> None:
        ply.write_splats(place, splats, self.origin, up=self.request.axis, sh_degree=self.request.sh_degree)

    def _clip(self) -> Clip | None:
        if self.request.driver is None:
            return None
        clip = self.request.driver.clip
        return clip if self.request.fps is None else clip.resample(self.request.fps)

    def _sequence(self, folder: Path) -> None:
        """One PLY a frame, written as soon as it is there."""
        clip = self._clip()
        assert clip is not None  # ExportRequest sees to it
        parameters = clip.parameters(self.request.head_motion)
        rig = self.avatar.rig()
        with self.progress.task("export", len(parameters)) as advance:
            for index in range(len(parameters)):
                splats = self.avatar.splats(rig, parameters[index : index + 1])
                self._ply(folder / FRAME_NAME.format(index), splats)
                advance(1)

    def _bound(self, folder: Path) -> None:
        clip = self._clip()
        parameters = HeadParameters.at_rest() if clip is None else clip.parameters(self.request.head_motion)
        gaussianavatars.write_bound(folder, self.avatar, parameters, 1.0 if clip is None else clip.fps, self.origin)

    def _dataset(self, folder: Path) -> None:
        video = MultiViewVideo.load(self.subject.whole("generate", transforms.TRANSFORMS).parent)
        with self.progress.task("export", len(video.plan.pictures)) as advance:
            transforms.write_dataset(folder, video, self.origin, advance)

    def _page(self, place: Path) -> None:
        clips = {name: load_clip(path) for name, path in shipped_clips().items()}
        own, driver = self._clip(), self.request.driver
        if own is not None and driver is not None:
            if not self.request.head_motion:
                own = replace(own, head_rotation=0 * own.head_rotation, head_translation=None)
            clips = {driver.name: own, **{name: clip for name, clip in clips.items() if name != driver.name}}
        html.write_page(place, self.avatar, clips, self.origin)

    def _glb(self, place: Path) -> None:
        preprocess = preprocess_folder(self.subject)
        seed = int(self.subject.manifest().config["seed"])
        scene = Person.load(preprocess).seen.scene(seed)
        with self.progress.task("export", glb.STEPS) as advance:
            glb.write_glb(place, self.avatar, scene, self.origin, advance)
