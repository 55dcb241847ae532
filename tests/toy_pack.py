"""A miniature of the assets folder, made from the shipped head model: the whole head, tiny pictures, a few patches of
skin as wear.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from avatarcli.geometry.mesh import vertex_normals
from avatarcli.head.expressions import EXPRESSION_NAMES
from avatarcli.head.model import HeadModel

Arrays = dict[str, NDArray[Any]]

SKINS = (
    "young_light_male", "young_light_female2", "middleage_light_male", "old_light_male2", "young_dark_male", "old_dark_female",
    "young_light_male3", "young_light_female3", "middleage_light_male2", "middleage_dark_female", "old_dark_male",
)  # fmt: skip
HAIR = ("afro01", "bob01", "bob02", "braid01", "long01", "ponytail01", "short01", "short02", "short03", "short04")
CLOTHES = ("female_casualsuit01", "male_casualsuit01", "fedora", "fedora_cocked")
_SKIN_SIZE = (88, 80)  # width, height: a sixteenth of the real ones'
_COMPONENTS, _PEOPLE = 6, 60
_REGIONS = ("face", "scalp", "ear", "neck", "torso", "eyelid", "lip", "nose", "mouth_cavity", "eye_socket")


def write_pack(folder: Path, model: HeadModel) -> None:
    rng = np.random.default_rng(0)
    for name in ("skins", "hair", "eyebrows", "eyelashes", "clothes", "eyes", "mouth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "head_model.npz", **_head(model, rng))
    for name in SKINS:
        tone = (0.9, 0.72, 0.62) if "light" in name else (0.4, 0.27, 0.2)
        _picture(folder / "skins" / f"{name}.jpg", rng, tone, _SKIN_SIZE)
    for name, height in (("scalp", 0.25), ("beard", 0.9)):
        rows = np.linspace(0, 1, _SKIN_SIZE[1])[:, None].repeat(_SKIN_SIZE[0], 1)
        mask = (rows < height) if name == "scalp" else (np.abs(rows - 0.38) < 0.05)
        Image.fromarray((mask * 255).astype(np.uint8)).save(folder / "skins" / f"mask_{name}.png")
    for name in ("brown", "blue"):
        _picture(folder / "eyes" / f"{name}.jpg", rng, (0.9, 0.88, 0.86), (64, 64))
    for name in ("teeth", "tongue"):
        _picture(folder / "mouth" / f"{name}.jpg", rng, (0.8, 0.6, 0.55), (32, 32))
    brow = ("face",)
    for kind, names, regions, gap in (
        ("hair", HAIR, ("scalp",), 0.008), ("clothes", CLOTHES, ("torso",), 0.004),
        ("eyebrows", ("eyebrow001", "eyebrow002"), brow, 0.001), ("eyelashes", ("eyelashes01", "eyelashes02"), ("eyelid",), 0.001),
    ):  # fmt: skip
        for name in names:
            on = ("scalp",) if name.startswith("fedora") else regions
            hides = kind == "clothes"
            np.savez_compressed(folder / kind / f"{name}.npz", **_patch(model, on, gap, hides))
            _picture(
                folder / kind / f"{name}.{'jpg' if hides else 'png'}", rng, (0.4, 0.35, 0.3), (32, 32), alpha=not hides
            )
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    sizes = {path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size} for path in files}
    (folder / "manifest.json").write_text(json.dumps(sizes), encoding="utf-8")


def _head(model: HeadModel, rng: np.random.Generator) -> Arrays:
    """The shipped model in the pack's format, with corneas copied from the eyes and four anchors, and no real
    subdivision.
    """
    skin, eyes = model.part("skin").stop, model.part("eye_r").stop
    rest = slice(eyes, model.vertex_count)
    rows = np.concatenate([np.arange(eyes), np.arange(skin, eyes), np.arange(rest.start, rest.stop), np.zeros(4, int)])
    place = {name: model.part(name) for name in ("skin", "eye_l", "eye_r", "tongue", "teeth_upper", "teeth_lower")}
    shift = eyes - skin
    ranges = {name: (part.start, part.stop) for name, part in list(place.items())[:3]}
    for name in ("eye_l", "eye_r"):
        ranges[name.replace("eye", "cornea")] = (place[name].start + shift, place[name].stop + shift)
    for name in ("tongue", "teeth_upper", "teeth_lower"):
        ranges[name] = (place[name].start + shift, place[name].stop + shift)
    ranges["anchors"] = (len(rows) - 4, len(rows))
    to_new = np.where(np.arange(model.vertex_count) < eyes, 0, shift) + np.arange(model.vertex_count)

    basis, expressions = model.identity_basis[:_COMPONENTS].numpy()[:, rows], model.expression_basis.numpy()[:, rows]
    attributes = np.zeros((_PEOPLE, 9), np.float32)
    attributes[:, 0] = rng.uniform(17, 85, _PEOPLE)
    attributes[:, 1] = rng.integers(0, 2, _PEOPLE)
    attributes[:, 6:] = rng.dirichlet((0.5, 0.5, 0.5), _PEOPLE)
    partner = model.mirror.numpy()
    mirror = np.where(np.arange(len(rows)) < len(rows) - 4, to_new[partner[rows]], np.arange(len(rows)))
    names = ("neck01", "neck02", "neck03", "head", "eye_l", "eye_r", "jaw")
    joints = [model.joint_names.index(name) for name in names]
    teeth = ranges["teeth_lower"][1] - ranges["teeth_upper"][0]
    data: Arrays = {
        "v_mean": model.mean.numpy()[rows], "id_basis": basis.astype(np.float16),
        "expr_names": np.array(EXPRESSION_NAMES), "expr_deltas": expressions.astype(np.float16),
        "part_names": np.array(list(ranges)), "part_range": np.array(list(ranges.values()), np.int32),
        "region": model.region.numpy()[:skin].astype(np.uint8), "region_names": np.array(_REGIONS),
        "joint_names": np.array(names), "joint_mean": model.joint_mean.numpy()[joints],
        "joint_basis": model.joint_basis.numpy()[:_COMPONENTS][:, joints], "lbs_weights": model.skinning.numpy()[rows],
        "ao_neutral": np.full(len(rows), 0.7, np.float16), "ao_jawopen": np.full(len(rows), 0.75, np.float16),
        "mp478_tri": to_new[model.landmark_triangles.numpy()].astype(np.int32), "mp478_bary": model.landmark_weights.numpy(),
        "mp478_spread_mm": model.landmark_spread.numpy() * 1000, "mirror_index": mirror.astype(np.int32),
        "sample_coef": rng.normal(size=(_PEOPLE, _COMPONENTS)).astype(np.float16), "sample_attr": attributes,
        "attr_names": np.array(
            ["years", "gender_female", "weight", "muscle", "height", "proportions", "african", "asian", "caucasian"]
        ),
        "teeth_variants": (0.0005 * rng.normal(size=(2, teeth, 3))).astype(np.float16),
        "sub_ptr": np.arange(skin + 1, dtype=np.int32), "sub_col": np.arange(skin, dtype=np.int32),
        "sub_val": np.ones(skin, np.float32),
    }  # fmt: skip
    chart = model.uv.numpy()
    data["uv_eye"] = data["uv_teeth"] = data["uv_tongue"] = data["sub_uv"] = chart
    for index, name in enumerate(("skin", "eye_l", "eye_r", "tongue", "teeth_upper", "teeth_lower")):
        mine = (model.face_part == index).numpy()
        data[f"faces_{name}"] = to_new[model.faces.numpy()[mine]].astype(np.int32)
        data[f"uvfaces_{name}"] = model.face_uv.numpy()[mine].astype(np.int32)
        if name.startswith("eye"):
            data[f"faces_{name.replace('eye', 'cornea')}"] = data[f"faces_{name}"] + shift
            data[f"uvfaces_{name.replace('eye', 'cornea')}"] = data[f"uvfaces_{name}"]
    data["sub_faces"], data["sub_uvfaces"] = data["faces_skin"], data["uvfaces_skin"]
    data["quads_skin"] = np.zeros((len(data["faces_skin"]) // 2, 4), np.int32)
    return data


def _patch(model: HeadModel, regions: tuple[str, ...], gap: float, hides: bool) -> Arrays:
    """The skin of some regions, lifted off the head."""
    faces = model.faces[model.face_part == 0]
    chosen = faces[model.in_regions(*regions)[faces].all(1)]
    rows, local = torch.unique(chosen, return_inverse=True)
    normals = vertex_normals(model.mean, model.faces)[rows].numpy()
    plane = model.mean[rows][:, :2].numpy()
    low, high = plane.min(0), plane.max(0)
    weight = np.zeros((len(rows), 3), np.float32)
    weight[:, 0] = 1
    data: Arrays = {
        "bind_idx": rows.numpy()[:, None].repeat(3, 1).astype(np.int32), "bind_w": weight,
        "bind_off": (normals * gap).astype(np.float32), "scale_idx": np.array([[0, 1000]] * 3, np.int32),
        "scale_ref": (model.mean[0] - model.mean[1000]).abs().clamp(min=1e-3).numpy(), "faces": local.numpy().astype(np.int32),
        "uv": ((plane - low) / (high - low)).astype(np.float32), "uv_faces": local.numpy().astype(np.int32),
        "lbs_weights": model.skinning[rows].numpy(),
    }  # fmt: skip
    if hides:
        # As a garment it has a step of subdivision, which here keeps every vertex, and hides some of the skin.
        count = len(rows)
        data |= {
            "sub_ptr": np.arange(count + 1, dtype=np.int32),
            "sub_col": np.arange(count, dtype=np.int32),
            "sub_val": np.ones(count, np.float32),
            "sub_faces": data["faces"],
            "sub_uv": data["uv"],
            "sub_uvfaces": data["uv_faces"],
            "hide_quads": np.arange(len(faces) // 2) < 40,
        }
    return data


def _picture(
    path: Path,
    rng: np.random.Generator,
    color: tuple[float, float, float],
    size: tuple[int, int],
    alpha: bool = False,
) -> None:
    pixels = np.array(color) * 255 + rng.normal(0, 6, (size[1], size[0], 3))
    layers = pixels if not alpha else np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 200)], -1)
    Image.fromarray(layers.clip(0, 255).astype(np.uint8)).save(path)
