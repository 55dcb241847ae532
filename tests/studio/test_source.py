"""Training on people who are rendered meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.checkpoints import load_model, save_int8
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import AssetsError, UsageError
from avatarcli.progress import SilentProgress
from avatarcli.settings import Layer
from avatarcli.studio.sample import StudioSample
from avatarcli.training.pool.held_out import HeldOut
from avatarcli.training.run import train_autoencoder, train_decoder, train_mmvdm
from listening import Listener

SIZE = 32
SMALL = {"num_attention_heads": 1, "attention_head_dim": 32, "num_layers": 1, "time_embed_dim": 8}
MODEL = "[model]\n" + "\n".join(f"{name} = {value}" for name, value in SMALL.items())
POOL = """
[pool]
renderers = 2
render_minutes = 0.001
stills = 2
clips = 1
views = 1
clip_views = 1
clip_frames = 5
motion = 0.5
first = 7
held_out = 1
real_held_out = 1
real_variants = 2
"""

ONE_RENDERER = POOL.replace("renderers = 2", "renderers = 1")  # each takes seconds to start


def settings(folder: Path, steps: int, *tables: str) -> str:
    path = folder / f"settings{steps}.toml"
    train = f"[train]\nsteps = {steps}\nbatch_size = 2\nlearning_rate = 5e-3\nwarmup = 5\nema_decay = 0.9\n"
    train += "prefetch = 0\nsay_every = 0\n"
    path.write_text(train + "\n".join(tables))
    return str(path)


def test_from_the_pack_to_weights_and_on_from_there(pack: Path, tmp_path: Path) -> None:
    """One call renders, encodes and trains; another continues with people of its own."""
    torch.manual_seed(0)
    save_int8(SmallVideoAutoencoder((8, 8, 8), 8), tmp_path / "autoencoder")
    studio = f'[studio]\nassets = "{pack}"\nautoencoder = "{tmp_path / "autoencoder"}"\nsize = {SIZE}\nface_views = 1\n'
    phases = "[[curriculum]]\nsources = [{ studio = true }, { studio = true, latents = 2 }, { real = true }]\n"
    out, said = tmp_path / "out", Listener()
    train_mmvdm(None, out, settings(tmp_path, 40, MODEL, studio, POOL, phases), None, said)
    for kind in ("studio", "clips"):
        assert any(f"loss {kind}" in line and "people seen" in line for line in said.said)
    path = out / "held-out" / "0000.safetensors"
    with safe_open(str(path), framework="pt") as file:
        assert file.metadata() == {"subject": "7"}
    judged = HeldOut(
        [StudioSample.load(path)], load_model(SmallVideoAutoencoder, tmp_path / "autoencoder"), torch.device("cpu"), 1
    )

    def loss_of(model: MultiViewVideoTransformer) -> float:
        total, count = judged.loss(model)
        return total / count

    torch.manual_seed(0)
    fresh = loss_of(MultiViewVideoTransformer(**SMALL))
    scores = json.loads((out / "scores.json").read_text())
    assert scores["loss"]["studio"] < 0.9 * fresh
    assert scores["psnr"]["studio"].keys() >= {"face"}
    assert (out / "held-out-studio.png").stat().st_size > 0
    trained = load_model(MultiViewVideoTransformer, out / "weights" / "transformer")
    assert loss_of(trained) == pytest.approx(scores["loss"]["studio"], rel=0.05)
    load_model(SmallVideoAutoencoder, out / "weights" / "autoencoder")
    assert load_file(out / "flat.safetensors")["proj_out.weight"].dtype == torch.float16
    state = json.loads((out / "checkpoint" / "state.json").read_text())
    assert state["companion"]["next"] >= 7 + 1 + 2  # after who is held out, a still and a clip were seen
    # Going on: others are rendered, and real people are there too. The held-out file stays as it is.
    real = tmp_path / "real"
    for name in ("a", "b"):
        StudioSample.load(path).save(real / f"{name}.safetensors")
    kept, said = path.stat().st_mtime_ns, Listener()
    train_mmvdm(
        None,
        out,
        settings(tmp_path, 44, MODEL, studio, ONE_RENDERER, phases),
        None,
        said,
        changes=[Layer("--real", {"pool": {"real": str(real)}})],
    )
    later = json.loads((out / "checkpoint" / "state.json").read_text())
    assert later["step"] == 44
    assert later["companion"]["next"] >= state["companion"]["next"] + 2
    assert path.stat().st_mtime_ns == kept
    assert any("2 real" in line for line in said.said)
    assert json.loads((out / "scores.json").read_text())["loss"].keys() == {"studio", "real"}


def test_autoencoder_trains_on_rendered_people(pack: Path, tmp_path: Path) -> None:
    studio = f'[studio]\nassets = "{pack}"\nsize = {SIZE}\n[[curriculum]]\nsources = [{{ studio = true, views = 1 }}]\n'
    config = settings(tmp_path, 1, "[model]\nwidths = [8, 8, 8]\ntrunk_width = 8\n", studio)
    train_autoencoder(None, tmp_path / "autoencoder", config, SilentProgress())
    load_model(SmallVideoAutoencoder, tmp_path / "autoencoder" / "model-int8")


def test_decoder_trains_on_what_is_imagined_of_rendered_people(pack: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_int8(SmallVideoAutoencoder((8, 8, 8), 8), tmp_path / "old" / "autoencoder")
    save_int8(MultiViewVideoTransformer(**SMALL), tmp_path / "old" / "transformer")
    studio = f'[studio]\nassets = "{pack}"\nsize = {SIZE}\nface_views = 1\n[loss]\nperceptual = 0\n'
    phases = "[[curriculum]]\nsources = [{ studio = true }]\n"
    out, said = tmp_path / "out", Listener()
    train_decoder(out, settings(tmp_path, 2, studio, ONE_RENDERER, phases), tmp_path / "old", said)
    assert any("loss studio" in line and "studio views" in line for line in said.said)
    with safe_open(str(out / "held-out" / "0000.safetensors"), framework="pt") as file:
        assert file.metadata() == {"subject": "7"}
    assert json.loads((out / "checkpoint" / "state.json").read_text())["companion"]["first"] > 8
    assert "studio inside" in json.loads((out / "scores.json").read_text())
    assert load_model(SmallVideoAutoencoder, out / "weights" / "autoencoder").config.hint_fusion == "normalised"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    save_int8(SmallVideoAutoencoder((8, 8, 8), 8), tmp_path / "autoencoder")
    phases = "[[curriculum]]\nsources = [{ studio = true }]\n"
    with pytest.raises(UsageError, match="with --assets"):
        train_mmvdm(None, tmp_path / "other", settings(tmp_path, 1, MODEL, phases), None, SilentProgress())
    studio = f'[studio]\nassets = "{tmp_path / "none"}"\nautoencoder = "{tmp_path / "autoencoder"}"\n'
    with pytest.raises(AssetsError, match=r"no folder .*none"):
        train_mmvdm(None, tmp_path / "other", settings(tmp_path, 1, MODEL, studio, phases), None, SilentProgress())
    studio = studio.replace("none", "empty")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "manifest.json").write_text("{}")
    real = "[pool]\nreal = 'gone'\n"
    with pytest.raises(UsageError, match="gone holds 0 samples of real people"):
        train_mmvdm(
            None, tmp_path / "other", settings(tmp_path, 1, MODEL, studio, real, phases), None, SilentProgress()
        )
    only_real = "[[curriculum]]\nsources = [{ real = true }]\n"
    with pytest.raises(UsageError, match="folder of real people with --real"):
        train_mmvdm(None, tmp_path / "other", settings(tmp_path, 1, MODEL, only_real), None, SilentProgress())
    with pytest.raises(UsageError, match="with --data"):
        train_mmvdm(None, tmp_path / "other", settings(tmp_path, 1, MODEL), None, SilentProgress())
