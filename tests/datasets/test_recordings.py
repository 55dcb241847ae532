"""Multi-view recordings of every layout, written from renders of the shipped head."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from avatarcli.capture.landmarks import FaceLandmarks
from avatarcli.datasets.recordings import ava256, nersemble, renderme360, transforms
from avatarcli.datasets.recordings.fit import lay_head
from avatarcli.datasets.recordings.reader import LAYOUTS, MultiViewPeople, looked_at, spread
from avatarcli.datasets.recordings.recording import Recording
from avatarcli.diffusion.transformer import MultiViewVideoTransformer
from avatarcli.errors import PhotoError, UsageError
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.rotations import axis_angle_to_matrix, invert_rigid, rigid
from avatarcli.head.model import HeadModel
from avatarcli.training.diffusion import diffusion_loss
from avatarcli.training.settings import load_settings

Sitting = Any  # conftest's: pictures of the shipped head
UNIT = 1000.0  # the recordings' worlds are in millimetres, and lie askew
WORLD = rigid(axis_angle_to_matrix(torch.tensor([0.4, -1.1, 0.7])), torch.tensor([120.0, -900.0, 2300.0]))


def askew(cameras: Camera) -> Camera:
    """The same cameras in the recordings' world."""
    scaled = cameras.world_to_camera.clone()
    scaled[:, :3, 3] *= UNIT
    return Camera(scaled @ invert_rigid(WORLD), cameras.K, cameras.width, cameras.height)


def write_transforms(folder: Path, sitting: Sitting) -> None:
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    cameras, frames = askew(sitting.cameras), []
    person = folder / "somebody"
    person.mkdir(parents=True)
    for view in range(len(cameras)):
        for step in range(sitting.images.shape[1]):
            name = f"v{view}_t{step}.png"
            rgba = np.concatenate([sitting.images[view, step], sitting.mattes[view, step][..., None]], -1)
            Image.fromarray(rgba, "RGBA").save(person / name)
            frames.append({
                "file_path": name, "camera_index": view, "timestep_index": step, "w": cameras.width, "h": cameras.height,
                "transform_matrix": (invert_rigid(cameras.world_to_camera[view]) @ flip).tolist(),
                "fl_x": float(cameras.K[view, 0, 0]), "fl_y": float(cameras.K[view, 1, 1]),
                "cx": float(cameras.K[view, 0, 2]), "cy": float(cameras.K[view, 1, 2]),
            })  # fmt: skip
    (person / "transforms.json").write_text(json.dumps({"frames": frames}))


def write_nersemble(folder: Path, sitting: Sitting) -> None:
    """Its cameras share one lens and see portraits of 2200 × 3208; the videos here are as small as these are kept."""
    cameras = askew(sitting.cameras)
    size = cameras.width
    # The square pictures become the middle of tall ones.
    tall = round(size * 3208 / 2200)
    margin = (tall - size) // 2
    K = cameras.K[0].clone()
    K[1, 2] += margin
    K[:2] *= 2200 / size
    poses = {f"2222000{view}": cameras.world_to_camera[view].tolist() for view in range(len(cameras))}
    calibration = folder / "017" / "calibration"
    calibration.mkdir(parents=True)
    document = {"world_2_cam": poses, "intrinsics": K.tolist()}
    (calibration / "camera_params.json").write_text(json.dumps(document))
    images = folder / "017" / "sequences" / "EXP-1-head" / "images"
    images.mkdir(parents=True)
    (folder / "017" / "sequences" / "BACKGROUND" / "images").mkdir(parents=True)
    for view, serial in enumerate(poses):
        with av.open(str(images / f"cam_{serial}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": "8", "preset": "ultrafast", "bf": "0"})
            stream.width, stream.height, stream.pix_fmt = size, tall - tall % 2, "yuv420p"
            stream.codec_context.time_base = Fraction(1, 25)
            for step in range(sitting.images.shape[1]):
                square = sitting.images[view, step]
                picture = np.pad(square, ((margin, stream.height - size - margin), (0, 0), (0, 0)), mode="edge")
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = step, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def write_ava(folder: Path, sitting: Sitting) -> None:
    """Matrices column by column, calibrated for a sensor of 2668 × 4096; one frame of one camera is lost."""
    cameras = askew(sitting.cameras)
    size = cameras.width
    decoder = folder / "m--20210810--0000--ABC123--GHS" / "decoder"
    for name in ("image", "segmentation_parts"):
        (decoder / name).mkdir(parents=True)
    width, height = 2668, 4096
    tall = round(size * height / width)
    margin = (tall - size) // 2
    entries = []
    for view in range(len(cameras)):
        K = cameras.K[view].clone()
        K[1, 2] += margin
        K[:2] *= width / size
        entries.append({"cameraId": f"4000{view}", "K": K.T.tolist(), "T": cameras.world_to_camera[view].T.tolist()})
        with (
            zipfile.ZipFile(decoder / "image" / f"cam4000{view}.zip", "w") as images,
            zipfile.ZipFile(decoder / "segmentation_parts" / f"cam4000{view}.zip", "w") as parts,
        ):
            for step in range(sitting.images.shape[1]):
                if (view, step) == (2, 4):
                    continue
                pad = ((margin, tall - size - margin), (0, 0))
                picture = np.pad(sitting.images[view, step], (*pad, (0, 0)), mode="edge")
                person = np.pad(sitting.mattes[view, step], pad, mode="edge") // 128 * 2
                for archive, name, content, kind in (
                    (images, f"{step + 7:06d}.avif", picture, "AVIF"),
                    (parts, f"{step + 7:06d}.png", person, "PNG"),
                ):
                    stream = io.BytesIO()
                    Image.fromarray(content).save(stream, kind)
                    archive.writestr(name, stream.getvalue())
    (decoder / "camera_calibration.json").write_text(json.dumps({"KRT": entries}))
    with (decoder / "frame_list.csv").open("w", newline="") as stream_:
        rows = csv.writer(stream_)
        rows.writerow(["seg_id", "frame_id"])
        rows.writerows(["EXP_free_face", step + 7] for step in range(sitting.images.shape[1]))


