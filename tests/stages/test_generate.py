"""The diffusion generator as a stage: from the example photo to an avatar, with a toy of the model."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from avatarcli import weights
from avatarcli.config import CreateConfig, DistillConfig, GenerateConfig, Hardware, PreprocessConfig
from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.checkpoints import save_int8
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import DeviceError, UsageError, WeightsError
from avatarcli.files import sha256_file
from avatarcli.gaussians.avatar import Avatar
from avatarcli.generation.multiview import MultiViewVideo
from avatarcli.models import ENVIRONMENT_VARIABLE, SHIPPED_MODEL, find_model, generator_of, model_digest
from avatarcli.progress import SilentProgress
from avatarcli.stages.generate import generate_views
from avatarcli.stages.pipeline import AVATAR_FILE, PipelineResult, RunOptions, run_pipeline
from avatarcli.workspace import Subject, Workspace

PHOTO = Path(__file__).resolve().parents[2] / "examples" / "astronaut.png"
MMVDM = GenerateConfig("mmvdm", views=3, frames=2, size=64, steps=2, face_views=1)


@pytest.fixture(autouse=True)
def no_pulled_models(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    torch.manual_seed(0)
    transformer = MultiViewVideoTransformer(2, 16, 1, time_embed_dim=8)
    torch.nn.init.normal_(transformer.conditioning_proj.weight, std=0.05)
    save_int8(transformer, folder / "transformer")
    save_int8(SmallVideoAutoencoder((8, 8, 8), 8), folder / "autoencoder")
    return folder


def config_with(generate: GenerateConfig) -> CreateConfig:
    return CreateConfig(
        preprocess=PreprocessConfig(crop_size=256),
        generate=generate,
        distill=DistillConfig(gaussians=1000, iterations=12, photo_size=64, correctives=2),
    )


def make(subject: Subject, generate: GenerateConfig, only: str | None = None) -> PipelineResult:
    return run_pipeline(subject, PHOTO, config_with(generate), RunOptions("cpu", SilentProgress()), only=only)


@pytest.fixture(scope="module")
def subject(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    made = Workspace(tmp_path_factory.mktemp("avatars")).new_subject("astronaut")
    make(made, replace(MMVDM, weights=str(model)))
    return made


def cached(result: PipelineResult) -> list[bool]:
    return [stage.cached for stage in result.stages]


def test_an_avatar_comes_of_imagined_views(subject: Subject, model: Path) -> None:
    folder = subject.stage_path("generate")
    video = MultiViewVideo.load(folder)
    assert (video.plan.views, video.plan.frames, video.plan.crops) == (4, 2, 1)
    assert sorted(p.name for p in folder.iterdir()) == ["frames", "stage.json", "transforms.json"]
    assert video.generator == f"mmvdm:{model_digest(model)[:16]}"
    pictures = [video.read_frame(view, frame) for view in range(4) for frame in range(2)]
    assert all(picture.shape == (64, 64, 4) for picture in pictures)
    assert pictures[0].std() > 0.01
    # A face fills its picture; the camera stands where a full view's does.
    cameras = video.plan.cameras
    assert cameras.K[3, 0, 0] > 1.5 * cameras.K[0, 0, 0]
    assert torch.allclose(cameras.world_to_camera[3], cameras.world_to_camera[0], atol=1e-5)
    avatar = Avatar.load(subject.artefact("distill", AVATAR_FILE))
    assert avatar.provenance["generator"] == video.generator
    assert torch.isfinite(avatar.means).all()


def test_what_the_model_is_decides_and_not_where_it_lies(subject: Subject, model: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(model, tmp_path / "moved"))
    assert cached(make(subject, replace(MMVDM, weights=str(moved)))) == [True, True, True]
    file = moved / "transformer" / "model.int8.safetensors"
    tensors = load_file(file)
    tensors["proj_out.bias"] += 0.5
    save_file(tensors, file)
    before = sha256_file(subject.stage_path("generate") / "frames" / "v000_t000.png")
    assert cached(make(subject, replace(MMVDM, weights=str(moved)), only="generate")) == [False]
    assert sha256_file(subject.stage_path("generate") / "frames" / "v000_t000.png") != before
    # Settings of mmvdm alone do not concern reproject.
    reproject = replace(MMVDM, generator="reproject")
    assert cached(make(subject, reproject, only="generate")) == [False]
    other = replace(reproject, steps=5, face_views=2, generator="auto")
    assert cached(make(subject, other, only="generate")) == [True]
    assert MultiViewVideo.load(subject.stage_path("generate")).plan.views == 3


def test_a_model_that_ships_is_what_auto_means(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert generator_of(GenerateConfig()) == "reproject"
    with pytest.raises(WeightsError, match="no trained mmvdm weights ship"):
        find_model(None)
    root = tmp_path / "weights"
    shutil.copytree(model, root / SHIPPED_MODEL)
    files = {}
    for path in root.rglob("*.*"):
        if path.is_file():
            entry = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
            files[path.relative_to(root).as_posix()] = {**entry, "licence": "", "source": "", "description": ""}
    (root / "manifest.json").write_text(json.dumps({"format_version": 1, "files": files}))
    monkeypatch.setenv(weights.ENVIRONMENT_VARIABLE, str(root))
    assert generator_of(GenerateConfig()) == "mmvdm"
    assert generator_of(GenerateConfig("reproject")) == "reproject"
    assert find_model(None) == find_model(SHIPPED_MODEL) == root / SHIPPED_MODEL
    assert model_digest(find_model(None)) == model_digest(model)


def test_what_cannot_work_is_said_before_the_work(subject: Subject, model: Path, tmp_path: Path) -> None:
    def refused(kind: type[Exception], words: str, generate: GenerateConfig, hardware: Hardware | None = None) -> None:
        with pytest.raises(kind, match=words) as caught:
            generate_views(
                subject.stage_path("preprocess"), tmp_path / "out", generate, seed=0, device="cpu",
                progress=SilentProgress(), hardware=hardware,
            )  # fmt: skip
        assert "\n" not in str(caught.value)

    ready = replace(MMVDM, weights=str(model))
    refused(DeviceError, "--gpus 2: 0 can be used", ready, Hardware(gpus=2))
    refused(UsageError, "multiple of 16", replace(ready, size=72))
    refused(WeightsError, "no model folder nowhere", replace(ready, weights="nowhere"))
    broken = Path(shutil.copytree(model, tmp_path / "broken"))
    file = broken / "transformer" / "model.int8.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    refused(WeightsError, "damaged or half downloaded", replace(ready, weights=str(broken)))
    file.unlink()
    refused(WeightsError, "diffusion_pytorch_model.safetensors is missing", replace(ready, weights=str(broken)))
    shutil.rmtree(broken / "transformer")
    shutil.copytree(model / "autoencoder", broken / "transformer")
    refused(WeightsError, "wanted a MultiViewVideoTransformer", replace(ready, weights=str(broken)))
    shutil.rmtree(broken / "transformer")
    refused(WeightsError, "is not a model: .*transformer has no config.json", replace(ready, weights=str(broken)))
