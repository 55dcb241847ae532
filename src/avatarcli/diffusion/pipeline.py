"""From one photo's track to the frames of a whole plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from avatarcli.diffusion.autoencoder import CogVideoXVideoAutoencoder, SmallVideoAutoencoder
from avatarcli.diffusion.conditioning import Conditioner, FrameMaps
from avatarcli.diffusion.groups import Group, Place, plan_groups
from avatarcli.diffusion.packing import latent_count, padded_frame_count
from avatarcli.diffusion.schedule import LatentScene, check_steps, denoise
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import DeviceError, UsageError
from avatarcli.files import write_atomically
from avatarcli.generation.multiview import MultiViewVideo
from avatarcli.head.track import HeadParameters
from avatarcli.progress import Progress

_GROUP_FOLDER = "latents"
_CELL = 16  # pixels: a patch of 2 latent cells of 8 pixels; pictures are whole patches


@dataclass(frozen=True)
class SamplingSettings:
    """How a plan is sampled. The default is for the mini model."""

    steps: int = 10  # denoising steps a group; a divisor of 1000
    guidance: float = 1.0  # 1 is none and half the cost
    group_views: int = 8  # views in a group
    group_latents: int = 24  # latents in a group, beside the photo's; a latent is 4 frames
    offload: bool = False  # keep only the model at work on the GPU


@dataclass
class MultiViewPipeline:
    """The two models, ready to generate on `device`."""

    transformer: MultiViewVideoTransformer
    autoencoder: SmallVideoAutoencoder | CogVideoXVideoAutoencoder
    settings: SamplingSettings
    device: torch.device | str = "cpu"

    def generate(
        self, conditioner: Conditioner, video: MultiViewVideo, *, seed: int, progress: Progress, signature: str = ""
    ) -> None:
        """Write all frames of `video`'s plan into its folder.

        Finished groups are kept beside the frames, and a run that was killed goes on after the last one; those of another
        seed, setting, plan or `signature` (whatever else the result depends on: photo, weights) are made anew. With a
        sequence group in the transformer, every process calls this alike.

        Raises:
            UsageError: the picture size or the settings cannot work.
            DeviceError: the GPU has too little memory.
        """
        plan = video.plan
        size = plan.cameras.width
        if size % _CELL or plan.cameras.height != size:
            raise UsageError(
                f"pictures of {size}×{plan.cameras.height}: the model makes squares of a multiple of {_CELL}"
            )
        check_steps(self.settings.steps)
        groups = plan_groups(
            plan.views,
            latent_count(padded_frame_count(plan.frames)),
            group_views=self.settings.group_views,
            group_latents=self.settings.group_latents,
        )
        key = _digest(
            [signature, seed, size, asdict(self.settings), groups], plan.cameras.K, plan.parameters.expression
        )
        with _memory_errors(self.settings), torch.inference_mode():
            latents = self._sample(conditioner, video, groups, seed, key, progress)
            self._decode(conditioner, video, latents, progress)
        if self._first:
            video.write_transforms()

    @property
    def _first(self) -> bool:
        group = self.transformer.sequence_group
        return group is None or group.rank == 0

    def _sample(
        self,
        conditioner: Conditioner,
        video: MultiViewVideo,
        groups: list[Group],
        seed: int,
        key: str,
        progress: Progress,
    ) -> dict[Place, Tensor]:
        """All latents [16, h, w] of the plan."""
        folder = video.folder / _GROUP_FOLDER
        if self._first:
            folder.mkdir(parents=True, exist_ok=True)
        done = _read_groups(folder, groups, key)
        finished = len(done)
        latents = {place: value for group in done for place, value in group.items()}
        if self.transformer.sequence_group is not None:
            # Nobody may write a group before all have seen which ones there are.
            self.transformer.sequence_group.wait()
        if finished == len(groups):
            return latents
        with self._resident(self.autoencoder):
            photo, of_photo = self._encode_photo(conditioner, video.plan.cameras.width)
            of_view = self._condition_views(conditioner, video, progress)
        with (
            self._resident(self.transformer),
            progress.task("denoise", self.settings.steps * len(groups)) as advance,
        ):
            advance(self.settings.steps * finished)
            for number in range(finished, len(groups)):
                group = groups[number]
                scene, noise = self._scene(group, latents, photo, of_photo, of_view, seed)
                sampled = denoise(
                    self.transformer,
                    scene,
                    noise,
                    steps=self.settings.steps,
                    guidance=self.settings.guidance,
                    advance=advance,
                )
                start = 1 + len(group.given)
                made = {place: sampled[0, start + i].cpu() for i, place in enumerate(group.new)}
                latents.update(made)
                if self._first:
                    write_atomically(_group_path(folder, number), _group_bytes(made, key))
        return latents

    def _encode_photo(self, conditioner: Conditioner, size: int) -> tuple[Tensor, Tensor]:
        """The photo's latent [16, h, w] and conditioning [220, h, w]."""
        picture = conditioner.reference.resized(size).picture.permute(2, 0, 1)[None, None]
        latent = self.autoencoder.encode(picture.to(self.device))[0, 0]
        return latent, self._condition(conditioner.of_reference(size))[0]

    def _condition(self, maps: FrameMaps) -> Tensor:
        """Conditioning [T, 220, h, w] of one view."""
        warp = self.autoencoder.encode(maps.warp[None].to(self.device))[0]
        return torch.cat([maps.packed().to(self.device), warp], dim=1)

    def _condition_views(self, conditioner: Conditioner, video: MultiViewVideo, progress: Progress) -> list[Tensor]:
        """Conditioning [T, 220, h, w] of each view of the plan."""
        parameters = _padded(video.plan.parameters)
        with progress.task("condition", video.plan.views) as advance:
            conditions = []
            for view in range(video.plan.views):
                conditions.append(self._condition(conditioner.of_view(parameters, video.plan.cameras[view])))
                advance(1)
        return conditions

    def _scene(
        self,
        group: Group,
        latents: dict[Place, Tensor],
        photo: Tensor,
        of_photo: Tensor,
        of_view: list[Tensor],
        seed: int,
    ) -> tuple[LatentScene, Tensor]:
        noise = [place_noise(seed, place, photo.shape).to(photo) for place in group.places]
        known = [latents[place].to(photo) for place in group.given]
        scene = LatentScene(
            latents=torch.stack([photo, *known, *noise[len(known) :]])[None],
            given=(torch.arange(1 + len(noise), device=photo.device) <= len(known))[None],
            time_index=torch.tensor([0, *(t for _, t in group.places)], device=photo.device),
            conditioning=torch.stack([of_photo, *(of_view[v][t] for v, t in group.places)])[None],
        )
        return scene, torch.stack([torch.zeros_like(photo), *noise])[None]

    def _decode(
        self, conditioner: Conditioner, video: MultiViewVideo, latents: dict[Place, Tensor], progress: Progress
    ) -> None:
        """Write the frames, the views dealt out among the processes."""
        plan = video.plan
        parameters = _padded(plan.parameters)
        count = latent_count(len(parameters))
        group = self.transformer.sequence_group
        mine = range(plan.views) if group is None else range(group.rank, plan.views, group.size)
        with self._resident(self.autoencoder), progress.task("decode", len(mine)) as advance:
            for view in mine:
                stack = torch.stack([latents[view, t] for t in range(count)])[None].to(self.device)
                hint = conditioner.of_view(parameters, plan.cameras[view]).hint[None].to(self.device)
                frames = self.autoencoder.decode(stack, hint)[0, : plan.frames].float().clamp(0, 1).cpu()
                # Premultiplied colour cannot exceed its alpha.
                frames[:, :3] = torch.minimum(frames[:, :3], frames[:, 3:])
                for frame, picture in enumerate(frames):
                    video.write_frame(view, frame, picture.permute(1, 2, 0))
                advance(1)
        if group is not None:
            group.wait()

    @contextmanager
    def _resident(self, module: nn.Module) -> Iterator[None]:
        """Have a model on the device; with offloading, only for as long as it works."""
        module.to(self.device)
        yield
        if self.settings.offload:
            module.to("cpu")


