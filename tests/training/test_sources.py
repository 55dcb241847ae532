"""Where batches come from: folders, references and views drawn at random, curricula, and making batches ahead."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.checkpoints import load_model
from avatarcli.diffusion.transformer import CONDITIONING_CHANNELS, MultiViewVideoTransformer
from avatarcli.errors import UsageError
from avatarcli.progress import SilentProgress
from avatarcli.settings import Layer
from avatarcli.training.autoencoder import autoencoder_loss
from avatarcli.training.data import SampleFolder, draw_scenes
from avatarcli.training.diffusion import diffusion_loss
from avatarcli.training.run import train_mmvdm
from avatarcli.training.settings import PhaseSettings, SourceSettings, load_settings
from avatarcli.training.sources import Curriculum, Phase, prefetched


def write_scenes(folder: Path, views: int, latents: int, *, photos: int | None = None, samples: int = 2) -> Path:
    """Samples in which everything says which view, latent or photo it is of."""
    folder.mkdir(parents=True, exist_ok=True)
    several = () if photos is None else (photos,)
    place = torch.arange(views)[:, None] * 10.0 + torch.arange(latents)
    photo = torch.arange(photos or 1, dtype=torch.float32)
    of_photo = photo if photos else photo[0]
    for number in range(samples):
        conditioning = of_photo.view(*several, 1, 1, 1, 1, 1) * 1000 + place[..., None, None, None]
        save_file(
            {
                "photo": of_photo.view(*several, 1, 1, 1).expand(*several, 16, 4, 4).contiguous(),
                "photo_conditioning": of_photo.view(*several, 1, 1, 1)
                .expand(*several, CONDITIONING_CHANNELS, 4, 4)
                .contiguous(),
                "latents": place[..., None, None, None].expand(-1, -1, 16, 4, 4).contiguous(),
                "conditioning": conditioning.expand(*several, views, latents, CONDITIONING_CHANNELS, 4, 4).contiguous(),
                "weight": place[..., None, None, None].expand(-1, -1, 1, 4, 4).contiguous(),
            },
            folder / f"{number}.safetensors",
        )
    return folder


def test_views_latents_and_photos_are_drawn_at_random_and_stay_together(tmp_path: Path) -> None:
    folder = SampleFolder(write_scenes(tmp_path, 5, 3, photos=4))
    shapes, orders, photos = Counter(), set(), set()
    for step in range(60):
        generator = torch.Generator().manual_seed(step)
        batch = draw_scenes(folder, 2, "cpu", generator, views=(2, 4), latents=(1, 9))
        place = batch.latents[..., 0, 0, 0]
        shapes[tuple(place.shape[1:])] += 1
        orders.add(tuple((place[0, :, 0] / 10).int().tolist()))
        photos.update(batch.photo[:, 0, 0, 0].tolist())
        assert torch.equal(batch.weight[..., 0, 0, 0], place)
        assert torch.equal(place[0, 0] - place[0, 0, 0], torch.arange(place.shape[2]))  # from the first latent on
        wanted = place + 1000 * batch.photo[:, :1, 0, 0, None].squeeze(1)[:, :, None]
        assert torch.equal(batch.conditioning[..., 0, 0, 0], wanted)
        assert torch.equal(batch.photo_conditioning[:, 0, 0, 0], batch.photo[:, 0, 0, 0])
    assert shapes.keys() == {(views, latents) for views in (2, 3, 4) for latents in (1, 2, 3)}
    assert len(orders) > 20
    assert photos == {0, 1, 2, 3}
    everything = draw_scenes(folder, 1, "cpu", torch.Generator())
    assert everything.latents.shape[1:3] == (5, 3)


def test_curriculum_goes_from_phase_to_phase_and_mixes_by_weight() -> None:
    def named(name: str):
        return lambda step: (name, step)

    phases = [
        Phase(0.25, [(named("pictures"), 1.0)]),
        Phase(1.0, [(named("clips"), 1.0), (named("videos"), 3.0)]),
    ]
    curriculum = Curriculum(phases, lambda step: step / 400, seed=1)
    drawn = [curriculum(step) for step in range(400)]
    assert [step for _, step in drawn] == list(range(400))
    assert {name for name, _ in drawn[:100]} == {"pictures"}
    counts = Counter(name for name, _ in drawn[100:])
    assert counts["pictures"] == 0
    assert 190 < counts["videos"] < 260
    assert [curriculum(step) for step in (350, 120)] == [drawn[350], drawn[120]]
    other = Curriculum(phases, lambda step: step / 400, seed=2)
    assert [other(step) for step in range(150, 160)] != drawn[150:160]


def test_batches_are_made_ahead_in_order_by_another_thread() -> None:
    made: list[tuple[int, str]] = []

    def source(step: int) -> int:
        made.append((step, threading.current_thread().name))
        return step * step

    with prefetched(source, range(3, 8), depth=2) as batches:
        assert next(batches) == 9
        assert len(made) <= 3
        assert list(batches) == [16, 25, 36, 49]
    assert [step for step, _ in made] == [3, 4, 5, 6, 7]
    assert threading.current_thread().name not in {name for _, name in made}
    with prefetched(source, range(2), depth=0) as batches:
        assert list(batches) == [0, 1]
    assert made[-1][1] == threading.current_thread().name


def test_what_goes_wrong_ahead_is_raised_where_the_batch_is_wanted() -> None:
    def source(step: int) -> int:
        if step == 2:
            raise UsageError("the second sample is damaged")
        return step

    taken = []
    with (
        pytest.raises(UsageError, match="second sample"),
        prefetched(source, range(100), depth=4) as batches,
    ):
        taken.extend(batches)
    assert taken == [0, 1]
    before = threading.active_count()
    with prefetched(source, range(2), depth=1) as batches:
        next(batches)  # and no more: the thread ends with the block
    assert threading.active_count() == before


def test_training_follows_the_curriculum_of_its_settings(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_scenes(data / "pictures", 1, 1)
    write_scenes(data / "videos", 4, 2, photos=2)
    settings = tmp_path / "settings.toml"
    settings.write_text(
        """
