"""Sampling: given latents, guidance, seeds, resuming, and the frames on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.conditioning import Conditioner, Reference
from avatarcli.diffusion.pipeline import MultiViewPipeline, SamplingSettings, SecondLook
from avatarcli.diffusion.schedule import LatentScene, denoise
from avatarcli.diffusion.transformer import CONDITIONING_CHANNELS, MultiViewVideoTransformer
from avatarcli.errors import UsageError
from avatarcli.head.model import PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing
from avatarcli.multiview.pictures import MultiViewVideo
from avatarcli.multiview.plan import Reel
from avatarcli.progress import SilentProgress
from toy_plan import full_plan

SIZE = 32
SETTINGS = SamplingSettings(steps=2, group_clips=2, group_latents=4)


def toy_transformer() -> MultiViewVideoTransformer:
    torch.manual_seed(0)
    model = MultiViewVideoTransformer(num_attention_heads=2, attention_head_dim=16, num_layers=1, time_embed_dim=16)
    torch.nn.init.normal_(model.conditioning_proj.weight, std=0.05)
    return model.eval()


def scene(count: int = 5) -> LatentScene:
    generator = torch.Generator().manual_seed(1)
    return LatentScene(
        latents=torch.randn(2, count, 16, 4, 4, generator=generator),
        given=torch.arange(count).expand(2, -1) < torch.tensor([[1], [3]]),
        time_index=torch.arange(count) % 3,
        conditioning=torch.randn(2, count, CONDITIONING_CHANNELS, 4, 4, generator=generator),
    )


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_given_latents_come_out_untouched(guidance: float) -> None:
    known = scene()
    noise = torch.randn(known.latents.shape, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        sampled = denoise(toy_transformer(), known, noise, steps=4, guidance=guidance)
    assert torch.equal(sampled[known.given], known.latents[known.given])
    assert torch.isfinite(sampled).all()
    assert (sampled - noise)[~known.given].abs().amax() > 0.1


def test_guidance_extrapolates_from_the_photo_hidden() -> None:
    """One step is linear in the velocity, so guidance 0 is the blind sample, and 2 mirrors it about 1."""
    known, model = scene(), toy_transformer()
    noise = torch.randn(known.latents.shape, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        blind, plain, strong = (denoise(model, known, noise, steps=1, guidance=g) for g in (0.0, 1.0, 2.0))
        changed = replace(known, latents=known.latents.clone())
        changed.latents[:, 0] += 1
        assert torch.allclose(denoise(model, changed, noise, steps=1, guidance=0.0)[:, 1:], blind[:, 1:], atol=1e-6)
    assert torch.allclose(strong - plain, plain - blind, atol=1e-4)
    assert (plain - blind)[:, 3:].abs().amax() > 1e-4


def test_steps_that_the_schedule_cannot_walk_are_refused() -> None:
    known = scene()
    with pytest.raises(UsageError, match="7 denoising steps"):
        denoise(toy_transformer(), known, known.latents, steps=7)


def test_a_second_look_keeps_the_more_of_what_it_begins_with_the_later_it_begins() -> None:
    known, model = scene(), toy_transformer()
    noise = torch.randn(known.latents.shape, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        whole, all_again, half, little = (denoise(model, known, noise, steps=20, again=n) for n in (0, 20, 10, 1))
    # Before the first step there is no signal left.
    torch.testing.assert_close(all_again, whole)
    away = [float((x - known.latents)[~known.given].abs().mean()) for x in (whole, half, little)]
    assert away[0] > away[1] > 3 * away[2] > 0
    assert torch.equal(half[known.given], known.latents[known.given])


@pytest.fixture(scope="module")
def pipeline() -> MultiViewPipeline:
    torch.manual_seed(1)
    return MultiViewPipeline(toy_transformer(), SmallVideoAutoencoder((8, 8, 8), 16).eval(), SETTINGS)


@pytest.fixture(scope="module")
def conditioner(mean_head: PersonalHead) -> Conditioner:
    camera = Framing.of(mean_head.neutral).cameras(torch.zeros(1), torch.zeros(1), SIZE)[0]
    picture = torch.rand(SIZE, SIZE, 4, generator=torch.Generator().manual_seed(4))
    return Conditioner(mean_head, Reference(picture, torch.ones(SIZE, SIZE), camera, HeadParameters.at_rest()))


def video(folder: Path, conditioner: Conditioner, *, frames: int = 6, size: int = SIZE) -> MultiViewVideo:
    framing = Framing.of(conditioner.head.neutral)
    return MultiViewVideo(folder, full_plan(framing, 3, frames, size), framing, generator="mmvdm")


class Killed(Exception):
    """Stands for the end of the process."""


class Counting(SilentProgress):
    """Counts steps of denoising, and dies after so many of them."""

    def __init__(self, limit: int = 1000) -> None:
        self.steps, self.limit = 0, limit

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Any]:
        def advance(steps: int) -> None:
            if description == "denoise":
                self.steps += steps
                if self.steps > self.limit:
                    raise Killed

        yield advance


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "frames").glob("*.png"))}


def test_plan_is_written_reproducibly_and_resumes(
    pipeline: MultiViewPipeline, conditioner: Conditioner, tmp_path: Path
) -> None:
    whole, killed, other = (video(tmp_path / name, conditioner) for name in ("whole", "killed", "other"))
    progress = Counting()
    pipeline.generate(conditioner, whole, seed=3, progress=progress)
    loaded = MultiViewVideo.load(whole.folder)
    assert (loaded.plan.views, loaded.plan.frames) == (3, 6)
    assert len(pictures(whole.folder)) == 18
    assert loaded.read_frame(2, 5).shape == (SIZE, SIZE, 4)

    total = progress.steps
    with pytest.raises(Killed):
        pipeline.generate(conditioner, killed, seed=3, progress=Counting(limit=5))
    finished = len(list((killed.folder / ".latents").glob("*.safetensors")))
    assert finished == 2
    # A half-written group counts for nothing.
    (killed.folder / ".latents" / "group_0002.safetensors").write_bytes(b"half")
    written = {p.name: p.stat().st_mtime_ns for p in (killed.folder / ".latents").glob("*_000[01].*")}
    again = Counting()
    pipeline.generate(conditioner, killed, seed=3, progress=again)
    assert again.steps == total
    assert written == {p.name: p.stat().st_mtime_ns for p in (killed.folder / ".latents").glob("*_000[01].*")}
    assert pictures(killed.folder) == pictures(whole.folder)

    # Another seed does not go on from these groups.
    before = pictures(whole.folder)
    pipeline.generate(conditioner, whole, seed=4, progress=SilentProgress())
    assert pictures(whole.folder) != before
    pipeline.generate(conditioner, other, seed=4, progress=SilentProgress())
    assert pictures(other.folder) == pictures(whole.folder)


def test_a_plan_may_mix_stills_and_clips_and_every_picture_is_finished(
    pipeline: MultiViewPipeline, conditioner: Conditioner, tmp_path: Path
) -> None:
    """Two heads at rest, a face in a clip of two latents, and one of its expressions from elsewhere."""
    whole = video(tmp_path, conditioner)
    clips = (Reel(0, (0,)), Reel(1, (0,)), Reel(2, (0, 2, 4)), Reel(0, (5,)))
    mixed = replace(whole, plan=replace(whole.plan, clips=clips, crops=1))
    seen: list[tuple[int, int]] = []

    def finish(place: tuple[int, int], picture: Tensor, hint: Tensor) -> Tensor:
        """Half as opaque, and where the photo is seen there is nothing."""
        assert picture.shape == (SIZE, SIZE, 4)
        assert (picture[..., :3] <= picture[..., 3:]).all()
        maps = conditioner.of_view(mixed.plan.parameters[place[1] : place[1] + 1], mixed.plan.cameras[place[0]])
        torch.testing.assert_close(hint, maps.hint[0].movedim(0, -1))
        seen.append(place)
        return 0.5 * picture * (hint[..., 3:4] == 0)

    pipeline.generate(conditioner, mixed, seed=3, progress=SilentProgress(), finish=finish)
    assert mixed.plan.pictures == [(0, 0), (1, 0), (2, 0), (2, 2), (2, 4), (0, 5)]
    assert sorted(seen) == sorted(mixed.plan.pictures)
    assert sorted(pictures(tmp_path)) == [f"v{view:03d}_t{frame:03d}.png" for view, frame in sorted(seen)]
    front = mixed.read_frame(0, 0)
    assert 0 < float(front[..., 3].amax()) <= 0.502
    assert (front[..., 3] == 0).float().mean() > 0.1
    loaded = MultiViewVideo.load(tmp_path)
    assert (loaded.plan.clips, loaded.plan.crops) == (clips, 1)


def test_what_goes_wrong_with_a_finished_picture_is_not_swallowed(
    pipeline: MultiViewPipeline, conditioner: Conditioner, tmp_path: Path
) -> None:
    def finish(place: tuple[int, int], picture: Tensor, hint: Tensor) -> Tensor:
        if place == (2, 0):
            raise Killed
        return picture

    whole = video(tmp_path, conditioner, frames=1)
    with pytest.raises(Killed):
        pipeline.generate(conditioner, whole, seed=3, progress=SilentProgress(), finish=finish)
    assert not (tmp_path / "transforms.json").exists()
    pipeline.generate(conditioner, whole, seed=3, progress=SilentProgress())
    assert len(pictures(tmp_path)) == 3
    assert MultiViewVideo.load(tmp_path).plan.views == 3


def test_groups_of_clips_that_are_shown_begin_with_pictures(
    pipeline: MultiViewPipeline, conditioner: Conditioner, tmp_path: Path
) -> None:
    """Of two groups, views 0 and 1, then view 2, the second is shown whole."""
    plain, second = (video(tmp_path / name, conditioner, frames=1) for name in ("plain", "second"))
    shown = {(view, 0): torch.full((SIZE, SIZE, 4), 0.5) for view in (0, 2)}
    pipeline.generate(conditioner, plain, seed=3, progress=SilentProgress())
    steps, changed = [], []
    for again in (1, 1, 2):
        progress = Counting()
        pipeline.generate(conditioner, second, seed=3, progress=progress, second_look=SecondLook(shown, again))
        steps.append(progress.steps)
        changed.append(
            [view for view in range(3) if not torch.equal(*(v.read_frame(view, 0) for v in (plain, second)))]
        )
    # The second time both groups are there already, and the first of all steps knows nothing but noise.
    assert steps == [3, 0, 4]
    assert changed == [[2], [2], []]


def test_pictures_do_not_depend_on_what_the_memory_holds(
    pipeline: MultiViewPipeline, conditioner: Conditioner, tmp_path: Path
) -> None:
    """Hints that were not kept from the conditioning are made again, alike."""
    kept, again = (video(tmp_path / name, conditioner, frames=1) for name in ("kept", "again"))
    pipeline.generate(conditioner, kept, seed=3, progress=SilentProgress())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avatarcli.diffusion.pipeline._HINTS_KEPT", 0)
        pipeline.generate(conditioner, again, seed=3, progress=SilentProgress())
    assert pictures(kept.folder) == pictures(again.folder)


def test_sizes_that_the_model_cannot_make_are_refused(
    pipeline: MultiViewPipeline, conditioner: Conditioner, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="multiple of 16"):
        pipeline.generate(conditioner, video(tmp_path, conditioner, size=40), seed=0, progress=SilentProgress())
