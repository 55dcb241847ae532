"""The loop: resuming, averaging, checkpoints in pieces, settings."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.errors import UsageError, WorkspaceError
from avatarcli.progress import SilentProgress
from avatarcli.training.autoencoder import autoencoder_loss
from avatarcli.training.loop import TrainConfig, learning_rate_factor, train
from avatarcli.training.pieces import stream_pieces, write_pieces
from avatarcli.training.settings import load_settings

CONFIG = TrainConfig(steps=12, batch_size=4, learning_rate=0.1, warmup=2, checkpoint_every=5, ema_decay=0.9)


class Stopped(Exception):
    """Stands for the end of the process."""


def model(width: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 1))


def source(step: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(16, 2, generator=torch.Generator().manual_seed(step))
    return x, x.prod(1, keepdim=True)


def loss_of(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return (network(batch[0]) - batch[1]).square().mean()


def test_stopped_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, stopped = model(), model()
    losses = train(whole, source, loss_of, CONFIG, tmp_path / "whole", SilentProgress()).losses

    def interrupted(step: int) -> tuple[Tensor, Tensor]:
        if step >= 8:
            raise Stopped
        return source(step)

    with pytest.raises(Stopped):
        train(stopped, interrupted, loss_of, CONFIG, tmp_path / "stopped", SilentProgress())
    stopped = model()
    rest = train(stopped, source, loss_of, CONFIG, tmp_path / "stopped", SilentProgress()).losses
    assert rest == losses[5:]
    for name, value in whole.state_dict().items():
        assert torch.equal(stopped.state_dict()[name], value), name


def test_weights_are_averaged(tmp_path: Path) -> None:
    """Against the recursion written out, with the weights that the checkpoint holds beside the average."""
    network = model()
    config = TrainConfig(steps=1, batch_size=4, learning_rate=0.1, warmup=1, ema_decay=0.9)
    before = network[0].weight.detach().clone()
    train(network, source, loss_of, config, tmp_path, SilentProgress())
    after = dict(stream_pieces(tmp_path / "checkpoint"))["model.0.weight"]
    assert not torch.equal(after, before)
    assert torch.allclose(network[0].weight, before * 0.1 + after * 0.9)


def test_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    train(model(), source, loss_of, CONFIG, tmp_path, SilentProgress())
    with pytest.raises(WorkspaceError, match="is of another model"):
        train(model(width=4), source, loss_of, CONFIG, tmp_path, SilentProgress())
    (tmp_path / "checkpoint" / "piece_0000.safetensors").write_bytes(b"half")
    with pytest.raises(WorkspaceError, match="damaged checkpoint"):
        train(model(), source, loss_of, CONFIG, tmp_path, SilentProgress())


def test_learning_rate_rises_stays_and_falls() -> None:
    config = TrainConfig(steps=100, batch_size=1, learning_rate=1.0, warmup=10, flat=0.6)
    factors = [learning_rate_factor(config, step, step / 100) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert all(f == 1 for f in factors[9:61])
    assert all(a > b for a, b in pairwise(factors[60:]))
    assert factors[80] == pytest.approx(0.5)
    assert factors[99] < 0.01


def test_pieces_are_small_and_come_back(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {f"t{i}": torch.randn(50, i, generator=generator) for i in range(500)}
    tensors |= {"large": torch.randn(300, 400, generator=generator), "step": torch.tensor(3), "none": torch.zeros(0, 2)}
    limit = 200_000
    write_pieces(tensors, tmp_path, piece_bytes=limit)
    sizes = [path.stat().st_size for path in tmp_path.glob("*.safetensors")]
    assert len(sizes) > 3
    assert max(sizes) <= limit
    found = dict(stream_pieces(tmp_path))
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], value) for name, value in tensors.items())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[train]\nsteps = 3\n", "no value for `batch_size` in train"),
        ("[train]\nsteps = 3\nbatch_size = 1\nlearning_rate = 1e-3\nspeed = 9\n", r"no setting train\.speed"),
        ("[model]\ndepth = 3\n", r"no setting model\.depth"),
        ("[other]\n", "no setting other"),
        ("train = 3\n", "not a table"),
        ("model = 3\n", "model = 3: choose a table"),
        ("[train]\nsteps = true\nbatch_size = 1\nlearning_rate = 1e-3\n", "train.steps = true: choose a whole number"),
        (
            "[train]\nsteps = 3\nbatch_size = 0\nlearning_rate = 1e-3\n",
            "train.batch_size = 0: choose a whole number from 1",
        ),
        ("[train\n", "not TOML"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        load_settings("autoencoder", str(path), model=SmallVideoAutoencoder, loss=autoencoder_loss)


def test_unknown_preset_lists_the_known() -> None:
    with pytest.raises(UsageError, match="presets of autoencoder: mini"):
        load_settings("autoencoder", "large", model=SmallVideoAutoencoder, loss=autoencoder_loss)
