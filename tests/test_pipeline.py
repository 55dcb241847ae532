"""From the example photo to rendered pictures, the real way through, with settings small enough for a test."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avatarcli.capture.portrait import Portrait
from avatarcli.cli.info import info
from avatarcli.config import CreateConfig, DistillConfig, GenerateConfig, PreprocessConfig, from_json, to_json
from avatarcli.files import sha256_file
from avatarcli.gaussians.avatar import Avatar
from avatarcli.gaussians.losses import psnr
from avatarcli.head.parameters import HeadParameters
from avatarcli.head.photo_fit import PhotoFit
from avatarcli.multiview.pictures import MultiViewVideo
from avatarcli.progress import SilentProgress
from avatarcli.stages.artefacts import AVATAR_FILE
from avatarcli.stages.pipeline import PipelineResult, RunOptions, run_pipeline
from avatarcli.stages.render_request import RenderRequest
from avatarcli.stages.rendering import render_subject
from avatarcli.workspace import Subject, Workspace
from example_photo import PHOTO
from listening import Listener

TINY = CreateConfig(
    preprocess=PreprocessConfig(crop_size=256),
    generate=GenerateConfig("reproject", views=4, face_views=1, frames=2, reproject_size=64),
    distill=DistillConfig(gaussians=1500, iterations=30, photo_size=64, correctives=2),
)
LONGER = replace(TINY, distill=replace(TINY.distill, iterations=150))  # long enough to leave a checkpoint, at step 50


def make(subject: Subject, config: CreateConfig, progress: SilentProgress | None = None) -> PipelineResult:
    return run_pipeline(subject, PHOTO, config, RunOptions("cpu", progress or SilentProgress()))


def cached(result: PipelineResult) -> dict[str, bool]:
    return {stage.stage: stage.cached for stage in result.stages}


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """The astronaut, made once for all tests."""
    made = Workspace(tmp_path_factory.mktemp("avatars")).new_subject("astronaut")
    result = make(made, TINY)
    assert cached(result) == {"preprocess": False, "generate": False, "distill": False}
    return made


def test_every_stage_leaves_what_the_next_one_reads(subject: Subject) -> None:
    portrait = Portrait.load(subject.stage_path("preprocess"))
    track = PhotoFit.load(subject.stage_path("preprocess") / "track.safetensors")
    assert portrait.size == track.camera.width == 256
    assert 0.2 < portrait.matte.mean() < 0.95
    video = MultiViewVideo.load(subject.stage_path("generate"))
    assert (video.plan.views, video.plan.crops, video.plan.frames, video.plan.cameras.width) == (5, 1, 2, 64)
    assert video.plan.pictures == [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (4, 1)]
    for place in video.plan.pictures:
        assert video.read_frame(*place).shape == (64, 64, 4)
    assert (video.read_frame(4, 0) - video.read_frame(4, 1)).abs().max() > 0.05  # the mouth opens
    for stage in ("preprocess", "generate", "distill"):
        assert subject.damaged_file(stage) is None
        assert not [
            path for path in subject.stage_path(stage).iterdir() if "partial" in path.name or "checkpoint" in path.name
        ]


def test_the_avatar_resembles_the_photo(subject: Subject) -> None:
    avatar = Avatar.load(subject.artefact("distill", AVATAR_FILE))
    assert 1000 < avatar.count <= 1500
    assert avatar.provenance["photo_sha256"] == sha256_file(PHOTO)
    portrait = Portrait.load(subject.stage_path("preprocess")).resized(64)
    track = PhotoFit.load(subject.stage_path("preprocess") / "track.safetensors")
    drawn = avatar.render(avatar.rig(), track.parameters(), track.camera.resized(64, 64))
    inside = ((portrait.matte > 0.95) & (portrait.inside > 0.95)).float()
    assert psnr(drawn.color, portrait.foreground * portrait.matte[..., None], inside) > 16
    back = avatar.framing.cameras(torch.tensor([torch.pi]), torch.zeros(1), 64)[0]
    alpha = avatar.render(avatar.rig(), HeadParameters.at_rest(), back).alpha
    assert alpha[16:48, 24:40].min() > 0.6  # there is a back of the head, of the few Gaussians that lips and lids leave


def test_info_tells_how_well_the_views_are_shown(subject: Subject, capsys: pytest.CaptureFixture[str]) -> None:
    info(subject.name, subject.workspace.root, json=True)
    fit = json.loads(capsys.readouterr().out)["distill"]["fit"]
    assert {name: group["pictures"] for name, group in fit.items()} == {"photo": 1, "all": 6, "seen": 5, "held_out": 1}
    for group in fit.values():
        assert 12 < group["psnr"] < 50
        assert 0.3 < group["ssim"] < 1
        assert 0.5 < group["alpha_iou"] <= 1
    info(subject.name, subject.workspace.root)
    assert f"fit: {fit['all']['psnr']:.1f} dB over its 6 views; before its last steps" in capsys.readouterr().out


def test_pictures_of_it(subject: Subject, tmp_path: Path) -> None:
    progress = SilentProgress()
    still = render_subject(subject, tmp_path / "a.png", RenderRequest(size=64), device="cpu", progress=progress)
    assert (still.path, still.size) == (tmp_path / "a.png", (64, 64))
    with Image.open(tmp_path / "a.png") as image:
        frame = np.asarray(image.convert("RGB")).astype(int)
    assert (frame[0, 0] == 255).all()
    assert frame[32, 32].max() < 250
    sheet = render_subject(
        subject, tmp_path / "s.png", RenderRequest(sheet=True, size=32), device="cpu", progress=progress
    )
    with Image.open(tmp_path / "s.png") as image:
        assert image.size == sheet.size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "s.png"]


def test_making_it_again_does_nothing(subject: Subject) -> None:
    before = sha256_file(subject.artefact("distill", AVATAR_FILE))
    assert cached(make(subject, TINY)) == {"preprocess": True, "generate": True, "distill": True}
    assert sha256_file(subject.artefact("distill", AVATAR_FILE)) == before
    assert from_json(subject.manifest().config) == TINY


def test_a_killed_run_leaves_the_old_avatar_and_goes_on_where_it_was(subject: Subject, tmp_path: Path) -> None:
    program = """
