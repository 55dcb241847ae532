"""Training on two processes, by gloo on the CPU, against one process with the double batch."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.multiprocessing.spawn import spawn

from avatarcli.diffusion.transformer import CONDITIONING_CHANNELS, MultiViewVideoTransformer
from avatarcli.progress import SilentProgress
from avatarcli.training.loop import TrainConfig, train
from avatarcli.training.pieces import stream_pieces

CONFIG = TrainConfig(steps=6, batch_size=1, learning_rate=2e-3, warmup=2, checkpoint_every=3, ema_decay=0.5)
RUNS = {
    "whole": (False, 100),
    "sharded": (True, 100),
    "continued": (True, 100),
    "stopped": (True, 4),
}  # shard, last step
Batch = tuple[Tensor, Tensor]


class Stopped(Exception):
    """Stands for the end of the process."""


def toy() -> MultiViewVideoTransformer:
    torch.manual_seed(0)
    model = MultiViewVideoTransformer(num_attention_heads=1, attention_head_dim=32, num_layers=2, time_embed_dim=9)
    torch.nn.init.normal_(model.conditioning_proj.weight, std=0.05)
    model.enable_gradient_checkpointing()
    return model


def half(step: int, process: int) -> Batch:
    """What one of two processes sees at a step."""
    generator = torch.Generator().manual_seed(2 * step + process)
    latents, targets = torch.randn(2, 1, 3, 16, 4, 4, generator=generator)
    return latents, targets


def double(step: int) -> Batch:
    pairs = zip(half(step, 0), half(step, 1), strict=True)
    latents, targets = (torch.cat(pair) for pair in pairs)
    return latents, targets


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    latents, targets = batch
    conditioning = latents.repeat(1, 1, -(-CONDITIONING_CHANNELS // 16), 1, 1)[:, :, :CONDITIONING_CHANNELS]
    given = torch.zeros(latents.shape[:2], dtype=torch.bool)
    velocity = model(latents, torch.full(latents.shape[:2], 500), torch.tensor([0, 1, 0]), given, conditioning)
    return (velocity - targets).square().mean()


def stopping(source: Callable[[int], Batch], at: int) -> Callable[[int], Batch]:
    def stopped(step: int) -> Batch:
        if step >= at:
            raise Stopped
        return source(step)

    return stopped


def _worker(rank: int, ports: list[int], folder: Path) -> None:
    """All runs of this file in one pair of processes: to start them takes longer than all of their work."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    for (name, (shard, stop)), port in zip(RUNS.items(), ports, strict=True):
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        assert PartialState(cpu=True).num_processes == 2

        def checked(model: nn.Module, batch: Batch, shard: bool = shard) -> Tensor:
            assert all(isinstance(parameter, DTensor) == shard for parameter in model.parameters())
            return loss_of(model, batch)

        model, config = toy(), replace(CONFIG, shard=shard)
        source = stopping(lambda step: half(step, rank), stop)
        try:
            result = train(model, source, checked, config, folder / name, SilentProgress())
        except Stopped:
            Accelerator(cpu=True).end_training()
        else:
            assert type(model) is MultiViewVideoTransformer
            assert result.main_process == (rank == 0)
            if result.main_process:
                save_file(model.state_dict(), folder / name / "result.safetensors")
        AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    model = toy()
    train(model, double, loss_of, CONFIG, tmp_path_factory.mktemp("alone"), SilentProgress())
    return model.state_dict()


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with those of all RUNS."""
    folder = tmp_path_factory.mktemp("together")
    with pytest.raises(Stopped):
        train(toy(), stopping(double, 4), loss_of, CONFIG, folder / "continued", SilentProgress())
    sockets = [socket.socket() for _ in RUNS]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    ports = [free.getsockname()[1] for free in sockets]
    for free in sockets:
        free.close()
    spawn(_worker, (ports, folder), nprocs=2)
    return folder


def equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    start = toy().state_dict()
    for name, value in wanted.items():
        assert torch.allclose(found[name], value, atol=2e-5), name
    assert max(float((wanted[name] - start[name]).abs().amax()) for name in wanted) > 2e-3


@pytest.mark.parametrize("run", ["whole", "sharded", "continued"])
def test_two_processes_learn_what_one_learns_from_the_double_batch(
    alone: dict[str, Tensor], together: Path, run: str
) -> None:
    """Also where one process began and two went on from its checkpoint."""
    equal(load_file(together / run / "result.safetensors"), alone)
    kept = dict(stream_pieces(together / run / "checkpoint"))
    assert kept["exp_avg.proj_out.weight"].shape == alone["proj_out.weight"].shape


def test_one_process_goes_on_from_the_checkpoint_of_two(alone: dict[str, Tensor], together: Path) -> None:
    assert not (together / "stopped" / "result.safetensors").exists()
    model = toy()
    train(model, double, loss_of, CONFIG, together / "stopped", SilentProgress())
    equal(model.state_dict(), alone)
