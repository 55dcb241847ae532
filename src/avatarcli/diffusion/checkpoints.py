"""Reading and writing model weights: diffusers' CogVideoX folders, and our own folders with int8 or full weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import WeightsError
from avatarcli.files import make_ordinary, replacing

_CONFIG = "config.json"
_WEIGHTS = "diffusion_pytorch_model.safetensors"
_INT8_WEIGHTS = "model.int8.safetensors"
NULL_TEXT = "null_text.safetensors"
_INT8_FROM = 65_536  # elements: smaller tensors stay float16
_SCALE = ":scale"  # suffix of the tensor that holds an int8 tensor's scales
COGVIDEOX = "CogVideoXTransformer3DModel"
_WRITE_TEXT = "write it with `avatar weights null-text`"
_MEND = "delete the folder and fetch it again"

Model = TypeVar("Model", SmallVideoAutoencoder, MultiViewVideoTransformer)


def load_cogvideox_transformer(
    folder: Path, *, null_text: Path | None = None, dtype: torch.dtype = torch.float32
) -> MultiViewVideoTransformer:
    """CogVideoX-2B's transformer from a local folder in diffusers' format; a fresh one equals it exactly.

    null_text: a safetensors file with `text` [226, 4096], T5's embedding of an empty prompt, by default
    `null_text.safetensors` in the folder; `avatar weights null-text` writes it.

    Raises:
        WeightsError: the folder is not such a checkpoint, or is incomplete.
    """
    config = _read_config(folder)
    _check_cogvideox(folder, config)
    text = _read(null_text or folder / NULL_TEXT, _WRITE_TEXT).get("text")
    wanted = (config["max_text_seq_length"], config["text_embed_dim"])
    if text is None or tuple(text.shape) != wanted:
        found = "none" if text is None else list(text.shape)
        raise WeightsError(f"{null_text or folder / NULL_TEXT}: wanted a tensor `text` {list(wanted)}, found {found}")
    with torch.device("meta"):
        model = MultiViewVideoTransformer(
            num_attention_heads=config["num_attention_heads"],
            attention_head_dim=config["attention_head_dim"],
            num_layers=config["num_layers"],
            in_channels=config["in_channels"],
            time_embed_dim=config["time_embed_dim"],
            positions="absolute",
            shared_modulation=False,
            text_tokens=config["max_text_seq_length"],
            text_embed_dim=config["text_embed_dim"],
            patch_size=config["patch_size"],
            spatial_interpolation_scale=config["spatial_interpolation_scale"],
            temporal_interpolation_scale=config["temporal_interpolation_scale"],
        )
    fresh = {
        "conditioning_proj.weight": torch.zeros(model.conditioning_proj.weight.shape),
        "conditioning_proj.bias": torch.zeros(model.conditioning_proj.bias.shape),
        "text": text,
    }
    return _fill(model, {**_read_weights(folder), **fresh}, folder, dtype)


def load_transformer(folder: Path, *, dtype: torch.dtype = torch.float32) -> MultiViewVideoTransformer:
    """A transformer of either kind: one of ours, or CogVideoX-2B's with its cached text beside it.

    Raises:
        WeightsError: the folder holds another kind of model, or is incomplete.
    """
    if _read_config(folder).get("_class_name") == COGVIDEOX:
        return load_cogvideox_transformer(folder, dtype=dtype)
    return load_model(MultiViewVideoTransformer, folder, dtype=dtype)


def check_model(folder: Path, kinds: tuple[str, ...]) -> None:
    """Look at a model's files without reading the weights: is it one of `kinds`, and is every file there and whole.

    Raises:
        WeightsError: as `load_model`, short of tensors that are missing.
    """
    found = _read_config(folder).get("_class_name")
    if found not in kinds:
        raise WeightsError(f"{folder} holds a {found}, wanted a {' or '.join(kinds)}")
    int8 = folder / _INT8_WEIGHTS
    for path in [int8] if int8.is_file() else _weight_files(folder):
        with _file_errors(path, _MEND), safe_open(str(path), framework="pt"):
            pass  # opening compares the file's length with what its header says
    if found == COGVIDEOX and not (folder / NULL_TEXT).is_file():
        raise WeightsError(f"{folder / NULL_TEXT} is missing; {_WRITE_TEXT}")


def load_model(kind: type[Model], folder: Path, *, dtype: torch.dtype = torch.float32) -> Model:
    """A model that `save_int8` or diffusers' `save_pretrained` wrote.

    Raises:
        WeightsError: the folder holds another kind of model, or is incomplete.
    """
    config = _read_config(folder)
    if config.get("_class_name") != kind.__name__:
        raise WeightsError(f"{folder} holds a {config.get('_class_name')}, wanted a {kind.__name__}")
    int8 = folder / _INT8_WEIGHTS
    tensors = decode_int8(_read(int8, _MEND)) if int8.is_file() else _read_weights(folder)
    with torch.device("meta"):
        model = kind.from_config(config)
    return _fill(model, tensors, folder, dtype)


def fill_from(model: MultiViewVideoTransformer, place: Path) -> None:
    """Give a model the weights of a model's folder, or of a safetensors file, whole or as `encode_int8` made them.

    Raises:
        WeightsError: they are missing, damaged or another model's.
    """
    if place.is_dir():
        tensors = load_transformer(place).state_dict()
    else:
        tensors = decode_int8(_read(place, "name a file or folder of weights"))
    _check_tensors(model.state_dict(), tensors, place, "the [model] of the settings", "name other weights")
    model.load_state_dict(tensors)


def save_int8(model: SmallVideoAutoencoder | MultiViewVideoTransformer, folder: Path) -> None:
    """Write a model for shipping: config.json and int8 weights, about a quarter of the float32 size."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_config(folder)
    with replacing(folder / _INT8_WEIGHTS) as partial:
        save_file(encode_int8(model.state_dict()), partial)
        make_ordinary(partial)


