"""The diffusion generator as one call: weights, a tracked photo and a plan in, a multi-view video out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.devices import computes_bfloat16
from avatarcli.diffusion.autoencoder import CogVideoXVideoAutoencoder, SmallVideoAutoencoder
from avatarcli.diffusion.checkpoints import COGVIDEOX, check_model, load_model, load_transformer
from avatarcli.diffusion.conditioning import Conditioner, Reference
from avatarcli.diffusion.parallel import SequenceGroup, launch
from avatarcli.diffusion.pipeline import MultiViewPipeline, SamplingSettings, SecondLook
from avatarcli.diffusion.relay import relay
from avatarcli.diffusion.tones import Around, Nape, Tones, agreed, with_detail, with_tones_of, without_islands
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import WeightsError
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.model import PersonalHead
from avatarcli.multiview.pictures import MultiViewVideo
from avatarcli.progress import Progress, SilentProgress
from avatarcli.reproject.skin_texture import PhotoView
from avatarcli.weights.models import TRANSFORMER_FOLDER, autoencoder_folder

_COGVIDEOX_AUTOENCODER = "AutoencoderKLCogVideoX"  # diffusers' class, as its config.json says


@dataclass(frozen=True)
class GenerateRequest:
    """All that the result depends on, on the CPU.

    weights: a model's folder (see avatarcli.weights.models): the transformer ours, int8 or full, or CogVideoX-2B's; the autoencoder
    ours or CogVideoX's. photo: the reference, and what is known of its pixels. lift [N, 3]: as `side_lift` gives it. signature: a
    hash of the weights, by which groups of an earlier run are known to be of the same model. nape: where hair must end behind, if
    that is known. further: other photos of the person. second_look: what pictures begin with. offload, compiled: see Hardware; they
    change nothing but time and memory.
    """

    weights: Path
    head: PersonalHead
    reference: Reference
    video: MultiViewVideo
    settings: SamplingSettings
    tones: Tones
    around: Around
    photo: PhotoView
    lift: Tensor
    seed: int
    signature: str
    nape: Nape | None = None
    further: tuple[Reference, ...] = ()
    second_look: SecondLook | None = None
    offload: bool = False
    compiled: bool = False

    @property
    def begun(self) -> Mapping[tuple[int, int], Tensor]:
        """The pictures that others begin with, by (view, frame): they have the photo's tones."""
        return {} if self.second_look is None else self.second_look.pictures


def generate_on_gpus(request: GenerateRequest, gpus: int, progress: Progress) -> None:
    """Make the multi-view video with `gpus` GPUs; 0: on the CPU, 1: in this process.

    Raises:
        WeightsError: the weights are missing, damaged or of another kind.
        UsageError, DeviceError: as MultiViewPipeline.generate.
    """
    if gpus <= 1:
        _generate(None, "cuda" if gpus else "cpu", request, progress)
        return
    with relay(progress) as relayed:
        launch(gpus, _generate, request, relayed)


def check_weights(weights: Path) -> None:
    """Whether a model's folder can be loaded, as far as that is known at once. Raises WeightsError when it cannot."""
    check_model(weights / TRANSFORMER_FOLDER, (MultiViewVideoTransformer.__name__, COGVIDEOX))
    kinds = (SmallVideoAutoencoder.__name__, _COGVIDEOX_AUTOENCODER)
    check_model(autoencoder_folder(weights), kinds)


def load_pipeline(request: GenerateRequest, device: str, processes: SequenceGroup | None = None) -> MultiViewPipeline:
    """The models of a request, the transformer in bfloat16 where that is fast. Autoencoders stay in float32: they show every
    rounding."""
    dtype = torch.float32 if device == "cpu" and not computes_bfloat16() else torch.bfloat16
    transformer = load_transformer(request.weights / TRANSFORMER_FOLDER, dtype=dtype)
    if request.compiled:
        for block in transformer.transformer_blocks:
            block.compile()
    autoencoder = load_autoencoder(autoencoder_folder(request.weights))
    return MultiViewPipeline(transformer, autoencoder, request.settings, device, processes, request.offload)


