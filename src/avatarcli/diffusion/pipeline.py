"""From one photo's track to the frames of a whole plan."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor, nn

from avatarcli.config import check_steps
from avatarcli.diffusion.autoencoder import LATENT_CHANNELS, CogVideoXVideoAutoencoder, SmallVideoAutoencoder
from avatarcli.diffusion.conditioning import Conditioner, FrameMaps
from avatarcli.diffusion.group_store import digest, read_group, read_round, write_group
from avatarcli.diffusion.groups import Group, Place, clip_latents, plan_groups, plan_rounds
from avatarcli.diffusion.packing import PIXELS_PER_LATENT, padded_frame_count
from avatarcli.diffusion.parallel import SequenceGroup
from avatarcli.diffusion.schedule import LatentScene, denoise
from avatarcli.diffusion.transformer import CONDITIONING_CHANNELS, MultiViewVideoTransformer
from avatarcli.errors import DeviceError, UsageError
from avatarcli.multiview.framing import Framing
from avatarcli.multiview.pictures import MultiViewVideo
from avatarcli.multiview.plan import Reel
from avatarcli.progress import Progress

# Of a place (view, frame), its picture [H, W, 4] and the photo carried there [H, W, 5]: the picture as it is kept.
Finish = Callable[[tuple[int, int], Tensor, Tensor], Tensor]

# Threads, and clips that may wait: finishing takes about as long as decoding, and a waiting picture 1 MB.
_FINISHERS = 4
_GROUP_FOLDER = ".latents"  # hidden: a working folder, not part of the result
_HINTS_KEPT = 1 << 26  # numbers, 256 MB: all hints of a plan for the mini model. Others are made again for decoding
_CELL = 16  # pixels: a patch of 2 latent cells of 8 pixels; pictures are whole patches


@dataclass(frozen=True)
class SamplingSettings:
    """How a plan is sampled. The default is for the mini model."""

    steps: int = 10  # denoising steps per group; a divisor of 1000
    guidance: float = 1.0  # 1 is none and half the cost
    group_clips: int = 10  # clips in a group
    group_latents: int = 24  # latents in a group, beside the photo's; a still is one, in longer clips one is 4 frames


@dataclass(frozen=True)
class SecondLook:
    """What some pictures begin with, instead of noise alone.

    pictures: by (view, frame), premultiplied RGBA [H, W, 4], of the pictures' own size; steps: how many of the denoising steps
    they go through, the last ones.
    """

    pictures: Mapping[tuple[int, int], Tensor]
    steps: int


@dataclass
class MultiViewPipeline:
    """The two models, ready to generate on `device`.

    processes: when several work on one plan, this one's place among them. offload: keep only the model at work on the device.
    """

    transformer: MultiViewVideoTransformer
    autoencoder: SmallVideoAutoencoder | CogVideoXVideoAutoencoder
    settings: SamplingSettings
    device: torch.device | str = "cpu"
    processes: SequenceGroup | None = None
    offload: bool = False

    def generate(
        self,
        conditioner: Conditioner,
        video: MultiViewVideo,
        *,
        seed: int,
        progress: Progress,
        signature: str = "",
        finish: Finish | None = None,
        second_look: SecondLook | None = None,
    ) -> None:
        """Write all frames of `video`'s plan into its folder.

        finish: what is done to every picture before it is written. second_look: clips whose frames it all has begin with them.

        Finished groups are kept beside the frames, and a run that was killed goes on with those that are missing; groups of
        another seed, setting, plan, photo, second look or `signature` (what the weights are) are made anew. With several
        processes, every one calls this alike.

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
        groups = plan_groups(plan, group_clips=self.settings.group_clips, group_latents=self.settings.group_latents)
        begun = second_look or SecondLook({}, 0)
        key = digest(
            [signature, seed, size, asdict(self.settings), groups, plan.clips, begun.steps, *begun.pictures],
            plan.cameras.world_to_camera,
            plan.cameras.K,
            plan.parameters.expression,
            conditioner.reference.picture,
            conditioner.head.neutral,
            *(tensor for photo in conditioner.further for tensor in (photo.picture, photo.camera.world_to_camera)),
            *begun.pictures.values(),
        )
        with self._memory_errors(), torch.inference_mode():
            hints: dict[int, Tensor] = {}
            latents = self._sample(conditioner, video, groups, begun, seed, key, hints, progress)
            self._decode(conditioner, video, latents, hints, finish or (lambda place, picture, hint: picture), progress)
        if self._first:
            video.write_transforms()

    @property
    def _rank(self) -> int:
        return 0 if self.processes is None else self.processes.rank

    @property
    def _size(self) -> int:
        return 1 if self.processes is None else self.processes.size

    @property
    def _first(self) -> bool:
        return self._rank == 0

    def _wait(self) -> None:
        if self.processes is not None:
            self.processes.wait()

    def _sample(
        self,
        conditioner: Conditioner,
        video: MultiViewVideo,
        groups: list[Group],
        begun: SecondLook,
        seed: int,
        key: str,
        hints: dict[int, Tensor],
        progress: Progress,
    ) -> dict[Place, Tensor]:
        """All latents [16, h, w] of the plan. Hints that were made on the way are left in `hints`, by clip."""
        folder = video.folder / _GROUP_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        found = {number: read_group(folder, number, group, key) for number, group in enumerate(groups)}
        done = {number: group for number, group in found.items() if group is not None}
        latents = {place: value for group in done.values() for place, value in group.items()}
        # Nobody may write a group before all have seen which ones there are.
        self._wait()
        if len(done) == len(groups):
            return latents
        size = video.plan.cameras.width
        rounds = plan_rounds(groups, done, processes=self._size, shareable=self._can_share(size))
        with self._resident(self.transformer):
            self.transformer.sequence_group = self.processes if all(part.shared for part in rounds) else None
            self._try_memory(groups, size, 1 + len(conditioner.further))
        with self._resident(self.autoencoder):
            photos, of_photos = self._encode_photos(conditioner, video.framing, size)
            of_clip = self._condition_clips(conditioner, video, hints, progress)
            starts = self._encode_starts(video, begun)
        again = [begun.steps if starts.keys() >= set(group.new) else 0 for group in groups]
        steps = [few or self.settings.steps for few in again]
        with (
            self._resident(self.transformer),
            progress.task("denoise", sum(steps)) as advance,
        ):
            advance(sum(steps[number] for number in done))
            for part in rounds:
                self.transformer.sequence_group = self.processes if part.shared else None
                mine = 0 if part.shared else self._rank
                if mine < len(part.groups):
                    number = part.groups[mine]
                    group = groups[number]
                    scene, noise = self._scene(group, latents, starts, photos, of_photos, of_clip, seed)
                    together = partial(_advance_together, advance, len(part.groups))
                    sampled = denoise(
                        self.transformer,
                        scene,
                        noise,
                        steps=self.settings.steps,
                        guidance=self.settings.guidance,
                        again=again[number],
                        advance=together,
                    )
                    # The others' groups may have more or fewer.
                    advance(sum(steps[other] - steps[number] for other in part.groups))
                    start = len(photos) + len(group.given)
                    made = {place: sampled[0, start + i].cpu() for i, place in enumerate(group.new)}
                    latents.update(made)
                    if self._first or not part.shared:
                        write_group(folder, number, made, key)
                if not part.shared:
                    self._wait()
                    latents.update(read_round(folder, part.groups, groups, key, skip=mine))
        return latents

    def _can_share(self, size: int) -> bool:
        patches = (size // PIXELS_PER_LATENT // self.transformer.config.patch_size) ** 2
        return self.processes is not None and self.processes.can_split(patches)

    def _try_memory(self, groups: list[Group], size: int, photos: int) -> None:
        """On a GPU, one pass of the largest group: that it does not fit is said now, not after minutes of preparation."""
        if torch.device(self.device).type != "cuda":
            return
        count = photos + max(len(group.places) for group in groups)
        side = size // PIXELS_PER_LATENT
        dtype = self.transformer.dtype
        self.transformer(
            torch.zeros(1, count, LATENT_CHANNELS, side, side, device=self.device, dtype=dtype),
            torch.zeros(1, count, device=self.device, dtype=torch.long),
            torch.zeros(count, device=self.device, dtype=torch.long),
            torch.zeros(1, count, device=self.device, dtype=torch.bool),
            torch.zeros(1, count, CONDITIONING_CHANNELS, side, side, device=self.device, dtype=dtype),
        )

    def _encode_photos(self, conditioner: Conditioner, framing: Framing, size: int) -> tuple[Tensor, Tensor]:
        """Latents [P, 16, h, w] and conditioning [P, 220, h, w] of the photo and of the further ones, which are given views."""
        photo = conditioner.reference.resized(size)
        views = [further.framed(framing, size) for further in conditioner.further]
        maps = [conditioner.of_reference(size)]
        maps += [conditioner.of_view(view.parameters, view.camera, inside=view.inside) for view in views]
        pictures = torch.stack([view.picture.permute(2, 0, 1)[None] for view in (photo, *views)])
        latents = [self.autoencoder.encode(picture[None].to(self.device))[0, 0] for picture in pictures]
        return torch.stack(latents), torch.stack([self._condition(of_one)[0] for of_one in maps])

    def _encode_starts(self, video: MultiViewVideo, begun: SecondLook) -> dict[Place, Tensor]:
        """Latents [16, h, w] of the clips that begin with pictures."""
        starts: dict[Place, Tensor] = {}
        for number, clip in enumerate(video.plan.clips):
            places = [(clip.view, frame) for frame in _padded(clip)]
            if begun.pictures.keys() >= set(places):
                pictures = torch.stack([begun.pictures[place].permute(2, 0, 1) for place in places])
                latents = self.autoencoder.encode(pictures[None].to(self.device))[0]
                starts |= {(number, t): latent for t, latent in enumerate(latents)}
        return starts

    def _condition(self, maps: FrameMaps) -> Tensor:
        """Conditioning [T, 220, h, w] of one clip."""
        warp = self.autoencoder.encode(maps.warp[None].to(self.device))[0]
        return torch.cat([maps.packed().to(self.device), warp], dim=1)

    def _condition_clips(
        self, conditioner: Conditioner, video: MultiViewVideo, hints: dict[int, Tensor], progress: Progress
    ) -> list[Tensor]:
        """Conditioning [T, 220, h, w] of each clip of the plan, on the CPU; the work is dealt out among the processes."""
        clips, latents = video.plan.clips, clip_latents(video.plan)
        conditions: list[Tensor] = []
        with progress.task("condition", len(clips)) as advance:
            for first in range(0, len(clips), self._size):
                mine = min(first + self._rank, len(clips) - 1)
                maps = _maps(conditioner, video, clips[mine])
                if sum(hint.numel() for hint in hints.values()) < _HINTS_KEPT:
                    hints[mine] = maps.hint
                made = self._condition(maps)[None]
                count = min(self._size, len(clips) - first)
                if self.processes is not None:
                    # What is gathered has one shape: shorter clips are padded.
                    longest = max(latents[first : first + count])
                    padding = made.new_zeros(1, longest - made.shape[1], *made.shape[2:])
                    made = self.processes.gather(torch.cat([made, padding], dim=1), dim=0)
                conditions.extend(part[: latents[first + i]] for i, part in enumerate(made[:count].cpu()))
                advance(count)
        return conditions

    def _scene(
        self,
        group: Group,
        latents: dict[Place, Tensor],
        starts: dict[Place, Tensor],
        photos: Tensor,
        of_photos: Tensor,
        of_clip: list[Tensor],
        seed: int,
    ) -> tuple[LatentScene, Tensor]:
        noise = [place_noise(seed, place, photos.shape[1:]).to(photos) for place in group.places]
        known = [latents[place].to(photos) for place in group.given]
        first = [starts.get(place, photos[0]).to(photos) for place in group.new]
        clean = len(photos) + len(known)
        conditions = [of_clip[c][t].to(of_photos) for c, t in group.places]
        scene = LatentScene(
            latents=torch.stack([*photos, *known, *first])[None],
            given=(torch.arange(len(photos) + len(noise), device=photos.device) < clean)[None],
            time_index=torch.tensor([*(0 for _ in photos), *(t for _, t in group.places)], device=photos.device),
            conditioning=torch.stack([*of_photos, *conditions])[None],
        )
        return scene, torch.stack([*torch.zeros_like(photos), *noise])[None]

    def _decode(
        self,
        conditioner: Conditioner,
        video: MultiViewVideo,
        latents: dict[Place, Tensor],
        hints: dict[int, Tensor],
        finish: Finish,
        progress: Progress,
    ) -> None:
        """Write the frames, the clips dealt out among the processes."""
        clips, counts = video.plan.clips, clip_latents(video.plan)
        mine = range(self._rank, len(clips), self._size)
        with (
            self._resident(self.autoencoder),
            progress.task("decode", len(mine)) as advance,
            ThreadPoolExecutor(_FINISHERS) as pool,
        ):
            # Pictures are finished and compressed beside the decoding of the next ones.
            kept: deque[list[Future[None]]] = deque()
            for number in mine:
                clip = clips[number]
                stack = torch.stack([latents[number, t] for t in range(counts[number])])[None].to(self.device)
                hint = hints[number] if number in hints else _maps(conditioner, video, clip).hint
                pictures = self.autoencoder.decode(stack, hint[None].to(self.device))[0].float().clamp(0, 1).cpu()
                # Premultiplied color cannot exceed its alpha.
                pictures[:, :3] = torch.minimum(pictures[:, :3], pictures[:, 3:])
                # What is beyond the clip's frames is padding.
                shown = zip(clip.frames, pictures.movedim(1, -1), hint.movedim(1, -1), strict=False)
                kept.append(
                    [
                        pool.submit(_keep, video, (clip.view, frame), picture, warp, finish)
                        for frame, picture, warp in shown
                    ]
                )
                if len(kept) > _FINISHERS:
                    _results(kept.popleft())
                advance(1)
            for waiting in kept:
                _results(waiting)
        self._wait()

    @contextmanager
    def _resident(self, module: nn.Module) -> Iterator[None]:
        """Have a model on the device; with offloading, only for as long as it works."""
        module.to(self.device)
        yield
        if self.offload:
            module.to("cpu")

    @contextmanager
    def _memory_errors(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            what = f"groups of {self.settings.group_latents} latents"
            if isinstance(error, torch.cuda.OutOfMemoryError):
                mend = (
                    "more GPUs or a smaller --preset" if self.offload else "--offload, more GPUs or a smaller --preset"
                )
                raise DeviceError(f"the GPU has too little memory for {what}: use {mend}") from error
            if "DefaultCPUAllocator" in str(error):
                raise DeviceError(f"too little memory for {what}: use a smaller --preset") from error
            raise


def _advance_together(advance: Callable[[int], None], groups: int, steps: int) -> None:
    """A step here is a step of every process that makes a group of the same round."""
    advance(steps * groups)


@torch.inference_mode()
def _keep(video: MultiViewVideo, place: tuple[int, int], picture: Tensor, hint: Tensor, finish: Finish) -> None:
    """Finish a picture and write it. Inference mode is a thread's own."""
    video.write_frame(*place, finish(place, picture, hint))


def _results(futures: list[Future[None]]) -> None:
    """Wait, and raise what was raised."""
    for future in futures:
        future.result()


def place_noise(seed: int, place: Place, shape: torch.Size) -> Tensor:
    """The noise that a place starts from, the same in whatever group and on whatever device it is made."""
    generator = torch.Generator().manual_seed(int(digest([seed, *place])[:15], 16))
    return torch.randn(shape, generator=generator)


def _maps(conditioner: Conditioner, video: MultiViewVideo, clip: Reel) -> FrameMaps:
    """The maps of a clip's frames, filled up to whole latents by repeating the last one."""
    return conditioner.of_view(video.plan.parameters[torch.tensor(_padded(clip))], video.plan.cameras[clip.view])


def _padded(clip: Reel) -> list[int]:
    """A clip's frames, filled up to whole latents by repeating the last one."""
    missing = padded_frame_count(len(clip.frames)) - len(clip.frames)
    return [*clip.frames, *missing * clip.frames[-1:]]
