"""The diffusion generator as one call: weights, a tracked photo and a plan in, a multi-view video out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLCogVideoX

from avatarcli.diffusion.autoencoder import CogVideoXVideoAutoencoder, SmallVideoAutoencoder
from avatarcli.diffusion.checkpoints import load_model
from avatarcli.diffusion.conditioning import Conditioner, Reference
from avatarcli.diffusion.parallel import SequenceGroup, launch
from avatarcli.diffusion.pipeline import MultiViewPipeline, SamplingSettings
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import WeightsError
from avatarcli.generation.multiview import MultiViewVideo
from avatarcli.head.model import PersonalHead
from avatarcli.progress import Progress, SilentProgress

TRANSFORMER_FOLDER, AUTOENCODER_FOLDER = "transformer", "autoencoder"


@dataclass(frozen=True)
class GenerateRequest:
    """All that the result depends on, on the CPU.

    weights: a folder with `transformer/` (ours, int8 or full) and `autoencoder/` (ours or CogVideoX's). signature: a hash of
    photo and weights, by which groups of an earlier run are known to be of the same request.
    """

    weights: Path
    head: PersonalHead
    reference: Reference
    video: MultiViewVideo
    settings: SamplingSettings
    seed: int
    signature: str


def generate_on_gpus(request: GenerateRequest, gpus: int, progress: Progress) -> None:
    """Make the multi-view video with all of `gpus` GPUs on each group of latents; 0: on the CPU, 1: in this process.

    With several, progress is shown by step only where there is one.

    Raises:
        WeightsError: the weights are missing, damaged or of another kind.
        UsageError, DeviceError: as MultiViewPipeline.generate.
    """
    if gpus <= 1:
        _generate(None, "cuda" if gpus else "cpu", request, progress)
        return
    with progress.task("generate", 1) as advance:
        launch(gpus, _generate, request, SilentProgress())
        advance(1)


def load_pipeline(weights: Path, settings: SamplingSettings, device: str) -> MultiViewPipeline:
    """The models of a folder, the transformer in bfloat16 on a GPU. Autoencoders stay in float32: they show every rounding."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    transformer = load_model(MultiViewVideoTransformer, weights / TRANSFORMER_FOLDER, dtype=dtype)
    return MultiViewPipeline(transformer, _load_autoencoder(weights / AUTOENCODER_FOLDER), settings, device)


def _load_autoencoder(folder: Path) -> SmallVideoAutoencoder | CogVideoXVideoAutoencoder:
    config = folder / "config.json"
    if not config.is_file():
        raise WeightsError(f"{folder} is not a model folder: it has no config.json")
    if AutoencoderKLCogVideoX.__name__ not in config.read_text(encoding="utf-8"):
        return load_model(SmallVideoAutoencoder, folder)
    try:
        base = AutoencoderKLCogVideoX.from_pretrained(folder, torch_dtype=torch.float32, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"cannot load the autoencoder {folder} ({reason}); delete the folder and fetch it again"
        ) from error
    # In one piece, 49 frames of 480 × 720 pixels need 19 GB to decode (diffusers' documentation of CogVideoX-2B).
    base.enable_tiling()
    return CogVideoXVideoAutoencoder(base.eval())


def _generate(group: SequenceGroup | None, device: str, request: GenerateRequest, progress: Progress) -> None:
    pipeline = load_pipeline(request.weights, request.settings, device)
    pipeline.transformer.sequence_group = group
    # The warp takes the nearest four pixels: a photo much finer than the views would flicker in it.
    photo = request.reference.resized(min(2 * request.video.plan.cameras.width, request.reference.camera.width))
    conditioner = Conditioner(request.head, photo)
    pipeline.generate(conditioner, request.video, seed=request.seed, progress=progress, signature=request.signature)
