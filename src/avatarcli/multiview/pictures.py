"""The multi-view video on disk: RGBA pictures and a `transforms.json` that nerfstudio and people can read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avatarcli.errors import WorkspaceError
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.rotations import invert_rigid
from avatarcli.head.expressions import EXPRESSION_NAMES
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing
from avatarcli.multiview.plan import Plan, Reel
from avatarcli.pictures import read_picture, write_png

REPROJECT = "reproject"  # the generator that uses no network
_TRANSFORMS = "transforms.json"
# nerfstudio's cameras look along −z with y up (OpenGL); ours look along +z with y down (OpenCV).
_OPENGL_FROM_OPENCV = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))


@dataclass(frozen=True)
class MultiViewVideo:
    """The pictures of a plan of one person, in a folder."""

    folder: Path
    plan: Plan
    framing: Framing
    generator: str

    @staticmethod
    def frame_name(view: int, frame: int) -> str:
        return f"frames/v{view:03d}_t{frame:03d}.png"

    def frame_path(self, view: int, frame: int) -> Path:
        return self.folder / self.frame_name(view, frame)

    def write_frame(self, view: int, frame: int, picture: Tensor) -> None:
        """Store a premultiplied RGBA picture [H, W, 4] as a PNG with straight alpha. A reader never sees half a file."""
        alpha = picture[..., 3:]
        straight = torch.cat([picture[..., :3] / alpha.clamp(min=1e-4), alpha], dim=-1)
        path = self.frame_path(view, frame)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_png(path, straight)

    def read_frame(self, view: int, frame: int) -> Tensor:
        """A premultiplied RGBA picture [H, W, 4] in [0, 1]."""
        straight = read_picture(self.frame_path(view, frame), "RGBA")
        return torch.cat([straight[..., :3] * straight[..., 3:], straight[..., 3:]], dim=-1)

    def write_transforms(self) -> None:
        """Describe all frames; written last, so a folder that has it is whole."""
        plan = self.plan
        camera_to_world = invert_rigid(plan.cameras.world_to_camera) @ _OPENGL_FROM_OPENCV
        frames = [
            {
                "file_path": self.frame_name(clip.view, frame),
                "transform_matrix": camera_to_world[clip.view].tolist(),
                **_intrinsics(plan.cameras[clip.view]),
                "camera_index": clip.view,
                "timestep_index": frame,
                "clip_index": number,
            }
            for number, clip in enumerate(plan.clips)
            for frame in clip.frames
        ]
        document = {
            "camera_model": "OPENCV",
            "generator": self.generator,
            "face_views": plan.crops,
            "framing": {"target": self.framing.target, "span": self.framing.span},
            "expression_names": EXPRESSION_NAMES,
            "timesteps": [
                {"expression": plan.parameters.expression[t].tolist(), "gaze": plan.parameters.gaze[t].tolist()}
                for t in range(plan.frames)
            ],
            "frames": frames,
        }
        (self.folder / _TRANSFORMS).write_text(json.dumps(document, indent=1))

    @classmethod
    def load(cls, folder: Path) -> MultiViewVideo:
        """Open a folder written before. Raises WorkspaceError when it is not one."""
        path = folder / _TRANSFORMS
        try:
            document = json.loads(path.read_text())
            frames = document["frames"]
            of_view = {int(frame["camera_index"]): frame for frame in frames}
            views = [of_view[view] for view in range(len(of_view))]
            transforms = torch.tensor([frame["transform_matrix"] for frame in views])
            K = torch.tensor([_matrix(frame) for frame in views])
            cameras = Camera(invert_rigid(transforms @ _OPENGL_FROM_OPENCV), K, int(views[0]["w"]), int(views[0]["h"]))
            steps = document["timesteps"]
            rest = HeadParameters.at_rest(len(steps))
            parameters = HeadParameters(
                torch.tensor([step["expression"] for step in steps]),
                torch.tensor([step["gaze"] for step in steps]),
                rest.neck,
                rest.head_pose,
            )
            x, y, z = document["framing"]["target"]
            framing = Framing((x, y, z), float(document["framing"]["span"]))
            plan = Plan(cameras, parameters, _clips(frames), int(document.get("face_views", 0)))
            return cls(folder, plan, framing, str(document["generator"]))
        except (OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError) as error:
            raise WorkspaceError(f"{path}: not a multi-view video ({error}); run `avatar generate --force`") from error


def _clips(frames: list[dict[str, Any]]) -> tuple[Reel, ...]:
    """The clips that a file's frames belong to. Before version 3 of the generate stage every view was one clip."""
    clips: dict[int, list[dict[str, Any]]] = {}
    for frame in frames:
        clips.setdefault(int(frame.get("clip_index", frame["camera_index"])), []).append(frame)
    return tuple(
        Reel(int(clip[0]["camera_index"]), tuple(int(frame["timestep_index"]) for frame in clip))
        for clip in (clips[number] for number in sorted(clips))
    )


def _intrinsics(camera: Camera) -> dict[str, float]:
    K = camera.K
    return {
        "fl_x": float(K[0, 0]), "fl_y": float(K[1, 1]), "cx": float(K[0, 2]), "cy": float(K[1, 2]),
        "w": camera.width, "h": camera.height,
    }  # fmt: skip


def _matrix(frame: dict[str, Any]) -> list[list[float]]:
    return [[frame["fl_x"], 0.0, frame["cx"]], [0.0, frame["fl_y"], frame["cy"]], [0.0, 0.0, 1.0]]
