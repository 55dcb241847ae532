"""The folder of CC0 head assets that the studio draws people from, read into tensors.

The assets come from MakeHuman (github.com/makehumancommunity/makehuman-assets, CC0 1.0); `docs/studio.md` says how the
folder is made and what is in it. Nothing of it ships with the program.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from avatarcli.errors import AssetsError
from avatarcli.studio.binding import Wearable, read_wearable
from avatarcli.studio.extra_skins import read_skins
from avatarcli.studio.pack_head import PackHead, read_head
from avatarcli.studio.scene import BoundMesh, Material
from avatarcli.studio.skin_sheets import SkinAtlas, SkinSheet, make_atlas, make_sheet

_WHERE = "the studio needs the pack of MakeHuman's CC0 assets (https://github.com/makehumancommunity/makehuman-assets)"
_WEARABLES = ("hair", "eyebrows", "eyelashes", "clothes")


@dataclass(frozen=True)
class StudioAssets:
    """Everything that subjects are made of, on one device. Pictures are uint8 and sRGB-encoded.

    skins: by name; atlas: where their texels lie on the head; eyes [S, S, 3]; teeth, tongue [S, S, 3]; wearables:
    meshes by kind ("hair", "eyebrows", "eyelashes", "clothes") and name.
    """

    head: PackHead
    skins: dict[str, SkinSheet]
    atlas: SkinAtlas
    eyes: dict[str, Tensor]
    teeth: Tensor
    tongue: Tensor
    wearables: dict[str, dict[str, Wearable]]
    _elsewhere: dict[str, StudioAssets] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(
        cls, folder: Path | str, *, skin_height: int | None = None, extra_skins: Path | None = None
    ) -> StudioAssets:
        """Read the pack. `skin_height`: rows of the skins' textures, default as stored (1280); 640 is enough for
        pictures of 256². `extra_skins`: a folder of further skins, see `extra_skins.read_skins`.

        Raises:
            AssetsError: a file is missing or damaged.
        """
        folder = Path(folder)
        check_complete(folder)
        head = _read(folder / "head_model.npz", read_head)
        pictures = {path.stem: _picture(path, "RGB", skin_height) for path in _files(folder / "skins", "jpg")}
        if not pictures:
            raise AssetsError(f"{folder / 'skins'}: no skins; {_WHERE}")
        if extra_skins is not None:
            pictures |= read_skins(extra_skins, pictures)
        height, width = next(iter(pictures.values())).shape[:2]
        masks = {
            name: _picture(folder / "skins" / f"mask_{name}.png", "L", height, width) for name in ("scalp", "beard")
        }
        scalp, beard = (mask[..., 0].float() / 255 for mask in masks.values())
        atlas = make_atlas(head, scalp, beard)
        wearables = {kind: _read_wearables(folder / kind, len(head.mean)) for kind in _WEARABLES}
        return cls(
            head=head,
            skins={name: make_sheet(picture, atlas, head.region_names) for name, picture in pictures.items()},
            atlas=atlas,
            eyes={path.stem: _picture(path, "RGB") for path in _files(folder / "eyes", "jpg")},
            teeth=_picture(folder / "mouth" / "teeth.jpg", "RGB"),
            tongue=_picture(folder / "mouth" / "tongue.jpg", "RGB"),
            wearables=wearables,
        )

    def hair(self, name: str, neutral: Tensor) -> BoundMesh:
        """One of the pack's own hair meshes on a head [N, 3] at rest, in its stored colors."""
        return self.wearables["hair"][name].worn(neutral, Material.HAIR)

    def on(self, device: torch.device | str) -> StudioAssets:
        """The same assets on another device; copied there once and kept."""
        if torch.device(device) == self.teeth.device:
            return self
        if str(device) not in self._elsewhere:
            self._elsewhere[str(device)] = self._moved(device)
        return self._elsewhere[str(device)]

    def _moved(self, device: torch.device | str) -> StudioAssets:
        kinds = (Tensor, PackHead, SkinAtlas)
        moved: dict[str, Any] = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, kinds)}
        for name in ("skins", "eyes"):
            moved[name] = {key: value.to(device) for key, value in getattr(self, name).items()}
        worn = {kind: {k: w.to(device) for k, w in group.items()} for kind, group in self.wearables.items()}
        return replace(self, wearables=worn, _elsewhere={}, **moved)


def check_complete(folder: Path) -> None:
    """Compare the folder with its own list of files. Raises AssetsError."""
    if not folder.is_dir():
        raise AssetsError(f"no folder {folder}: {_WHERE}")
    manifest = folder / "manifest.json"
    try:
        listed = json.loads(manifest.read_text(encoding="utf-8"))
        sizes = {str(name): int(entry["bytes"]) for name, entry in listed.items()}
    except FileNotFoundError:
        raise AssetsError(f"{manifest} is missing: {_WHERE}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AssetsError(f"{manifest} cannot be read ({error}): fetch the pack again; {_WHERE}") from None
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file():
            raise AssetsError(f"{path} is missing: {_WHERE}")
        if path.stat().st_size != size:
            raise AssetsError(f"{path} has {path.stat().st_size} bytes instead of {size}: fetch it again; {_WHERE}")


def _files(folder: Path, suffix: str) -> list[Path]:
    return sorted(folder.glob(f"*.{suffix}"))


def _read(path: Path, decode: Any, *arguments: Any) -> Any:
    """What `decode` makes of the arrays of a `.npz`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            data: dict[str, NDArray[Any]] = {key: file[key] for key in file.files}
        return decode(data, *arguments)
    except FileNotFoundError:
        raise AssetsError(f"{path} is missing: {_WHERE}") from None
    except KeyError as error:
        raise AssetsError(f"{path}: array {error} is missing; fetch the file again; {_WHERE}") from None
    except (OSError, ValueError, IndexError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AssetsError(f"{path} is damaged ({reason}): fetch it again; {_WHERE}") from None


def _read_wearables(folder: Path, head_rows: int) -> dict[str, Wearable]:
    found = {}
    for path in _files(folder, "npz"):
        pictures: Iterable[Path] = (path.with_suffix(f".{suffix}") for suffix in ("png", "jpg"))
        picture = next((file for file in pictures if file.exists()), None)
        # What has no texture is plain mid-grey, to be tinted.
        texture = torch.full((4, 4, 4), 188, dtype=torch.uint8) if picture is None else _picture(picture, "RGBA")
        if picture is None:
            texture[..., 3] = 255
        found[path.stem] = _read(path, read_wearable, texture, head_rows)
    if not found:
        raise AssetsError(f"{folder}: no meshes; {_WHERE}")
    return found


def _picture(path: Path, mode: str, height: int | None = None, width: int | None = None) -> Tensor:
    """A picture uint8 [H, W, C], of another height if wanted (and the width that goes with it)."""
    try:
        with Image.open(path) as file:
            image = file.convert(mode)
    except FileNotFoundError:
        raise AssetsError(f"{path} is missing: {_WHERE}") from None
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise AssetsError(f"{path} is damaged ({error}): fetch it again; {_WHERE}") from None
    if height is not None and (image.height, image.width) != (height, width):
        width = round(image.width * height / image.height) if width is None else width
        image = image.resize(
            (width, height), Image.Resampling.BOX if height < image.height else Image.Resampling.BICUBIC
        )
    pixels = torch.from_numpy(np.array(image))
    return pixels[..., None] if pixels.ndim == 2 else pixels
