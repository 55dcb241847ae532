"""Weights on disk, and what is said of bad ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import CogVideoXTransformer3DModel
from safetensors.torch import save_file

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.checkpoints import (
    COGVIDEOX,
    check_model,
    decode_int8,
    encode_int8,
    load_cogvideox_transformer,
    load_model,
    save_int8,
)
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import WeightsError


def test_int8_is_exact_the_second_time_and_small() -> None:
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(70, 150, 3, 3, generator=generator) * torch.logspace(-9, 2, 70)[:, None, None, None]
    tensors = {"kernel": kernel, "bias": torch.randn(7, generator=generator).half().float(), "count": torch.tensor(3)}
    encoded = encode_int8({**tensors, "empty": torch.zeros(256, 256)})
    decoded = decode_int8(encoded)
    assert encoded["kernel"].dtype is torch.int8
    assert torch.equal(decoded["empty"], torch.zeros(256, 256))
    assert torch.equal(decoded["bias"], tensors["bias"])
    assert torch.equal(decoded["count"], tensors["count"])
    step = kernel.abs().amax((1, 2, 3)) / 127
    assert ((decoded["kernel"] - kernel).abs() <= 0.51 * step[:, None, None, None]).all()
    again = encode_int8(decoded)
    assert all(torch.equal(again[name], encoded[name]) for name in encoded)


def test_shipping_costs_less_than_a_tenth_of_a_decibel(tmp_path: Path) -> None:
    """Of a reconstruction at 32 dB, for pictures with a contrast (standard deviation) of a quarter."""
    torch.manual_seed(0)
    model = SmallVideoAutoencoder().eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=(1 / parameter[0].numel()) ** 0.5)
    save_int8(model, tmp_path)
    loaded = load_model(SmallVideoAutoencoder, tmp_path)
    latents = torch.randn(1, 2, 16, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        before, after = model.decode(latents), loaded.decode(latents)
    error = (before - after).square().mean() / before.var() * 0.25**2
    assert 0 < 10 * torch.log10(1 + error / 10**-3.2) < 0.1
    files = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert files < 0.33 * 4 * sum(p.numel() for p in model.parameters())


def test_sharded_and_int8_transformers_load_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MultiViewVideoTransformer(num_attention_heads=2, attention_head_dim=64, num_layers=1, time_embed_dim=8)
    model.save_pretrained(tmp_path / "shards", max_shard_size="400KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    whole = load_model(MultiViewVideoTransformer, tmp_path / "shards")
    save_int8(model, tmp_path / "int8")
    small = load_model(MultiViewVideoTransformer, tmp_path / "int8")
    for name, value in model.state_dict().items():
        assert torch.equal(whole.state_dict()[name], value)
        assert (small.state_dict()[name] - value).abs().amax() <= value.abs().amax() / 127


@pytest.fixture
def cogvideox(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "transformer"
    model = CogVideoXTransformer3DModel(
        num_attention_heads=1,
        attention_head_dim=16,
        num_layers=1,
        time_embed_dim=8,
        text_embed_dim=8,
        max_text_seq_length=2,
    )
    model.save_pretrained(folder, max_shard_size="20KB")
    save_file({"text": torch.zeros(2, 8)}, folder / "null_text.safetensors")
    return folder


def test_sharded_cogvideox_loads(cogvideox: Path) -> None:
    model = load_cogvideox_transformer(cogvideox)
    assert not any(p.is_meta for p in model.parameters())
    assert model.conditioning_proj.weight.abs().sum() == 0


def test_bad_folders_are_named(cogvideox: Path, tmp_path: Path) -> None:
    def refused(folder: Path, words: str, *, at_once: bool = False) -> None:
        """When it is loaded; at_once: already by a look at the files."""
        with pytest.raises(WeightsError, match=words) as caught:
            load_cogvideox_transformer(folder)
        assert "\n" not in str(caught.value)
        if at_once:
            with pytest.raises(WeightsError, match=words):
                check_model(folder, (COGVIDEOX,))

    def copy(name: str) -> Path:
        return Path(shutil.copytree(cogvideox, tmp_path / name))

    check_model(cogvideox, (COGVIDEOX,))
    refused(tmp_path / "nowhere", "nowhere is not a model folder", at_once=True)
    config = json.loads((cogvideox / "config.json").read_text())
    for name, change, words in (
        ("other", {"_class_name": "UNet2DModel"}, "holds a UNet2DModel"),
        ("five", {"use_rotary_positional_embeddings": True}, "only CogVideoX-2B"),
        ("wide", {"time_embed_dim": 16}, "has shape"),
        ("deep", {"num_layers": 2}, "lacks .* tensors, transformer_blocks.1"),
        ("shallow", {"num_layers": 0}, "tensors that the model does not have"),
        ("text", {"max_text_seq_length": 3}, "wanted a tensor `text`"),
    ):
        (copy(name) / "config.json").write_text(json.dumps({**config, **change}))
        refused(tmp_path / name, words, at_once=name == "other")
    shards = sorted(path.name for path in cogvideox.glob("diffusion*.safetensors"))
    assert len(shards) > 1
    (copy("missing") / shards[1]).unlink()
    refused(tmp_path / "missing", f"{shards[1]} is missing", at_once=True)
    half = copy("half") / shards[0]
    half.write_bytes(half.read_bytes()[:-100])
    refused(tmp_path / "half", f"{shards[0]} is damaged or half downloaded", at_once=True)
    (copy("untold") / "null_text.safetensors").unlink()
    refused(tmp_path / "untold", "avatar weights null-text", at_once=True)
    (copy("json") / "config.json").write_text("{")
    refused(tmp_path / "json", "cannot read")
    with pytest.raises(WeightsError, match="wanted a SmallVideoAutoencoder"):
        load_model(SmallVideoAutoencoder, cogvideox)