def encode_int8(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Large matrices and kernels as int8 with a scale for each output channel; all else in float16 (integers as they are).

    Encoding what `decode_int8` gives changes nothing more: the scale's eight bits put a row's largest value within a quarter
    of a step of level 127. bfloat16 has float32's range, which float16's scales would lack for freshly zeroed layers. Small
    tensors are the narrow full-resolution layers, where errors show most and bytes count least.
    """
    encoded = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu()
        if value.ndim < 2 or value.numel() < _INT8_FROM or not value.is_floating_point():
            encoded[name] = (value.half() if value.is_floating_point() else value).contiguous()
            continue
        rows = value.float().flatten(1)
        scale = (rows.abs().amax(1) / 127).bfloat16()
        levels = (rows / scale.float().clamp(min=torch.finfo(torch.float32).tiny)[:, None]).round().clamp(-127, 127)
        encoded[name] = levels.to(torch.int8).reshape(value.shape).contiguous()
        encoded[name + _SCALE] = scale
    return encoded


def decode_int8(encoded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Float32 tensors of what `encode_int8` made."""
    tensors = {}
    for name, value in encoded.items():
        if name.endswith(_SCALE):
            continue
        scale = encoded.get(name + _SCALE)
        if scale is not None:
            tensors[name] = value.float() * scale.float().view(-1, *[1] * (value.ndim - 1))
        else:
            tensors[name] = value.float() if value.is_floating_point() else value
    return tensors


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / _CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{folder} is not a model folder: it has no {_CONFIG}") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot read {path} ({error}); {_MEND}") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path} is not a JSON object; {_MEND}")
    return config


def _check_cogvideox(folder: Path, config: dict[str, Any]) -> None:
    if config.get("_class_name") != COGVIDEOX:
        raise WeightsError(
            f"{folder} holds a {config.get('_class_name')}, wanted a {COGVIDEOX}: name its `transformer` folder"
        )
    if config.get("use_rotary_positional_embeddings") or config.get("patch_size_t") is not None:
        raise WeightsError(f"{folder} is a 5B or 1.5 model of CogVideoX: only CogVideoX-2B's architecture is supported")


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder in diffusers' format."""
    tensors: dict[str, Tensor] = {}
    for path in _weight_files(folder):
        tensors.update(_read(path, _MEND))
    return tensors


def _weight_files(folder: Path) -> list[Path]:
    """A single file, or the shards that its index names."""
    index = folder / f"{_WEIGHTS}.index.json"
    if not index.is_file():
        return [folder / _WEIGHTS]
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f"cannot read {index} ({error}); {_MEND}") from error
    missing = [name for name in shards if not (folder / name).is_file()]
    if missing:
        raise WeightsError(f"{folder / missing[0]} is missing ({len(shards)} shards in all); {_MEND}")
    return [folder / name for name in shards]


def _read(path: Path, mend: str) -> dict[str, Tensor]:
    with _file_errors(path, mend):
        return load_file(path)


@contextmanager
def _file_errors(path: Path, mend: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise WeightsError(f"{path} is missing; {mend}") from error
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is damaged or half downloaded ({error}); {mend}") from error


def _fill(model: Any, tensors: dict[str, Tensor], folder: Path, dtype: torch.dtype) -> Any:
    """Give a model on the meta device its tensors."""
    _check_tensors(model.state_dict(), tensors, folder, "its config.json", _MEND)
    cast = {k: v.to(dtype) if v.is_floating_point() else v for k, v in tensors.items()}
    module: nn.Module = model
    module.load_state_dict(cast, assign=True)
    module.requires_grad_(True)
    return module.eval()


def _check_tensors(
    wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], place: Path, origin: str, mend: str
) -> None:
    """Raise WeightsError unless the tensors are those that a model wants. origin: what says what it wants."""
    if missing := wanted.keys() - tensors.keys():
        raise WeightsError(f"{place} lacks {len(missing)} tensors, {min(missing)} the first; {mend}")
    if surplus := tensors.keys() - wanted.keys():
        raise WeightsError(f"{place} has {len(surplus)} tensors that the model does not have, {min(surplus)} the first")
    for name, tensor in wanted.items():
        if tensors[name].shape != tensor.shape:
            found = list(tensors[name].shape)
            raise WeightsError(f"{place}: {name} has shape {found}, {origin} says {list(tensor.shape)}")