def place_noise(seed: int, place: Place, shape: torch.Size) -> Tensor:
    """The noise that a place starts from, the same in whatever group and on whatever device it is made."""
    view, latent = place
    generator = torch.Generator().manual_seed(int(_digest([seed, view, latent])[:15], 16))
    return torch.randn(shape, generator=generator)


def _padded(parameters: HeadParameters) -> HeadParameters:
    """Whole latents' worth of frames, the last one repeated."""
    frames = len(parameters)
    return parameters[torch.arange(padded_frame_count(frames)).clamp(max=frames - 1)]


def _digest(values: list[object], *tensors: Tensor) -> str:
    digest = hashlib.sha256(repr(values).encode())
    for tensor in tensors:
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _group_path(folder: Path, number: int) -> Path:
    return folder / f"group_{number:04d}.safetensors"


def _group_bytes(latents: dict[Place, Tensor], key: str) -> bytes:
    tensors = {f"v{view:03d}_t{latent:03d}": value.contiguous() for (view, latent), value in latents.items()}
    return save(tensors, metadata={"key": key})


def _read_groups(folder: Path, groups: list[Group], key: str) -> list[dict[Place, Tensor]]:
    """The latents of the first groups, as far as whole files of the same key go."""
    found: list[dict[Place, Tensor]] = []
    for number, group in enumerate(groups):
        try:
            with safe_open(str(_group_path(folder, number)), framework="pt") as file:
                if (file.metadata() or {}).get("key") != key:
                    break
                found.append({(v, t): file.get_tensor(f"v{v:03d}_t{t:03d}") for v, t in group.new})
        except (OSError, SafetensorError):
            break
    return found


@contextmanager
def _memory_errors(settings: SamplingSettings) -> Iterator[None]:
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        mend = "more GPUs or a smaller preset" if settings.offload else "--offload, more GPUs or a smaller preset"
        raise DeviceError(
            f"the GPU has too little memory for groups of {settings.group_latents} latents: use {mend}"
        ) from error
