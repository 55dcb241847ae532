"""The whole studio on a miniature pack: `avatar data studio`, then a step of each training on what it made."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from avatarcli.cli.main import main
from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.conditioning import Conditioner, Reference
from avatarcli.diffusion.packing import unpack_frames
from avatarcli.head.model import HeadModel
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing
from avatarcli.studio.assemble import assemble
from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.misfit import TrueHead, fit_truth, on_shipped_model
from avatarcli.studio.render import render
from avatarcli.studio.sample import condition_views
from avatarcli.studio.scene import Light
from avatarcli.studio.subject import draw_subject
from avatarcli.studio.tracker_error import ERROR_SIZE, TrackerError
from avatarcli.training.autoencoder import autoencoder_loss
from avatarcli.training.data import SampleFolder, draw_scenes, draw_videos
from avatarcli.training.diffusion import diffusion_loss
from toy_scenes import faultless_tracker


def data_studio(monkeypatch: pytest.MonkeyPatch, pack: Path, out: Path, *options: object) -> None:
    size = ("--views", 2, "--frames", 5, "--size", 32, "--device", "cpu", "--json", "--quiet")
    arguments = ["avatar", "data", "studio", "--assets", pack, "--out", out, *size, *options]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert not leaving.value.code


def test_from_the_pack_to_a_step_of_training(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    videos, scenes = tmp_path / "videos", tmp_path / "scenes"
    data_studio(monkeypatch, pack, videos, "--subjects", 2, "--seed", 5)
    made = json.loads(capfd.readouterr().out)
    assert made == {"folder": str(videos), "kind": "videos", "made": 4, "kept": 0}
    data_studio(monkeypatch, pack, videos, "--subjects", 2, "--seed", 5)
    assert json.loads(capfd.readouterr().out)["kept"] == 4

    torch.manual_seed(0)
    autoencoder = SmallVideoAutoencoder(widths=(8, 8, 8), trunk_width=16)
    batch = draw_videos(SampleFolder(videos), 2, "cpu", torch.Generator().manual_seed(0))
    loss = autoencoder_loss(autoencoder, batch, hide_hint=0.0)
    loss.backward()
    assert 0 < float(loss.detach()) < 10

    autoencoder.eval().save_pretrained(tmp_path / "autoencoder")
    choice = ("--subjects", 1, "--seed", 5, "--autoencoder", tmp_path / "autoencoder", "--photos", 2, "--face-views", 1)
    data_studio(monkeypatch, pack, scenes, *choice)
    assert json.loads(capfd.readouterr().out)["kind"] == "scenes"
    pictures = load_file(videos / "0000000_v00.safetensors")["video"]
    with torch.inference_mode():
        latents = autoencoder.encode(pictures[None].float() / 255)[0]
    content = load_file(scenes / "0000000.safetensors")
    assert torch.allclose(content["latents"][0].float(), latents, atol=2e-3)

    from avatarcli.diffusion.schedule import make_scheduler
    from avatarcli.diffusion.transformer import MultiViewVideoTransformer

    model = MultiViewVideoTransformer(num_attention_heads=2, attention_head_dim=16, num_layers=1, time_embed_dim=32)
    scene_batch = draw_scenes(SampleFolder(scenes), 1, "cpu", torch.Generator().manual_seed(0))
    loss = diffusion_loss(model, scene_batch, make_scheduler())
    loss.backward()
    assert 0 < float(loss.detach()) < 10


def test_maps_of_a_faultless_fit_lie_on_the_picture(pack: Path, model: HeadModel) -> None:
    """Without errors, the misfit head's maps must agree with what the renderer says of the true head, in every view and frame."""
    assets = StudioAssets.load(pack)
    subject = draw_subject(assets, 11)
    mesh, poser = assemble(assets, subject, "cpu")
    clip = HeadParameters.at_rest(5)
    clip.expression[:, 25] = torch.linspace(0, 1, 5)
    clip = replace(clip, neck=torch.tensor([[0.1, 0.3, 0.0]]) * torch.linspace(0, 1, 5)[:, None])
    framing = Framing.of(poser(HeadParameters.at_rest()).vertices[0])
    cameras = framing.cameras(torch.tensor([0.4, 2.5]), torch.tensor([0.1, -0.1]), 64)
    light = Light(torch.zeros(9, 3), torch.zeros(1, 3), torch.ones(1, 3), torch.ones(1), torch.ones(3))
    seen = render(mesh, poser(clip), cameras, light, supersample=1)

    neutral = on_shipped_model(assets.head, subject.neutral(assets))
    joints = assets.head.joints(torch.tensor(subject.person.identity))
    truth = TrueHead.of(model, neutral, joints, cameras[0], clip[:1])
    misfit = fit_truth(model, truth, TrackerError.of(torch.zeros(ERROR_SIZE)), faultless_tracker())
    reference = Reference(torch.ones(64, 64, 4), torch.ones(64, 64), misfit.camera, misfit.parameters)
    maps, raster = condition_views(Conditioner(misfit.head, reference), clip, cameras, misfit.head.in_world(clip))
    depth = seen.depth.flatten(0, 1)
    both = torch.isfinite(depth) & raster.covered
    assert both.sum() > 0.97 * (torch.isfinite(depth) | raster.covered).sum()
    # Millimetres: the drawn mesh is a smoothed one. Outlines, where one sees past the other, are left out.
    assert (depth - raster.depth)[both].abs().quantile(0.9) < 1.5e-3
    position = raster.interpolate(model.mean, model.faces)
    assert (position - seen.position.flatten(0, 1)).norm(dim=-1)[both].quantile(0.9) < 3e-3
    assert maps.maps.shape[0] == 10


def test_the_photo_warped_to_its_own_place_is_the_photo(pack: Path, model: HeadModel) -> None:
    """The reference's hint shows the photo's own pixels where the head is seen, whatever the misfit: it maps onto itself."""
    from avatarcli.studio.dataset import Studio, StudioSettings

    sample = Studio(StudioAssets.load(pack), StudioSettings(views=1, frames=1, size=64, seed=1)).sample(2)
    photo, hint = sample.photo[0].float() / 255, sample.photo_hint[0].float() / 255
    sure = (hint[3] > 0.99) & (photo[3] > 0.99)
    assert sure.float().mean() > 0.03
    assert (hint[:3] - photo[:3])[:, sure].abs().mean() < 0.06


def test_first_frames_stand_alone_in_the_packing(pack: Path) -> None:
    from avatarcli.studio.dataset import Studio, StudioSettings

    sample = Studio(StudioAssets.load(pack), StudioSettings(views=1, frames=5, size=32, seed=1)).sample(0)
    assert unpack_frames(sample.maps[0, 0]).shape == (5, 51, 4, 4)
    first = sample.maps[0, 0, 0].unflatten(0, (4, 51))
    assert torch.equal(first[0], first[3])