def load_autoencoder(folder: Path) -> SmallVideoAutoencoder | CogVideoXVideoAutoencoder:
    """An autoencoder of either kind. Raises WeightsError."""
    config = folder / "config.json"
    if not config.is_file():
        raise WeightsError(f"{folder} is not a model folder: it has no config.json")
    if _COGVIDEOX_AUTOENCODER not in config.read_text(encoding="utf-8"):
        return load_model(SmallVideoAutoencoder, folder)
    # Imported here, for it takes seconds: diffusers loads all its networks with it.
    from diffusers import AutoencoderKLCogVideoX

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
    pipeline = load_pipeline(request, device, group)
    # The warp takes the nearest four pixels: a photo much finer than the views would flicker in it.
    most = 2 * request.video.plan.cameras.width
    photo, *further = (p.resized(min(most, p.camera.width)) for p in (request.reference, *request.further))
    conditioner = Conditioner(request.head, photo, further)
    told = progress if group is None or group.rank == 0 else SilentProgress()
    finish = partial(_finish, request, request.head.in_world(request.reference.parameters)[0])
    pipeline.generate(
        conditioner,
        request.video,
        seed=request.seed,
        progress=told,
        signature=request.signature,
        finish=finish,
        second_look=request.second_look,
    )
    if group is None or group.rank == 0:
        _agree(request)


def _agree(request: GenerateRequest) -> None:
    """Bring the stored pictures of the whole head at rest to shared tones, but for those of a second look, which have them already.

    A run that stops here makes them all again.
    """
    video, plan = request.video, request.video.plan
    made = set(plan.pictures) - request.begun.keys()
    heads = [view for view in range(plan.views - plan.crops) if (view, 0) in made]
    pictures = [video.read_frame(view, 0) for view in heads]
    cameras = plan.cameras[torch.tensor(heads, dtype=torch.long)]
    for view, picture in zip(heads, agreed(pictures, cameras, request.around, request.photo), strict=True):
        video.write_frame(view, 0, picture)


def _finish(
    request: GenerateRequest, in_photo: Tensor, place: tuple[int, int], picture: Tensor, hint: Tensor
) -> Tensor:
    """A decoded picture [H, W, 4] made to fit the photo.

    in_photo [N, 3]: the head as it is there; hint [H, W, 5]: the photo carried here.
    """
    view, frame = place
    plan, model = request.video.plan, request.head.model
    camera = plan.cameras[view]
    vertices = request.head.in_world(plan.parameters[frame : frame + 1])[0]
    raster = rasterize_mesh(vertices, model.faces, camera)
    skin, neck, scalp = (model.shows(raster, *names) for names in (request.tones.bare_regions, ("neck",), ("scalp",)))
    lift = raster.interpolate(request.lift.mean(-1, keepdim=True), model.faces)[..., 0]
    ground = request.around.seen_by(camera, skin, neck, scalp, lift)
    moved = raster.interpolate((vertices - in_photo).norm(dim=-1, keepdim=True), model.faces)[..., 0]
    way = functional.normalize(camera.centre, dim=-1)
    exact = [photo.camera for photo in (request.reference, *request.further) if photo.exact]
    photos = [functional.normalize(photo.centre, dim=-1) for photo in exact]
    angle = min(float(torch.dot(way, photo).clamp(-1, 1).acos()) for photo in photos)
    if request.nape is not None:
        picture = request.nape.shortened(picture, camera, ground, raster.covered.float(), request.tones)
    picture, begun = without_islands(picture), request.begun.get(place)
    toned = request.tones.matched(picture, hint, ground) if begun is None else with_tones_of(picture, begun)
    return with_detail(toned, hint, moved, angle)
