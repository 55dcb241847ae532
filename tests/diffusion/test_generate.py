"""From weights on disk to frames on disk, in one process and in two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.checkpoints import load_cogvideox_transformer, save_int8
from avatarcli.diffusion.conditioning import Reference
from avatarcli.diffusion.generate import GenerateRequest, generate_on_gpus
from avatarcli.diffusion.groups import plan_groups, plan_rounds
from avatarcli.diffusion.pipeline import SamplingSettings
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import WeightsError
from avatarcli.generation.multiview import MultiViewVideo
from avatarcli.generation.plan import make_plan, with_face_views
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


class Recorder(SilentProgress):
    """Remembers the size of each task, and how far it came."""

    def __init__(self) -> None:
        self.tasks: dict[str, list[int]] = {}

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        steps = self.tasks.setdefault(description, [total])
        yield steps.append


@pytest.mark.parametrize(
    ("views", "group_views"),
    [
        pytest.param(3, 3, id="shared groups"),  # two, the second after the first
        pytest.param(5, 2, id="dealt groups"),  # anchors, then three beside them, and their later latents
    ],
)
def test_two_processes_make_what_one_makes(
    request_of: GenerateRequest, tmp_path: Path, views: int, group_views: int
) -> None:
    framing = request_of.video.framing
    plan = with_face_views(make_plan(framing, views - 1, 2, SIZE), framing, request_of.head.neutral[:100], 1)
    settings = SamplingSettings(steps=1, group_views=group_views, group_latents=2 * group_views)
    groups = plan_groups(views, 2, group_views=group_views, group_latents=2 * group_views, crops=1)
    dealt = any(not part.shared for part in plan_rounds(groups, (), processes=2))
    assert dealt == (views == 5)

    requests = [
        replace(request_of, settings=settings, video=MultiViewVideo(tmp_path / name, plan, framing, "mmvdm"))
        for name in ("alone", "together")
    ]
    recorders = Recorder(), Recorder()
    for request, processes, progress in zip(requests, (0, 2), recorders, strict=True):
        generate_on_gpus(request, processes, progress)
    alone, together = (request.video for request in requests)
    assert MultiViewVideo.load(together.folder).plan.crops == 1
    for view in range(views):
        for frame in range(2):
            assert (alone.read_frame(view, frame) - together.read_frame(view, frame)).abs().amax() <= 0.02
    assert alone.read_frame(0, 0)[..., :3].std() > 0.01
    for recorder in recorders:
        for task, total in {"condition": views, "denoise": len(groups)}.items():
            assert recorder.tasks[task][0] == sum(recorder.tasks[task][1:]) == total
    assert (together.folder / ".latents").is_dir()


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
