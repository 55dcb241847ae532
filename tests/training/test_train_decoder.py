"""Training a decoder alone: what its targets are, that it learns to use the hint, and the whole of `avatar train decoder`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder, with_normalised_hint
from avatarcli.diffusion.checkpoints import load_model, save_int8
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import UsageError
from avatarcli.progress import SilentProgress
from avatarcli.studio.sample import StudioSample
from avatarcli.training.decoder import DecoderBatch, decoder_batch, decoder_loss, disturbed, patches
from avatarcli.training.loop import TrainConfig, train
from avatarcli.training.pool.encoding import Tone
from avatarcli.training.pool.imagined import decoder_errors
from avatarcli.training.run import train_decoder
from avatarcli.weights.lpips import Lpips

SIZE = 32


def pictures(count: int, seed: int) -> Tensor:
    """Premultiplied RGBA with detail that the latents of a toy cannot hold, and soft edges."""
    generator = torch.Generator().manual_seed(seed)
    color = torch.rand(count, 3, SIZE // 2, SIZE // 2, generator=generator)
    alpha = torch.ones(count, 1, SIZE, SIZE)
    return torch.cat([functional.interpolate(color, scale_factor=2.0), alpha], dim=1)


def seen_left(truth: Tensor) -> Tensor:
    """Hints [B, 5, H, W] that show the left half, squarely."""
    hint = torch.cat([truth, torch.ones_like(truth[:, :1])], dim=1)
    hint[..., SIZE // 2 :] = 0
    return hint


def test_a_decoder_learns_to_look_at_the_hint_and_only_where_it_shows_something(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = with_normalised_hint(SmallVideoAutoencoder((16, 16, 16), 16))

    def source(step: int) -> DecoderBatch:
        truth = pictures(4, step)
        generator = torch.Generator().manual_seed(step)
        nothing = torch.zeros(4, 16, SIZE // 8, SIZE // 8)
        return decoder_batch(nothing, seen_left(truth), truth, truth, torch.zeros(4) > 0, generator, hide_hint=0.0)

    config = TrainConfig(steps=60, batch_size=4, learning_rate=1e-2, warmup=10, flat=0.4, ema_decay=0.9)
    loss = partial(decoder_loss, network=None)
    train(model.decoder, source, loss, config, tmp_path, SilentProgress())
    truth = pictures(4, 1000)
    with torch.inference_mode():
        made = model.decode(torch.zeros(4, 1, 16, SIZE // 8, SIZE // 8), seen_left(truth)[:, None])[:, 0]
    error = (made - truth)[:, :3].abs()
    assert error[..., : SIZE // 2 - 4].mean() < 0.25 * error[..., SIZE // 2 + 4 :].mean()


def test_near_the_hint_nothing_is_asked_of_imagined_latents_and_others_see_the_truth_there() -> None:
    truth, plain = torch.full((2, 4, 128, 128), 0.8), torch.zeros(2, 4, 128, 128)
    hint = torch.zeros(2, 5, 128, 128)
    hint[:, :, 32:64, 10:40] = 0.5
    hint[:, 3, 32:64, 10:40] = 1
    latents, imagined = torch.zeros(2, 16, 16, 16), torch.tensor([True, False])
    batch = decoder_batch(latents, hint, truth, plain, imagined, torch.Generator().manual_seed(4), hide_hint=0.0)
    assert not batch.target[0].any()
    assert torch.equal(batch.target[1, 0], truth[1])
    weight = batch.weight[:, 0, 0]
    assert (weight[0, 32:64, 10:40] == 0).all()
    assert (weight[0, :, 90:] == 1).all()
    assert (weight[0].diff(dim=-1).abs() < 0.1).all()  # no edge between the two
    assert (weight[1, 32:64, 10:40] == 2).all()
    # The imagined one has its own hint, the other one some patches of it.
    colors = [shown[0, 0, 36:60, 14:36] for shown in batch.hint]
    assert ((colors[0] - 0.5).abs() < 0.15).all()
    assert ((colors[1] - 0.8).abs() < 0.15).any()
    # Without its hint a sample has nothing near the photo.
    hidden = decoder_batch(latents, hint, truth, plain, imagined, torch.Generator().manual_seed(0), hide_hint=1.0)
    assert not hidden.hint.any()
    assert (hidden.weight == 1).all()


def test_a_quarter_of_a_hint_is_carried_as_it_is_in_patches() -> None:
    found = patches(50, 64, torch.Generator().manual_seed(0))
    assert 0.1 < found.float().mean() < 0.4
    assert (found[..., 1:] != found[..., :-1]).float().mean() < 0.1


def test_disturbed_hints_are_moved_by_some_pixels_and_stay_premultiplied() -> None:
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    hint = torch.stack([x / 256, y / 256, 0 * x + 0.4, 0 * x + 1, 0 * x + 0.9]).repeat(64, 1, 1, 1)
    found = disturbed(hint, torch.Generator().manual_seed(0))
    changed = (found != hint).flatten(1).any(1)
    assert 32 < changed.sum() < 62
    inside = found[changed][..., 16:-16, 16:-16]
    assert (inside[:, 3] > 0.99).all()
    # Positions along x and y, told by the colors, in units of the gain that blue shows.
    gain = inside[:, 2].mean((1, 2)) / 0.4
    shifts = (inside[:, :2] / gain[:, None, None, None] - hint[0, :2, 16:-16, 16:-16]).mean((2, 3)) * 256
    assert 0.2 < shifts.abs().mean() < 6
    assert 0.01 < (gain - 1).abs().mean() < 0.15
    assert (found[:, :3] <= found[:, 3:4] + 1e-6).all()


def toy_person(number: int) -> StudioSample:
    """Two views and two photos of nobody."""
    generator = torch.Generator().manual_seed(number)

    def bytes_of(*shape: int) -> Tensor:
        return (torch.rand(*shape, SIZE, SIZE, generator=generator) * 255).byte()

    def halves(*shape: int) -> Tensor:
        return torch.rand(*shape, SIZE // 8, SIZE // 8, generator=generator).half()

    return StudioSample(
        number, video=bytes_of(2, 1, 4), hint=bytes_of(2, 2, 1, 5), maps=halves(2, 2, 1, 204), weight=halves(2, 1, 1),
        photo=bytes_of(2, 4), photo_hint=bytes_of(2, 5), photo_maps=halves(2, 204),
    )  # fmt: skip


def test_a_recolored_person_has_one_tone_in_all_pictures() -> None:
    person = toy_person(0)
    # The same pixel in each of them.
    for picture in (person.video, person.hint, person.photo, person.photo_hint):
        picture[..., :4, 3, 5] = torch.tensor([90, 120, 60, 200], dtype=torch.uint8)
    changed = Tone((1.2, 1.0, 0.9), 0.8, 1.1).recolored(person)
    there = [getattr(changed, name)[..., :4, 3, 5] for name in ("video", "hint", "photo", "photo_hint")]
    colors = torch.cat([pixels.reshape(-1, 4) for pixels in there])
    assert (colors == colors[0]).all()
    assert (colors[0, :3] != torch.tensor([90, 120, 60])).any()
    assert torch.equal(changed.maps, person.maps)
    assert torch.equal(changed.hint[..., 4, :, :], person.hint[..., 4, :, :])


class MeanColor(Lpips):
    """Tells pictures apart by their mean color."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def distances(self, images: Tensor, targets: Tensor) -> Tensor:
        return (images.mean((2, 3)) - targets.mean((2, 3))).abs().sum(1)