[model]
num_attention_heads = 1
num_layers = 1
time_embed_dim = 8
[train]
steps = 4
batch_size = 2
learning_rate = 1e-3
[[curriculum]]
until = 0.5
sources = [{ folder = "pictures", batch_size = 3 }]
[[curriculum]]
sources = [{ folder = "pictures", weight = 0.1 }, { folder = "videos", views = [1, 2], latents = 2 }]
"""
    )
    loaded = load_settings("mmvdm", str(settings), model=MultiViewVideoTransformer, loss=diffusion_loss)
    assert loaded.curriculum == (
        PhaseSettings(0.5, (SourceSettings("pictures", batch_size=3),)),
        PhaseSettings(
            1.0, (SourceSettings("pictures", weight=0.1), SourceSettings("videos", views=(1, 2), latents=(2, 2)))
        ),
    )
    train_mmvdm(data, tmp_path / "out", str(settings), None, SilentProgress())
    load_model(MultiViewVideoTransformer, tmp_path / "out" / "model")
    with pytest.raises(UsageError, match="pictures holds no"):
        train_mmvdm(tmp_path / "nothing", tmp_path / "other", str(settings), None, SilentProgress())
    # A folder with samples of its own is all there is.
    write_scenes(tmp_path / "plain", 2, 1)
    train_mmvdm(tmp_path / "plain", tmp_path / "other", str(settings), None, SilentProgress())


@pytest.mark.parametrize("preset", ["mini", "2b"])
def test_presets_name_what_their_curriculum_wants(preset: str) -> None:
    settings = load_settings("mmvdm", preset, model=MultiViewVideoTransformer, loss=diffusion_loss)
    assert settings.curriculum[0].sources[0].folder == "pictures"
    assert {source.folder for source in settings.curriculum[-1].sources} >= {"views", "videos"}
    assert settings.train.shard == (preset == "2b")


@pytest.mark.parametrize("preset", ["studio", "studio-further"])
def test_presets_that_render_show_few_real_people(preset: str) -> None:
    """Of so few, more are learnt by heart."""
    assets = Layer("--assets", {"studio": {"assets": "makehuman"}, "pool": {"real": "london"}})
    settings = load_settings("mmvdm", preset, model=MultiViewVideoTransformer, loss=diffusion_loss, changes=[assets])
    assert settings.train.minutes <= 1.5 * settings.pool.render_minutes
    for phase in settings.curriculum:
        assert sum(source.weight for source in phase.sources) == pytest.approx(1)
        assert sum(source.weight for source in phase.sources if source.real) <= 0.04


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[curriculum]]\nuntil = 0.5\n", "must rise to 1, it is"),
        ("[[curriculum]]\nuntil = 1\n[[curriculum]]\nuntil = 0.5\n", "must rise to 1, it is"),
        ("[[curriculum]]\nsources = []\n", "needs sources"),
        ('[[curriculum]]\nsources = [{ folder = "a", weight = 0 }]\n', "weight = 0: choose a number above 0"),
        ("[[curriculum]]\nsources = [{ views = [3, 2] }]\n", r"views = \[3, 2\]: the fewest"),
        ("[[curriculum]]\nsources = [{ views = 0 }]\n", r"views = \[0, 0\]: choose a whole number from 1 on"),
        ("[[curriculum]]\nsources = [{ color = 1 }]\n", r"no setting curriculum\[0\].sources\[0\].color"),
        ("[curriculum]\nuntil = 1\n", r"\[\[curriculum\]\]"),
    ],
)
def test_bad_curricula_are_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(f"[train]\nsteps = 3\nbatch_size = 1\nlearning_rate = 1e-3\n{text}")
    with pytest.raises(UsageError, match=words):
        load_settings("autoencoder", str(path), model=SmallVideoAutoencoder, loss=autoencoder_loss)
