"""Training on people that are rendered as they are needed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.checkpoints import load_model, save_int8
from avatarcli.diffusion.transformer import CONDITIONING_CHANNELS, MultiViewVideoTransformer
from avatarcli.errors import UsageError
from avatarcli.progress import SilentProgress
from avatarcli.training.run import train_autoencoder, train_mmvdm
from avatarcli.training.settings import SourceSettings, StudioTable
from avatarcli.training.studio_source import Process, StudioBatches

SIZE = 32


@pytest.fixture(scope="module")
def table(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> StudioTable:
    folder = tmp_path_factory.mktemp("autoencoder")
    torch.manual_seed(0)
    save_int8(SmallVideoAutoencoder((8, 8, 8), 8), folder)
    return StudioTable(str(pack), autoencoder=str(folder), size=SIZE, face_views=1)


def batches(table: StudioTable, rank: int = 0) -> StudioBatches:
    return StudioBatches(table, Process(rank, 2, seed=3, device=torch.device("cpu")))


def test_every_process_and_step_sees_people_of_its_own_and_the_same_ones_again(table: StudioTable) -> None:
    wanted = SourceSettings(studio=True, views=(1, 2), latents=(1, 1))
    source = batches(table).scenes(1, wanted)
    first, second = source(0), source(1)
    elsewhere = batches(table, rank=1).scenes(1, wanted)(0)
    assert first.photo.shape == (1, 16, 4, 4)
    assert first.photo_conditioning.shape == (1, CONDITIONING_CHANNELS, 4, 4)
    views = first.latents.shape[1]
    assert views in (2, 3)  # the face's own view is one more
    assert first.latents.shape == (1, views, 1, 16, 4, 4)
    assert first.conditioning.shape == (1, views, 1, CONDITIONING_CHANNELS, 4, 4)
    assert first.weight is not None
    for other in (second, elsewhere):
        assert not torch.equal(other.photo, first.photo)
    again = batches(table).scenes(1, wanted)(0)
    assert torch.equal(again.latents, first.latents)
    assert torch.equal(again.conditioning, first.conditioning)


def test_both_models_train_on_it_without_any_folder(table: StudioTable, tmp_path: Path) -> None:
    text = f"""
[train]
steps = 1
batch_size = 1
learning_rate = 1e-3
[studio]
assets = "{table.assets}"
size = {SIZE}
[[curriculum]]
sources = [{{ studio = true, views = 1, latents = 1 }}]
"""
    settings = tmp_path / "settings.toml"
    settings.write_text(f"{text}\n[model]\nwidths = [8, 8, 8]\ntrunk_width = 8\n")
    train_autoencoder(None, tmp_path / "autoencoder", str(settings), SilentProgress())
    autoencoder = tmp_path / "autoencoder" / "model-int8"
    small = "[model]\nnum_attention_heads = 1\nnum_layers = 1\ntime_embed_dim = 8\n"
    settings.write_text(text + small)
    with pytest.raises(UsageError, match="needs `autoencoder`"):
        train_mmvdm(None, tmp_path / "mmvdm", str(settings), None, SilentProgress())
    settings.write_text(text.replace("[studio]", f'[studio]\nautoencoder = "{autoencoder}"') + small)
    train_mmvdm(None, tmp_path / "mmvdm", str(settings), None, SilentProgress())
    load_model(MultiViewVideoTransformer, tmp_path / "mmvdm" / "model")
    settings.write_text(text.replace("[studio]", "[loss]").replace("assets", "#").replace("size = 32", "") + small)
    with pytest.raises(UsageError, match=r"needs \[studio\] with `assets`"):
        train_mmvdm(None, tmp_path / "other", str(settings), None, SilentProgress())
    settings.write_text("[train]\nsteps = 1\nbatch_size = 2\nlearning_rate = 1e-3\n" + small)
    with pytest.raises(UsageError, match="with --data"):
        train_mmvdm(None, tmp_path / "other", str(settings), None, SilentProgress())
