"""From weights on disk to frames on disk, in one process and in two."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from torch import Tensor

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.checkpoints import load_cogvideox_transformer, save_int8
from avatarcli.diffusion.conditioning import Conditioner, Reference
from avatarcli.diffusion.generator import GenerateRequest, _finish, generate_on_gpus
from avatarcli.diffusion.groups import plan_groups, plan_rounds
from avatarcli.diffusion.pipeline import SamplingSettings, SecondLook
from avatarcli.diffusion.tones import Around, Tones
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import WeightsError
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.model import PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing
from avatarcli.multiview.pictures import MultiViewVideo
from avatarcli.multiview.plan import Plan, Reel, make_plan
from avatarcli.progress import SilentProgress
from avatarcli.reproject.shell import fit_shell
from avatarcli.reproject.skin_texture import PhotoView
from listening import Listener
from toy_plan import full_plan

SIZE = 32


@pytest.fixture(scope="module")
def request_of(tmp_path_factory: pytest.TempPathFactory, mean_head: PersonalHead) -> GenerateRequest:
    folder = tmp_path_factory.mktemp("generate")
    torch.manual_seed(0)
    transformer = MultiViewVideoTransformer(
        num_attention_heads=3, attention_head_dim=16, num_layers=1, time_embed_dim=8
    )
    torch.nn.init.normal_(transformer.conditioning_proj.weight, std=0.05)
    save_int8(transformer, folder / "transformer")
    save_int8(SmallVideoAutoencoder((8, 8, 8), 8), folder / "autoencoder")
    head = mean_head
    framing = Framing.of(head.neutral)
    camera = framing.cameras(torch.zeros(1), torch.zeros(1), SIZE)[0]
    picture = torch.rand(SIZE, SIZE, 4, generator=torch.Generator().manual_seed(4))
    reference = Reference(picture, torch.ones(SIZE, SIZE), camera, HeadParameters.at_rest())
    video = MultiViewVideo(folder / "video", full_plan(framing, 3, 2, SIZE), framing, generator="mmvdm")
    settings = SamplingSettings(steps=1, group_clips=3, group_latents=6)
    tones = Tones(torch.tensor([0.8, 0.6, 0.5]), bald=False)
    shell = fit_shell(head, head.neutral, camera, torch.ones(SIZE, SIZE), torch.ones(SIZE, SIZE))
    nothing = torch.zeros(len(shell.vertices))
    around = Around(shell, nothing[:, None].expand(-1, 4), nothing, nothing, nothing, nothing)
    blank, light = torch.zeros(SIZE, SIZE), torch.zeros(4, 3)
    skin, ears = tones.skin, torch.ones(2)
    photo = PhotoView(
        picture[..., :3], picture[..., 3], blank, blank, blank + 1, skin, skin, ears, light=light, camera=camera
    )
    lift = torch.zeros_like(head.neutral)
    return GenerateRequest(folder, head, reference, video, settings, tones, around, photo, lift, seed=1, signature="")


def uneven_plan(framing: Framing) -> Plan:
    """Two heads at rest and a face that moves: the clip has one latent more than the stills."""
    grid = full_plan(framing, 3, 2, SIZE)
    return replace(grid, clips=(Reel(0, (0,)), Reel(1, (0,)), Reel(2, (0, 1))), crops=1)


def stills_plan(framing: Framing, face: Tensor) -> Plan:
    return make_plan(framing, face, views=4, face_views=1, frames=2, size=SIZE)


@pytest.mark.parametrize(
    ("kind", "group_clips"),
    [
        pytest.param("uneven", 3, id="shared groups"),  # two, the second after the first
        pytest.param("stills", 2, id="dealt groups"),  # anchors, then four beside them
    ],
)
def test_two_processes_make_what_one_makes(
    request_of: GenerateRequest, tmp_path: Path, kind: str, group_clips: int
) -> None:
    framing = request_of.video.framing
    plan = uneven_plan(framing) if kind == "uneven" else stills_plan(framing, request_of.head.neutral[:100])
    settings = SamplingSettings(steps=1, group_clips=group_clips, group_latents=2 * group_clips)
    groups = plan_groups(plan, group_clips=group_clips, group_latents=2 * group_clips)
    dealt = any(not part.shared for part in plan_rounds(groups, (), processes=2))
    assert dealt == (kind == "stills")

    requests = [
        replace(request_of, settings=settings, video=MultiViewVideo(tmp_path / name, plan, framing, "mmvdm"))
        for name in ("alone", "together")
    ]
    listeners = Listener(), Listener()
    for request, processes, progress in zip(requests, (0, 2), listeners, strict=True):
        generate_on_gpus(request, processes, progress)
    alone, together = (request.video for request in requests)
    assert MultiViewVideo.load(together.folder).plan.clips == plan.clips
    for place in plan.pictures:
        assert (alone.read_frame(*place) - together.read_frame(*place)).abs().amax() <= 0.02
    assert alone.read_frame(0, 0)[..., :3].std() > 0.01
    for listener in listeners:
        for task, total in {"condition": len(plan.clips), "denoise": len(groups)}.items():
            assert listener.totals[task] == sum(listener.steps[task]) == total
    assert (together.folder / ".latents").is_dir()


def test_pictures_are_finished_in_the_photos_tones(request_of: GenerateRequest) -> None:
    """A head in a single color with a fine pattern, imagined too red and without it, and with something floating beside."""
    head, framing, size = request_of.head, request_of.video.framing, 64
    plan = full_plan(framing, 2, 1, size)
    raster = rasterize_mesh(head.neutral, head.model.faces, plan.cameras[0])
    alpha = raster.covered.float()[..., None]
    pattern = 0.05 * torch.cos(torch.arange(size) * torch.pi)[:, None]
    skin = request_of.tones.skin
    photo = torch.cat([(skin + pattern) * alpha, alpha], dim=-1)
    reference = Reference(photo, torch.ones(size, size), plan.cameras[0], HeadParameters.at_rest())
    request = replace(request_of, reference=reference, video=replace(request_of.video, plan=plan))
    conditioner = Conditioner(head, reference)
    for view, finer in ((0, True), (1, False)):
        hint = conditioner.of_view(plan.parameters, plan.cameras[view]).hint[0].movedim(0, -1)
        covered = rasterize_mesh(head.neutral, head.model.faces, plan.cameras[view]).covered.float()[..., None]
        imagined = torch.cat([skin * torch.tensor([1.05, 0.97, 0.97]) * covered, covered], dim=-1)
        imagined[:3, :3] = 0.5
        made = _finish(request, head.neutral, (view, 0), imagined, hint)
        assert made[:3, :3].max() == 0
        assert torch.equal(made[4:, :, 3], imagined[4:, :, 3])
        face = (hint[..., 4] > 0.7) if finer else covered[..., 0] > 0
        face[:20] = face[44:] = False  # beside hair and clothes, which are not skin
        assert face.sum() > 100
        before, after = ((picture[face][:, :3].mean(0) - skin).abs().mean() for picture in (imagined, made))
        assert after < (0.2 if finer else 0.75) * before
        texture = made[face][:, :3].mean(-1).std()
        assert (texture > 0.02) == finer
        # A picture that began with another has that one's tones.
        begun = torch.cat([skin * torch.tensor([0.9, 0.95, 1.0]) * covered, covered], dim=-1)
        second = _finish(
            replace(request, second_look=SecondLook({(view, 0): begun}, 1)), head.neutral, (view, 0), imagined, hint
        )
        assert (second - begun)[face][:, :3].mean(0).abs().amax() < 0.3 * (imagined - begun)[face][:, :3].mean(
            0
        ).abs().amax()
        assert second[:3, :3].max() == 0


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


def test_only_what_is_used_of_diffusers_is_loaded() -> None:
    # With any of its own autoencoders, diffusers loads every network it has, and for one decorator torch's compiler: seconds each.
    code = (
        "import sys\nfrom avatarcli.diffusion.generator import load_transformer\n"
        "from avatarcli.weights.models import find_model\nload_transformer(find_model(None) / 'transformer')\n"
        "print({'diffusers.models.transformers', 'torch._dynamo'} & set(sys.modules))\n"
        "import torch._dynamo"  # which is there as ever for whoever wants it
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
