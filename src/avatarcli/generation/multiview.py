"""The multi-view video on disk: RGBA pictures and a `transforms.json` that nerfstudio and people can read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from avatarcli.errors import WorkspaceError
from avatarcli.generation.plan import Plan
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.framing import Framing
from avatarcli.geometry.rotations import invert_rigid
from avatarcli.head.expressions import EXPRESSION_NAMES
from avatarcli.head.track import HeadParameters

_TRANSFORMS = "transforms.json"
# nerfstudio's cameras look along −z with y up (OpenGL); ours look along +z with y down (OpenCV).
_OPENGL_FROM_OPENCV = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))


@dataclass(frozen=True)
class MultiViewVideo:
    """V views × F frames of one person in a folder."""

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
        partial = path.with_suffix(".partial")
        Image.fromarray((straight.clamp(0, 1) * 255).round().byte().cpu().numpy(), "RGBA").save(partial, "PNG")
        partial.replace(path)

    def read_frame(self, view: int, frame: int) -> Tensor:
        """A premultiplied RGBA picture [H, W, 4] in [0, 1]."""
        with Image.open(self.frame_path(view, frame)) as image:
            straight = torch.from_numpy(np.array(image.convert("RGBA"))).float() / 255
        return torch.cat([straight[..., :3] * straight[..., 3:], straight[..., 3:]], dim=-1)

    def write_transforms(self) -> None:
        """Describe all frames; written last, so a folder that has it is whole."""
        plan = self.plan
        camera_to_world = invert_rigid(plan.cameras.world_to_camera) @ _OPENGL_FROM_OPENCV
        frames = [
            {
                "file_path": self.frame_name(view, frame),
                "transform_matrix": camera_to_world[view].tolist(),
                **_intrinsics(plan.cameras[view]),
                "camera_index": view,
                "timestep_index": frame,
            }
            for view in range(plan.views)
            for frame in range(plan.frames)
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
            frames = [frame for frame in document["frames"] if frame["timestep_index"] == 0]
            frames.sort(key=lambda frame: int(frame["camera_index"]))
            transforms = torch.tensor([frame["transform_matrix"] for frame in frames])
            K = torch.tensor([_matrix(frame) for frame in frames])
            cameras = Camera(
                invert_rigid(transforms @ _OPENGL_FROM_OPENCV), K, int(frames[0]["w"]), int(frames[0]["h"])
            )
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
            plan = Plan(cameras, parameters, int(document.get("face_views", 0)))
            return cls(folder, plan, framing, str(document["generator"]))
        except (OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError) as error:
            raise WorkspaceError(f"{path}: not a multi-view video ({error}); run `avatar generate --force`") from error


def _intrinsics(camera: Camera) -> dict[str, float]:
    K = camera.K
    return {
        "fl_x": float(K[0, 0]), "fl_y": float(K[1, 1]), "cx": float(K[0, 2]), "cy": float(K[1, 2]),
        "w": camera.width, "h": camera.height,
    }  # fmt: skip


def _matrix(frame: dict[str, Any]) -> list[list[float]]:
    return [[frame["fl_x"], 0.0, frame["cx"]], [0.0, frame["fl_y"], frame["cy"]], [0.0, 0.0, 1.0]]
