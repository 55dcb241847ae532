"""The diffusion generator as a stage: from the example photo to an avatar, with a toy of the model and with the one that ships."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from avatarcli.config import CreateConfig, DistillConfig, GenerateConfig, Hardware, PreprocessConfig
from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.checkpoints import save_int8
from avatarcli.diffusion.conditioning import Conditioner, Reference
from avatarcli.diffusion.tones import tone_error
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import DeviceError, UsageError, WeightsError
from avatarcli.files import sha256_file
from avatarcli.gaussians.avatar import Avatar
from avatarcli.gaussians.losses import psnr
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.pictures import MultiViewVideo
from avatarcli.progress import SilentProgress
from avatarcli.stages import second_look
from avatarcli.stages.artefacts import AVATAR_FILE
from avatarcli.stages.generate import generate_views
from avatarcli.stages.person import Person
from avatarcli.stages.pipeline import PipelineResult, RunOptions, _generate_settings, run_pipeline
from avatarcli.weights import shipped as weights
from avatarcli.weights.models import ENVIRONMENT_VARIABLE, SHIPPED_MODEL, find_model, generator_of, model_digest
from avatarcli.workspace import Subject, Workspace
from example_photo import PHOTO
from listening import Listener

MMVDM = GenerateConfig("mmvdm", views=3, face_views=1, frames=2, size=64, steps=2)


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
    """Views that a toy of the model made: they show nobody."""
    made = Workspace(tmp_path_factory.mktemp("avatars")).new_subject("astronaut")
    for stage in ("preprocess", "generate"):
        make(made, replace(MMVDM, weights=str(model)), only=stage)
    return made


def cached(result: PipelineResult) -> list[bool]:
    return [stage.cached for stage in result.stages]


def test_heads_and_faces_are_imagined(subject: Subject, model: Path) -> None:
    folder = subject.stage_path("generate")
    video = MultiViewVideo.load(folder)
    assert (video.plan.views, video.plan.frames, video.plan.crops) == (4, 2, 1)
    assert sorted(p.name for p in folder.iterdir()) == ["frames", "stage.json", "transforms.json"]
    assert video.generator == f"mmvdm:{model_digest(model)[:16]}"
    # The heads at rest, and the face in every expression.
    assert video.plan.pictures == [(0, 0), (1, 0), (2, 0), (3, 0), (3, 1)]
    assert {p.name for p in (folder / "frames").iterdir()} == {
        video.frame_path(*place).name for place in video.plan.pictures
    }
    pictures = [video.read_frame(*place) for place in video.plan.pictures]
    assert all(picture.shape == (64, 64, 4) for picture in pictures)
    assert pictures[0].std() > 0.01
    # A face fills its picture; the camera stands where a full view's does.
    cameras = video.plan.cameras
    assert cameras.K[3, 0, 0] > 1.5 * cameras.K[0, 0, 0]
    assert torch.allclose(cameras.world_to_camera[3], cameras.world_to_camera[0], atol=1e-5)


def test_a_second_look_makes_views_at_rest_again_from_what_they_agree_on(
    subject: Subject, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_look, "_ROUGH", DistillConfig(1000, 8, 64, hold_out=0, correctives=1))
    person, out = Person.load(subject.stage_path("preprocess")), tmp_path / "out"
    config = replace(MMVDM, weights=str(model), second_look=0.5)
    progress = Listener()

    def make_again() -> dict[str, bytes]:
        generate_views(person, out, config, seed=0, device="cpu", progress=progress)
        return {path.name: path.read_bytes() for path in (out / "frames").iterdir()}

    made = make_again()
    # It says nothing of a fit that nobody will see, and fitted to the pictures at rest alone.
    assert progress.warnings == []
    assert (progress.totals["second look"], len(progress.steps["second look"])) == (8, 8)
    first, second = MultiViewVideo.load(out / second_look.FIRST_LOOK), MultiViewVideo.load(out)
    assert (first.plan.pictures, first.plan.frames) == ([(0, 0), (1, 0), (2, 0), (3, 0)], 1)
    plain = MultiViewVideo.load(subject.stage_path("generate"))
    assert second.plan.pictures == plain.plan.pictures
    assert not any(torch.equal(first.read_frame(*place), second.read_frame(*place)) for place in first.plan.pictures)
    # Stopped after the fit, it goes on from there.
    shutil.rmtree(out / "frames")
    (out / second_look.FIRST_LOOK / "transforms.json").unlink()
    assert make_again() == made
    assert len(progress.steps["second look"]) == 8


def test_of_views_that_show_nobody_a_bare_head_is_made_with_a_warning(subject: Subject, model: Path) -> None:
    progress = Listener()
    config = config_with(replace(MMVDM, weights=str(model)))
    result = run_pipeline(subject, PHOTO, config, RunOptions("cpu", progress))
    assert cached(result) == [True, True, False]
    (warning,) = progress.warnings
    assert "no hair and no clothes" in warning
    avatar = Avatar.load(subject.artefact("distill", AVATAR_FILE))
    assert all(value.isfinite().all() for value in avatar._tensors().values())
    assert (avatar.binding < len(avatar.head.model.faces)).all()


def test_what_the_model_is_decides_and_not_where_it_lies(subject: Subject, model: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(model, tmp_path / "moved"))
    assert cached(make(subject, replace(MMVDM, weights=str(moved)), only="generate")) == [True]
    file = moved / "transformer" / "model.int8.safetensors"
    tensors = load_file(file)
    tensors["proj_out.bias"] += 0.5
    save_file(tensors, file)
    before = sha256_file(subject.stage_path("generate") / "frames" / "v000_t000.png")
    assert cached(make(subject, replace(MMVDM, weights=str(moved)), only="generate")) == [False]
    assert sha256_file(subject.stage_path("generate") / "frames" / "v000_t000.png") != before
    # Each generator's own settings do not concern the other.
    assert cached(make(subject, replace(MMVDM, weights=str(moved), reproject_size=99), only="generate")) == [True]
    reproject = replace(MMVDM, generator="reproject", reproject_size=64)
    assert cached(make(subject, reproject, only="generate")) == [False]
    other = replace(reproject, steps=5, size=128, guidance=2.0, second_look=0.5, weights="nowhere")
    assert cached(make(subject, other, only="generate")) == [True]
    video = MultiViewVideo.load(subject.stage_path("generate"))
    assert (video.generator, video.plan.cameras.width) == ("reproject", 64)
    assert video.plan.pictures == [(0, 0), (1, 0), (2, 0), (3, 0), (3, 1)]
    smaller = config_with(replace(reproject, reproject_size=48))
    assert _generate_settings(smaller) != _generate_settings(config_with(reproject))


def test_a_model_that_ships_is_what_auto_means(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert generator_of(GenerateConfig()) == "mmvdm"
    root = tmp_path / "weights"
    root.mkdir()
    (root / "manifest.json").write_text(json.dumps({"format_version": 1, "files": {}}))
    monkeypatch.setenv(weights.ENVIRONMENT_VARIABLE, str(root))
    assert generator_of(GenerateConfig()) == "reproject"
    with pytest.raises(WeightsError, match="no trained mmvdm weights ship"):
        find_model(None)
    shutil.copytree(model, root / SHIPPED_MODEL)
    files = {}
    for path in root.rglob("*.*"):
        if path.is_file():
            entry = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
            files[path.relative_to(root).as_posix()] = {**entry, "licence": "", "source": "", "description": ""}
    (root / "manifest.json").write_text(json.dumps({"format_version": 1, "files": files}))
    assert generator_of(GenerateConfig()) == "mmvdm"
    assert generator_of(GenerateConfig("reproject")) == "reproject"
    assert find_model(None) == find_model(SHIPPED_MODEL) == root / SHIPPED_MODEL
    assert model_digest(find_model(None)) == model_digest(model)


def test_the_weights_that_ship_make_a_person(subject: Subject, tmp_path: Path) -> None:
    """Smaller than they were trained for, in a single step: not beautiful, but a person, and the photo's from the front."""
    assert generator_of(GenerateConfig()) == "mmvdm"
    config = GenerateConfig(views=4, face_views=1, frames=2, size=96, steps=1)
    person = Workspace(tmp_path / "avatars").new_subject("astronaut")
    shutil.copytree(subject.stage_path("preprocess"), person.stage_path("preprocess"))
    assert cached(make(person, config)) == [True, False, False]
    generated, preprocess = person.stage_path("generate"), person.stage_path("preprocess")
    video = MultiViewVideo.load(generated)
    assert video.generator == f"mmvdm:{model_digest(find_model(None))[:16]}"
    pictures = [video.read_frame(*place) for place in video.plan.pictures]
    assert len(pictures) == 6
    for picture in pictures[:4]:
        alpha = picture[..., 3]
        assert 0.1 < float((alpha > 0.5).float().mean()) < 0.95
        assert picture[alpha > 0.9][:, :3].std(0).max() > 0.03
    assert pictures[0][:8, :8, 3].max() < 0.1  # beside the head
    assert pictures[0][32:64, 40:56, 3].min() > 0.8  # the face
    # What the photo shows looks as it does there, and the other expression is another picture.
    shown = Person.load(preprocess)
    conditioner = Conditioner(shown.seen.head, Reference.of(shown.frontal))
    for index in (0, 4, 5):
        view, frame = video.plan.pictures[index]
        maps = conditioner.of_view(video.plan.parameters[frame : frame + 1], video.plan.cameras[view])
        assert tone_error(pictures[index], maps.hint[0].movedim(0, -1)) < 0.05
    assert (pictures[4] - pictures[5]).abs().mean() > 0.01

    avatar = Avatar.load(person.artefact("distill", AVATAR_FILE))
    assert avatar.provenance["generator"] == video.generator
    for value in avatar._tensors().values():
        assert value.isfinite().all()
    drawn = avatar.render(avatar.rig(), HeadParameters.at_rest(), video.plan.cameras[0])
    assert psnr(drawn.color, pictures[0][..., :3]) > 15

    made = {path.name: path.read_bytes() for path in (generated / "frames").iterdir()}
    for seed in (0, 1):
        out = tmp_path / str(seed)
        generate_views(shown, out, config, seed=seed, device="cpu", progress=SilentProgress())
        again = {path.name: path.read_bytes() for path in (out / "frames").iterdir()}
        assert (again == made) == (seed == 0)


def test_what_cannot_work_is_said_before_the_work(subject: Subject, model: Path, tmp_path: Path) -> None:
    person = Person.load(subject.stage_path("preprocess"))

    def refused(kind: type[Exception], words: str, generate: GenerateConfig, hardware: Hardware | None = None) -> None:
        with pytest.raises(kind, match=words) as caught:
            generate_views(
                person, tmp_path / "out", generate, seed=0, device="cpu",
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