import json, sys
from pathlib import Path
from avatarcli.config import from_json
from avatarcli.progress import SilentProgress
from avatarcli.stages.pipeline import RunOptions, run_pipeline
from avatarcli.workspace import Workspace
root, photo, config = sys.argv[1:]
subject = Workspace(Path(root)).new_subject("astronaut")
run_pipeline(subject, Path(photo), from_json(json.loads(config)), RunOptions("cpu", SilentProgress()))
"""
    good = sha256_file(subject.artefact("distill", AVATAR_FILE))
    log = tmp_path / "log.txt"
    with log.open("wb") as stream:
        arguments = [str(subject.workspace.root), str(PHOTO), json.dumps(to_json(LONGER))]
        child = subprocess.Popen([sys.executable, "-c", program, *arguments], stderr=stream)
        try:
            checkpoint = subject.path / ".distill.partial" / ".checkpoint.safetensors"
            while not checkpoint.exists():
                assert child.poll() is None, log.read_text()
                time.sleep(0.005)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
    assert child.returncode == -signal.SIGKILL
    assert sha256_file(subject.artefact("distill", AVATAR_FILE)) == good
    assert subject.damaged_file("distill") is None
    listener = Listener()
    assert cached(make(subject, LONGER, listener)) == {"preprocess": True, "generate": True, "distill": False}
    assert listener.steps["distill"][0] >= 50  # it took up the checkpoint
    assert sum(listener.steps["distill"]) == 150
    assert sorted(path.name for path in subject.path.iterdir() if "partial" in path.name) == []
    assert Avatar.load(subject.artefact("distill", AVATAR_FILE)).count > 1000
