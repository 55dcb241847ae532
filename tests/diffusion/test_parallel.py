"""One sequence over two processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from avatarcli.diffusion.parallel import SequenceGroup, launch
from avatarcli.diffusion.transformer import CONDITIONING_CHANNELS, MultiViewVideoTransformer
from avatarcli.errors import DeviceError, UsageError


def _predict(group: SequenceGroup | None, device: str, folder: Path) -> torch.Tensor:
    """The same toy model and inputs in every process; each keeps what it got."""
    torch.set_num_threads(1)
    for name, settings in {"rotary": {}, "absolute": {"shared_modulation": False, "text_tokens": 3}}.items():
        torch.manual_seed(0)
        model = MultiViewVideoTransformer(
            num_attention_heads=3, attention_head_dim=16, num_layers=2, time_embed_dim=8, text_embed_dim=8,
            positions=name, **settings,
        ).eval()  # fmt: skip
        torch.nn.init.normal_(model.conditioning_proj.weight, std=0.1)
        model.sequence_group = group
        given = torch.arange(4)[None] < 1
        with torch.inference_mode():
            velocity = model(
                torch.randn(1, 4, 16, 4, 8),
                torch.where(given, 0, 500),
                torch.tensor([0, 0, 1, 1]),
                given,
                torch.randn(1, 4, CONDITIONING_CHANNELS, 4, 8),
            )
        rank = "alone" if group is None else str(group.rank)
        save_file({"velocity": velocity.contiguous()}, folder / f"{name}_{rank}.safetensors")
    return velocity


def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    _predict(None, "cpu", tmp_path)
    launch(2, _predict, tmp_path)
    for name in ("rotary", "absolute"):
        alone, *shared = (load_file(tmp_path / f"{name}_{rank}.safetensors")["velocity"] for rank in ("alone", 0, 1))
        assert all(torch.allclose(velocity, alone, atol=1e-5) for velocity in shared)


def _refuse(group: SequenceGroup, device: str) -> None:
    raise UsageError(f"process {group.rank} will not")


def test_what_a_process_refuses_is_refused_here() -> None:
    with pytest.raises(UsageError, match="process 0 will not"):
        launch(1, _refuse)


def _fail(group: SequenceGroup, device: str) -> None:
    raise ZeroDivisionError("a defect")


def test_a_defect_of_a_process_comes_with_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError, match="a defect") as caught:
        launch(1, _fail)
    assert "in _fail" in str(caught.value.__cause__)


def test_patches_that_do_not_divide_are_refused() -> None:
    with pytest.raises(DeviceError, match="6 patches"):
        SequenceGroup(0, 4).split(torch.zeros(1, 6), dim=1)
