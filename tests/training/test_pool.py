"""What a pool is made of: the store, changes of color, who is rendered by whom, the clock, weights to start from."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from avatarcli.diffusion.checkpoints import encode_int8, fill_from, save_int8
from avatarcli.diffusion.packing import pack_frames
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import UsageError, WeightsError
from avatarcli.studio.dataset import StudioSettings
from avatarcli.studio.encoding import EncodedSample
from avatarcli.training.clock import Clock
from avatarcli.training.loop import TrainConfig, learning_rate_factor
from avatarcli.training.pool.encoding import Tone
from avatarcli.training.pool.renderer import Orders
from avatarcli.training.pool.store import LatentStore

VIEWS, LATENTS, SIDE = 3, 2, 4


def encoded(number: float) -> EncodedSample:
    """Everything says whose, of which view and of which latent or frame it is."""
    view = number * 100 + torch.arange(VIEWS, dtype=torch.float32)[:, None] * 10
    latent, frame = view + torch.arange(LATENTS), view + torch.arange(5)

    def filled(places: Tensor, channels: int) -> Tensor:
        return places[..., None, None, None].expand(*places.shape, channels, SIDE, SIDE).contiguous()

    whose = torch.tensor(number)
    return EncodedSample(
        latents=filled(latent, 16), warp=filled(latent + 0.5, 16), maps=filled(frame, 51), weight=filled(latent, 1),
        photo=filled(whose, 16), photo_warp=filled(whose + 0.5, 16), photo_maps=filled(whose, 51),
    )  # fmt: skip


def test_a_full_store_gives_up_its_oldest_and_draws_what_belongs_together() -> None:
    store = LatentStore(3, torch.device("cpu"))
    for number in range(5):
        store.add(encoded(number))
    assert (len(store), store.added) == (3, 5)
    batch = store.draw(200, torch.Generator().manual_seed(0), views=2, latents=9)
    people = batch.photo[:, 0, 0, 0]
    assert set(people.tolist()) == {2, 3, 4}
    place = batch.latents[..., 0, 0, 0]
    assert place.shape == (200, 2, LATENTS)
    assert torch.equal((place[:, 0, 0] // 100), people)
    seen = (place[:, :, 0] % 100 / 10).long()
    assert (seen[:, 0] != seen[:, 1]).all()
    assert len({tuple(pair) for pair in seen.tolist()}) == VIEWS * (VIEWS - 1)
    assert torch.equal(batch.weight[..., 0, 0, 0], place)
    # The conditioning: the frames' maps packed as the pipeline packs them, and the warp.
    frames = people[:1, None] * 100 + seen[0][:, None] * 10 + torch.arange(5)
    wanted = pack_frames(frames[..., None, None, None].expand(-1, -1, 51, SIDE, SIDE))
    assert torch.equal(batch.conditioning[0, :, :, :204], wanted)
    assert torch.equal(batch.conditioning[:, :, :, 204, 0, 0], place + 0.5)
    assert torch.equal(batch.photo_conditioning[:, 0, 0, 0], people)
    assert torch.equal(batch.photo_conditioning[:, -1, 0, 0], people + 0.5)
    short = store.draw(4, torch.Generator().manual_seed(0), views=9, latents=1)
    assert short.latents.shape[1:3] == (VIEWS, 1)
    with pytest.raises(ValueError, match="photo has shape"):
        store.add(replace(encoded(1), photo=torch.zeros(16, 2, 2)))


def test_colors_change_alike_everywhere_and_transparency_stays() -> None:
    generator = torch.Generator().manual_seed(0)
    alpha = torch.rand(2, 1, 6, 6, generator=generator)
    picture = torch.cat([torch.rand(2, 3, 6, 6, generator=generator) * alpha, alpha, torch.rand(2, 1, 6, 6)], dim=1)
    tones = [Tone.draw(np.random.default_rng(seed)) for seed in range(300)]
    assert any(tone.saturation == 0 for tone in tones)
    for tone in tones[:5]:
        changed = tone.apply(picture)
        assert torch.equal(changed[:, 3:], picture[:, 3:])
        assert (changed[:, :3] <= changed[:, 3:4] + 1e-6).all()
        # What one pixel becomes does not depend on its neighbours.
        assert torch.allclose(tone.apply(picture[:, :, 2:3, 4:5]), changed[:, :, 2:3, 4:5], atol=1e-6)
    assert torch.allclose(Tone((1, 1, 1), 1.0, 1.0).apply(picture), picture, atol=1e-6)
    grey = Tone((1, 1, 1), 0.0, 1.0).apply(picture)
    assert torch.allclose(grey[:, 0], grey[:, 2], atol=1e-6)
    doubled = Tone((2, 1, 1), 1.0, 1.0).apply(picture * 0.4)
    dark = picture[:, 0] * 0.4 < 0.45 * alpha[:, 0] * 0.4  # where twice as much is not too much
    assert torch.allclose(doubled[:, 0][dark], 2 * picture[:, 0][dark] * 0.4, atol=1e-5)


ORDERS = Orders(
    assets="pack", clips=None, skins=None, autoencoder="ae", settings=StudioSettings(8, 1, 256, face_views=2), clip_views=4,
    clip_frames=9, motion=0.25, toned=0.5, first=132, held_out=32, held_out_first=100, held_out_folder="held-out", workers=3,
    rank=0, world=2, device="cpu",
)  # fmt: skip


def test_nobody_is_rendered_twice_and_nobody_who_is_held_out(tmp_path: Path) -> None:
    drawn = [
        replace(ORDERS, rank=rank).people(worker, turn)
        for rank in range(2)
        for worker in range(3)
        for turn in range(50)
    ]
    assert len(set(drawn)) == len(drawn) == 300
    held_out = {ORDERS.held_out_first + number for number in range(ORDERS.held_out)}
    assert not held_out & set(drawn)
    # A training that goes on begins behind all who were seen.
    later = replace(ORDERS, first=max(drawn) + 1, workers=5, world=3)
    assert not {later.people(worker, turn) for worker in range(5) for turn in range(50)} & set(drawn)
    # Every process gets its share of clips.
    for rank in range(2):
        orders = replace(ORDERS, rank=rank)
        clips = [orders.is_clip(orders.people(worker, turn)) for turn in range(40) for worker in range(3)]
        assert sum(clips) == 30
    ORDERS.write(tmp_path)
    assert Orders.read(tmp_path) == ORDERS


def test_minutes_are_those_of_training() -> None:
    now = 100.0
    clock = Clock(0, minutes=2.0, now=lambda: now)
    shares, config = [], TrainConfig(batch_size=1, learning_rate=1.0, minutes=2.0, warmup=1, flat=0.5)
    for step in clock.steps():
        shares.append(clock.share(step))
        if step % 40 == 20:
            with clock.paused():
                now += 1000
        now += 0.5
    assert len(shares) == 240
    assert shares[0] == 0
    assert shares[-1] == pytest.approx(230 / 240)  # it is looked at every ten steps
    factors = [learning_rate_factor(config, step, share) for step, share in enumerate(shares)]
    assert all(factor == 1 for factor in factors[:121])
    assert factors[180] == pytest.approx(0.5)
    assert factors[-1] < 0.02
    # Going on from a checkpoint, with what was spent already.
    rest = Clock(0, minutes=2.0, now=lambda: now)
    first = next(rest.steps(77, minutes=1.5))
    assert (first, rest.share(first)) == (77, 0.75)


def test_steps_need_no_clock() -> None:
    clock = Clock(7, now=lambda: 0.0)
    assert list(clock.steps(3)) == [3, 4, 5, 6]
    assert clock.share(3) == 3 / 7
    assert list(islice(Clock(7, now=lambda: 0.0).steps(7), 3)) == []
    with pytest.raises(UsageError, match="steps or minutes, one of them"):
        TrainConfig(batch_size=1, learning_rate=1e-3)
    with pytest.raises(UsageError, match="steps or minutes, one of them"):
        TrainConfig(batch_size=1, learning_rate=1e-3, steps=3, minutes=1.0)


def small(seed: int, layers: int = 1) -> MultiViewVideoTransformer:
    torch.manual_seed(seed)
    return MultiViewVideoTransformer(num_attention_heads=4, num_layers=layers, time_embed_dim=8)


@pytest.mark.parametrize("kind", ["float16", "int8 file", "int8 folder"])
def test_training_starts_from_files_and_folders_of_weights(tmp_path: Path, kind: str) -> None:
    trained = small(1)
    place = tmp_path / "weights.safetensors"
    if kind == "int8 folder":
        place = tmp_path / "model"
        save_int8(trained, place)
    elif kind == "int8 file":
        save_file(encode_int8(trained.state_dict()), place)
    else:
        save_file({name: value.half() for name, value in trained.state_dict().items()}, place)
    model = small(2)
    fill_from(model, place)
    for name, value in trained.state_dict().items():
        assert torch.allclose(model.state_dict()[name], value, atol=float(value.abs().max()) / 100), name
    with pytest.raises(WeightsError, match="lacks"):
        fill_from(small(2, layers=2), place)
    with pytest.raises(WeightsError, match="missing"):
        fill_from(model, tmp_path / "none.safetensors")