def write_renderme(folder: Path, sitting: Sitting) -> None:
    """Pictures as JPEG streams and masks as they are; the calibration in the annotations' file."""
    cameras = askew(sitting.cameras)
    folder.mkdir(parents=True)
    with h5py.File(folder / "0026_e0_raw.smc", "w") as raw, h5py.File(folder / "0026_e0_anno.smc", "w") as annotations:
        for view in range(len(cameras)):
            group = raw.create_group(f"Camera/{view:02d}")
            for step in range(sitting.images.shape[1]):
                stream = io.BytesIO()
                Image.fromarray(sitting.images[view, step]).save(stream, "JPEG", quality=95)
                group[f"color/{step}"] = np.frombuffer(stream.getvalue(), np.uint8)
                group[f"mask/{step}"] = sitting.mattes[view, step][..., None].repeat(3, -1)
            calibration = annotations.create_group(f"Calibration/{view}")
            calibration["K"] = cameras.K[view].double().numpy()
            calibration["D"] = np.zeros(5)
            calibration["RT"] = invert_rigid(cameras.world_to_camera[view]).double().numpy()


WRITERS: dict[str, Callable[[Path, Sitting], None]] = {
    "transforms": write_transforms,
    "nersemble": write_nersemble,
    "ava256": write_ava,
    "renderme360": write_renderme,
}
FINDERS: dict[str, Callable[[Path], list[Recording]]] = {
    "transforms": transforms.find,
    "nersemble": nersemble.find,
    "ava256": ava256.find,
    "renderme360": renderme360.find,
}