def test_views_from_the_front_are_judged_by_their_looks() -> None:
    class HalfBright(nn.Module):
        """Half as bright as the truth without a hint, as bright with it."""

        def forward(self, latents: Tensor, hint: Tensor) -> Tensor:
            shown = hint[:, :, 3:4].amax((2, 3, 4), keepdim=True)
            return torch.cat([(0.25 + 0.25 * shown).expand(-1, -1, 3, 16, 16), torch.ones(len(hint), 1, 1, 16, 16)], 2)

    truth = torch.full((2, 4, 16, 16), 255, dtype=torch.uint8)
    truth[:, :3] = 128
    hint = torch.full((2, 5, 16, 16), 255, dtype=torch.uint8)
    hint[1] = 0  # nothing of the second view is in the photo
    person = {"truth": truth, "hint": hint, "plain": truth, "latents": torch.zeros(2, 4, 16, 2, 2)}
    scores = decoder_errors(HalfBright(), person, torch.device("cpu"), MeanColor())
    assert scores[3:, 1].tolist() == [1, 1]
    with_hint, without = scores[3:, 0].tolist()
    assert with_hint == pytest.approx(0, abs=0.01)
    assert without == pytest.approx(3 * 0.25, abs=0.01)
    assert decoder_errors(HalfBright(), person, torch.device("cpu"))[3:].abs().max() == 0


def test_the_command_changes_the_decoder_and_nothing_else(tmp_path: Path) -> None:
    torch.manual_seed(0)
    old = SmallVideoAutoencoder((8, 8, 8), 8)
    save_int8(old, tmp_path / "old" / "autoencoder")
    transformer = MultiViewVideoTransformer(num_attention_heads=1, num_layers=1, time_embed_dim=8)
    save_int8(transformer, tmp_path / "old" / "transformer")
    for number in range(3):
        toy_person(number).save(tmp_path / "real" / f"{number}.safetensors")
    config = tmp_path / "small.toml"
    config.write_text(
        "[train]\nsteps = 3\nbatch_size = 4\nlearning_rate = 1e-2\nwarmup = 1\nema_decay = 0.5\njudge_minutes = 10\n"
        "[loss]\nperceptual = 0\n"
        f'[pool]\nreal = "{tmp_path / "real"}"\nreal_held_out = 1\nreal_variants = 2\n'
        "[[curriculum]]\nsources = [{ real = true }]\n"
    )
    out = tmp_path / "out"
    train_decoder(out, str(config), tmp_path / "old", SilentProgress())
    made = load_model(SmallVideoAutoencoder, out / "weights" / "autoencoder")
    assert made.config.hint_fusion == "normalised"
    before = load_model(SmallVideoAutoencoder, tmp_path / "old" / "autoencoder").state_dict()
    changed = {
        name for name, value in made.state_dict().items() if name in before and not torch.equal(value, before[name])
    }
    assert changed
    assert all(name.startswith(("decoder.coarse", "decoder.middle", "decoder.fine")) for name in changed)
    assert made.state_dict()["decoder.hint.trust.weight"].abs().max() > 0
    kept = load_file(out / "weights" / "transformer" / "model.int8.safetensors")
    assert kept.keys() == load_file(tmp_path / "old" / "transformer" / "model.int8.safetensors").keys()
    assert (out / "held-out-real.png").exists()
    assert "real inside" in (out / "scores.json").read_text()
    # A second call goes on where the first one stopped: it is done.
    train_decoder(out, str(config), tmp_path / "old", SilentProgress())

    config.write_text(config.read_text().replace("real = true", 'folder = "scenes"'))
    with pytest.raises(UsageError, match="rendered and real people only"):
        train_decoder(tmp_path / "none", str(config), tmp_path / "old", SilentProgress())
