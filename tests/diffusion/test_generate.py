"""From weights on disk to frames on disk, in one process and in two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.checkpoints import load_cogvideox_transformer, save_int8
from avatarcli.diffusion.conditioning import Reference
from avatarcli.diffusion.generate import GenerateRequest, generate_on_gpus
from avatarcli.diffusion.pipeline import SamplingSettings
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import WeightsError
from avatarcli.generation.multiview import MultiViewVideo
from avatarcli.generation.plan import make_plan
from avatarcli.geometry.framing import Framing
from avatarcli.head.model import PersonalHead, load_head_model
from avatarcli.head.track import HeadParameters
from avatarcli.progress import SilentProgress

SIZE = 32


@pytest.fixture(scope="module")
def request_of(tmp_path_factory: pytest.TempPathFactory) -> GenerateRequest:
    folder = tmp_path_factory.mktemp("generate")
    torch.manual_seed(0)
    transformer = MultiViewVideoTransformer(
        num_attention_heads=3, attention_head_dim=16, num_layers=1, time_embed_dim=8
    )
    torch.nn.init.normal_(transformer.conditioning_proj.weight, std=0.05)
    save_int8(transformer, folder / "transformer")
    save_int8(SmallVideoAutoencoder((8, 8, 8), 8), folder / "autoencoder")
    model = load_head_model()
    head = PersonalHead.create(model, torch.zeros(model.identity_size))
    framing = Framing.of(head.neutral)
    camera = framing.cameras(torch.zeros(1), torch.zeros(1), SIZE)[0]
    picture = torch.rand(SIZE, SIZE, 4, generator=torch.Generator().manual_seed(4))
    reference = Reference(picture, torch.ones(SIZE, SIZE), camera, HeadParameters.at_rest())
    video = MultiViewVideo(folder / "video", make_plan(framing, 3, 2, SIZE), framing, generator="mmvdm")
    settings = SamplingSettings(steps=1, group_views=3, group_latents=6)
    return GenerateRequest(folder, head, reference, video, settings, seed=1, signature="")


def test_two_processes_make_what_one_makes(request_of: GenerateRequest, tmp_path: Path) -> None:
    alone = replace(request_of, video=replace(request_of.video, folder=tmp_path / "alone"))
    shared = replace(request_of, video=replace(request_of.video, folder=tmp_path / "shared"))
    generate_on_gpus(alone, 0, SilentProgress())
    generate_on_gpus(shared, 2, SilentProgress())
    MultiViewVideo.load(shared.video.folder)
    for view in range(3):
        for frame in range(2):
            difference = alone.video.read_frame(view, frame) - shared.video.read_frame(view, frame)
            assert difference.abs().amax() <= 0.02
    assert alone.video.read_frame(0, 0)[..., :3].std() > 0.01


def test_cogvideox_models_generate_too(
    request_of: GenerateRequest,
    tmp_path: Path,
    checkpoint: tuple[Path, CogVideoXTransformer3DModel],
    cogvideox_autoencoder: AutoencoderKLCogVideoX,
) -> None:
    """Toys of the large models, from the files that diffusers writes."""
    load_cogvideox_transformer(checkpoint[0]).save_pretrained(tmp_path / "transformer")
    cogvideox_autoencoder.save_pretrained(tmp_path / "autoencoder")
    video = replace(request_of.video, folder=tmp_path / "video")
    generate_on_gpus(replace(request_of, weights=tmp_path, video=video), 0, SilentProgress())
    assert MultiViewVideo.load(video.folder).read_frame(2, 1).shape == (SIZE, SIZE, 4)
    (tmp_path / "autoencoder" / "diffusion_pytorch_model.safetensors").write_bytes(b"half")
    with pytest.raises(WeightsError, match="cannot load the autoencoder"):
        generate_on_gpus(replace(request_of, weights=tmp_path, seed=2), 0, SilentProgress())


def test_missing_models_are_named(request_of: GenerateRequest, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="transformer is not a model folder"):
        generate_on_gpus(replace(request_of, weights=tmp_path), 0, SilentProgress())