@pytest.fixture(scope="module")
def folders(sitting: Sitting, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("recordings")
    for layout, write in WRITERS.items():
        write(root / layout, sitting)
    return {layout: root / layout for layout in WRITERS}


@pytest.mark.parametrize("layout", WRITERS)
def test_recordings_have_the_cameras_and_pictures_that_were_written(
    layout: str, folders: dict[str, Path], sitting: Sitting
) -> None:
    (recording,) = FINDERS[layout](folders[layout])
    assert recording.frame_count() == (4 if layout == "ava256" else 5)
    assert len(recording.cameras) == 5
    truth = askew(sitting.cameras)
    point = (WORLD[:3, :3] @ torch.tensor([0.03, 0.02, 0.06]) * UNIT + WORLD[:3, 3])[None]
    for view, (name, camera) in enumerate(recording.cameras.items()):
        shots = recording.shots(name, 1, 2)
        height, width = shots[0].image.shape[:2]
        assert width == truth.width
        margin = (height - width) // 2
        # The point falls where it does in the square picture, which is the middle of a tall one.
        found = camera.resized(width, height).project(point)[0][0] - torch.tensor([0.0, margin])
        assert found.tolist() == pytest.approx(truth[view].project(point)[0][0].tolist(), abs=1.0)
        for step, shot in enumerate(shots, 1):
            middle = shot.image[margin : margin + width].astype(np.float32)
            assert np.abs(middle - sitting.images[view, step]).mean() < 4
            assert (shot.matte is None) == (layout == "nersemble")
            if shot.matte is not None:
                cut = shot.matte[margin : margin + width]
                assert np.abs(cut - sitting.mattes[view, step] / 255).mean() < 0.01


def test_a_head_is_laid_where_it_stands(model: HeadModel, sitting: Sitting) -> None:
    """With landmarks without noise, in a world of another unit and orientation; the last frame is seen by one camera."""
    cameras = askew(sitting.cameras)
    seen: list[dict[int, FaceLandmarks]] = []
    yaw = {0: 0.0, 1: -0.52, 4: 0.52}
    for frame in range(5):
        one = sitting.parameters[frame : frame + 1]
        head = sitting.head.in_world(one)[0]
        faces = {}
        for view in (0, 1, 4) if frame < 4 else (1,):
            pixels = sitting.cameras[view].project(model.landmarks(head))[0].numpy()
            turn = np.eye(4, dtype=np.float32)
            turn[0, 2], turn[2, 2] = np.sin(yaw[view]), np.cos(yaw[view])
            scores = np.zeros(52, np.float32)
            faces[view] = FaceLandmarks(pixels, np.zeros(478, np.float32), scores, turn)
        seen.append(faces)
    laid = lay_head(model, torch.zeros(model.identity_size), torch.zeros_like(model.mean), cameras, seen)
    assert laid.error[:4].max() < 1e-3
    assert laid.error[4].isnan()
    points = sitting.head.neutral[::500]
    for frame in range(5):
        true, found = sitting.parameters.head_pose[frame], laid.parameters.head_pose[frame]
        for view in range(5):
            expected, depth = sitting.cameras[view].project(points @ true[:3, :3].T + true[:3, 3])
            pixels, found_depth = laid.cameras[view].project(points @ found[:3, :3].T + found[:3, 3])
            assert (pixels - expected).norm(dim=-1).max() < (2.0 if frame < 4 else 6.0)
            # Metres come back whatever the unit was.
            assert found_depth.tolist() == pytest.approx(depth.tolist(), rel=0.02)


def test_views_are_spread_around(around: Callable[[list[float]], Camera]) -> None:
    cameras = around([0.0, 10.0, 20.0, 90.0, 100.0, 180.0, 190.0, 270.0])
    assert looked_at(cameras).tolist() == pytest.approx([0.0, -0.02, 0.0], abs=1e-4)
    assert sorted(spread(cameras, 4, first=0)) in ([0, 3, 5, 7], [0, 4, 5, 7])
    assert spread(cameras, 1, first=2) == [2]
    assert sorted(spread(cameras, 8, first=3)) == list(range(8))


@pytest.mark.parametrize(("layout", "frames"), [("transforms", 5), ("nersemble", 1), ("ava256", 1), ("renderme360", 1)])
def test_a_sample_shows_the_head_where_its_maps_say(layout: str, frames: int, folders: dict[str, Path]) -> None:
    people = MultiViewPeople(folders[layout], layout, views=4, frames=frames, size=64)  # type: ignore[arg-type]
    sample = people.sample(0)
    latents = 1 + (frames - 1) // 4
    assert list(sample.video.shape) == [4, frames, 4, 64, 64]
    assert list(sample.hint.shape) == [1, 4, frames, 5, 64, 64]
    assert list(sample.maps.shape) == [1, 4, latents, 204, 8, 8]
    assert list(sample.weight.shape) == [4, latents, 1, 8, 8]
    assert list(sample.photo.shape) == [1, 4, 64, 64]
    video, hint = sample.video.float() / 255, sample.hint[0].float() / 255
    # What is warped from the photo is what the view shows, in the front view nearly everywhere.
    assert hint[0, :, 3].mean() > 0.15
    seen = hint[..., 3, :, :] > 0.99
    difference = (video[..., :3, :, :] - hint[..., :3, :, :]).abs().mean(-3)
    assert difference[0][seen[0]].mean() < 0.05
    assert difference[seen].mean() < 0.12
    # Behind the head nothing of the face is seen.
    assert (hint[..., 3, :, :].mean((1, 2, 3)) < 0.05).any() or layout == "nersemble"


def test_what_cannot_work_is_one_line(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--views 6"):
        MultiViewPeople(folders["transforms"], "transforms", views=6, frames=1, size=32)
    with pytest.raises(UsageError, match="--frames 3"):
        MultiViewPeople(folders["transforms"], "transforms", views=2, frames=3, size=32)
    with pytest.raises(UsageError, match="--size 20"):
        MultiViewPeople(folders["transforms"], "transforms", views=2, frames=1, size=20)
    with pytest.raises(PhotoError, match="has 5 frames, not 9"):
        MultiViewPeople(folders["transforms"], "transforms", views=2, frames=9, size=32).read(0)
    for layout in LAYOUTS:
        with pytest.raises(PhotoError, match=str(tmp_path)):
            MultiViewPeople(tmp_path, layout, views=1, frames=1, size=32)


@pytest.mark.parametrize(
    ("layout", "file", "content"),
    [
        ("transforms", "a/transforms.json", "{}"),
        ("nersemble", "017/calibration/camera_params.json", "[]"),
        ("ava256", "m/decoder/camera_calibration.json", "{"),
        ("renderme360", "0026_e0_raw.smc", "no HDF5"),
    ],
)
def test_damaged_calibrations_are_named(layout: str, file: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    video = tmp_path / "017" / "sequences" / "A" / "images" / "cam_1.mp4"
    video.parent.mkdir(parents=True)
    video.write_bytes(b"")
    (path.parent / "frame_list.csv").write_text("seg_id,frame_id\nA,1\n")
    with pytest.raises(PhotoError) as raised:
        FINDERS[layout](tmp_path)
    assert path.name in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_a_config_for_samples_of_its_own(layout: str) -> None:
    settings = load_settings("mmvdm", layout, model=MultiViewVideoTransformer, loss=diffusion_loss)
    folders = [{source.folder for source in phase.sources} for phase in settings.curriculum]
    assert folders == [{layout, "studio"}] * 2
    # The model's size is that of the one to go on from.
    assert settings.model == {}
