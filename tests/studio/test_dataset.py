"""Samples and the dataset: determinism, shapes, and what the maps say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from avatarcli.diffusion.autoencoder import SmallVideoAutoencoder
from avatarcli.diffusion.conditioning import Conditioner, Reference, rasterize_frames
from avatarcli.errors import UsageError, WorkspaceError
from avatarcli.geometry.mesh import MeshRaster
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.model import PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing
from avatarcli.progress import SilentProgress
from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.dataset import Studio, StudioDataset, StudioSettings
from avatarcli.studio.sample import StudioSample, condition_views, loss_weight
from avatarcli.studio.scene import REGION_NAMES
from avatarcli.studio.writer import SETTINGS_FILE, write_samples
from avatarcli.training.data import SampleFolder, draw_scenes, draw_videos

SIZE, CELLS = 32, 4


@pytest.fixture(scope="module")
def studio(pack: Path) -> Studio:
    settings = StudioSettings(views=2, frames=5, size=SIZE, seed=3, face_views=1, photos=2)
    return Studio(StudioAssets.load(pack), settings)


@pytest.fixture(scope="module")
def sample(studio: Studio) -> StudioSample:
    return studio.sample(0)


@pytest.fixture(scope="module")
def autoencoder() -> SmallVideoAutoencoder:
    torch.manual_seed(0)
    return SmallVideoAutoencoder(widths=(8, 8, 8), trunk_width=16).eval()


def test_a_sample_has_the_shapes_and_types_it_promises(studio: Studio, sample: StudioSample) -> None:
    shapes = {name: list(value.shape) for name, value in vars(sample).items() if isinstance(value, torch.Tensor)}
    assert shapes == {
        "video": [3, 5, 4, SIZE, SIZE],
        "hint": [2, 3, 5, 5, SIZE, SIZE],
        "maps": [2, 3, 2, 204, CELLS, CELLS],
        "weight": [3, 2, 1, CELLS, CELLS],
        "photo": [2, 4, SIZE, SIZE],
        "photo_hint": [2, 5, SIZE, SIZE],
        "photo_maps": [2, 204, CELLS, CELLS],
    }
    assert sample.video.dtype == sample.hint.dtype == sample.photo.dtype == torch.uint8
    assert sample.maps.dtype == sample.photo_maps.dtype == sample.weight.dtype == torch.float16
    assert sample.number == studio.settings.subject(0) == 3 << 32


def test_a_sample_shows_a_person_before_nothing(sample: StudioSample) -> None:
    rgba = sample.video.float() / 255
    assert (rgba[:, :, :3] <= rgba[:, :, 3:] + 0.01).all()
    share = rgba[:, :, 3].mean((1, 2, 3))
    assert (share > 0.15).all()
    # The views of the face alone are filled by it.
    assert (share[:2] < 0.95).all()
    assert sample.photo[:, 3].float().mean() > 30
    # The photo is seen somewhere, and premultiplied where it is.
    hint = sample.hint.float() / 255
    assert (hint[..., :3, :, :].amax(-3) <= hint[..., 3, :, :] + 0.01).all()
    assert hint[..., 3, :, :].mean() > 0.02
    assert torch.isfinite(sample.maps.float()).all()
    assert (sample.weight >= 1).all()
    assert sample.weight[2].float().mean() > sample.weight[:2].float().mean()


def test_samples_are_functions_of_their_number(studio: Studio, sample: StudioSample) -> None:
    again = Studio(studio.assets, studio.settings).sample(0)
    for name, value in vars(sample).items():
        assert torch.equal(value, getattr(again, name)) if isinstance(value, torch.Tensor) else value == again.number
    other = studio.sample(1)
    assert not torch.equal(other.video, sample.video)
    # More photos do not change the first one, nor the pictures.
    single = Studio(studio.assets, replace(studio.settings, photos=1)).sample(0)
    assert torch.equal(single.video, sample.video)
    assert torch.equal(single.photo[0], sample.photo[0])
    assert torch.equal(single.hint[0, :2], sample.hint[0, :2])


class Ready(Studio):
    """A studio that has made its only subject already: what is written of it is tested, not how it was made."""

    def __init__(self, studio: Studio, sample: StudioSample) -> None:
        self.settings = studio.settings
        self._sample = sample

    def sample(self, index: int) -> StudioSample:
        assert index == 0
        return self._sample


@pytest.fixture(scope="module")
def ready(studio: Studio, sample: StudioSample) -> Studio:
    return Ready(studio, sample)


class Numbers:
    """In place of a studio: the index alone."""

    def sample(self, index: int) -> int:
        return index


def test_ranks_and_workers_share_the_samples_out() -> None:
    def first(count: int, rank: int, world: int, workers: int) -> list[int]:
        loader = DataLoader(StudioDataset(Numbers(), rank=rank, world=world), batch_size=None, num_workers=workers)  # type: ignore[arg-type]
        return [int(value) for value, _ in zip(loader, range(count), strict=False)]

    assert first(4, 0, 1, 0) == [0, 1, 2, 3]
    assert first(6, 0, 2, 0) + first(6, 1, 2, 0) == [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]
    assert sorted(first(4, 0, 2, 2) + first(4, 1, 2, 2)) == list(range(8))
    with pytest.raises(ValueError, match="rank 2 of 2"):
        StudioDataset(Numbers(), rank=2, world=2)  # type: ignore[arg-type]


def test_a_dataset_goes_on_where_it_was() -> None:
    dataset = StudioDataset(Numbers(), rank=1, world=3)  # type: ignore[arg-type]
    whole = [value for value, _ in zip(dataset, range(6), strict=False)]
    stopped = StudioDataset(Numbers(), rank=1, world=3)  # type: ignore[arg-type]
    stream = iter(stopped)
    first = [next(stream) for _ in range(2)]
    state = stopped.state_dict()
    resumed = StudioDataset(Numbers(), rank=1, world=3)  # type: ignore[arg-type]
    resumed.load_state_dict(state)
    assert first + [value for value, _ in zip(resumed, range(4), strict=False)] == whole


def test_views_at_once_equal_views_one_by_one(mean_head: PersonalHead) -> None:
    """The batched maps against the conditioner's own loop over a slow rasteriser."""
    framing = Framing.of(mean_head.neutral)
    cameras = framing.cameras(torch.tensor([0.2, 2.0]), torch.tensor([0.1, -0.1]), 64)
    picture = torch.rand(64, 64, 4, generator=torch.Generator().manual_seed(0))
    conditioner = Conditioner(mean_head, Reference(picture, torch.ones(64, 64), cameras[0], HeadParameters.at_rest()))
    clip = HeadParameters.at_rest(5)
    clip.expression[:, EXPRESSION_INDEX["jawOpen"]] = torch.linspace(0, 1, 5)
    together, _ = condition_views(conditioner, clip, cameras, conditioner.head.in_world(clip))
    for view in range(2):
        slow = rasterize_frames(mean_head.in_world(clip), mean_head.model.faces, cameras[view])
        alone = conditioner.of_view(clip, cameras[view], raster=slow)
        rows = slice(5 * view, 5 * view + 5)
        # Two rasterisers may disagree on a pixel at an edge.
        assert ((together.maps[rows] - alone.maps).abs() > 1e-3).float().mean() < 0.01
        assert ((together.hint[rows] - alone.hint).abs() > 1e-3).float().mean() < 0.01


def test_faces_count_more_unless_hair_hides_them(mean_head: PersonalHead) -> None:
    framing = Framing.of(mean_head.neutral)
    cameras = framing.cameras(torch.tensor([0.0, 3.14]), torch.zeros(2), 64)
    rest = HeadParameters.at_rest()
    posed = mean_head.in_world(rest)
    rasters = [rasterize_frames(posed, mean_head.model.faces, camera) for camera in (cameras[0], cameras[1])]
    raster = MeshRaster(*(torch.cat([getattr(r, name) for r in rasters]) for name in ("face", "weights", "depth")))
    bare = torch.zeros(2, 1, 64, 64, 4)
    hairy = bare.clone()
    hairy[..., REGION_NAMES.index("hair")] = 1
    weight, hidden = (loss_weight(mean_head.model, raster, regions) for regions in (bare, hairy))
    assert weight.shape == (2, 1, 1, 8, 8)
    assert weight[0].max() > 2.2
    assert weight[1].max() < 2.1
    assert torch.equal(hidden, torch.ones_like(hidden))


def test_written_videos_are_what_training_reads(ready: Studio, sample: StudioSample, tmp_path: Path) -> None:
    out = tmp_path / "videos"
    written = write_samples(ready, out, 1, SilentProgress())
    assert (written.kind, written.made, written.kept) == ("videos", 3, 0)
    generator = torch.Generator().manual_seed(0)
    batch = draw_videos(SampleFolder(out), 2, "cpu", generator)
    assert batch.video.shape == (2, 5, 4, SIZE, SIZE)
    assert batch.hint is not None
    last = load_file(out / "0000000_v02.safetensors")
    assert torch.equal(last["video"], sample.video[2])
    assert torch.equal(last["hint"], sample.hint[0, 2])


def test_written_scenes_are_what_training_reads(
    ready: Studio, sample: StudioSample, autoencoder: SmallVideoAutoencoder, tmp_path: Path
) -> None:
    out = tmp_path / "scenes"
    write_samples(ready, out, 1, SilentProgress(), autoencoder=autoencoder, autoencoder_name="toy")
    batch = draw_scenes(SampleFolder(out), 2, "cpu", torch.Generator().manual_seed(0))
    assert batch.photo.shape == (2, 16, CELLS, CELLS)
    assert batch.photo_conditioning.shape == (2, 220, CELLS, CELLS)
    assert batch.conditioning.shape == (2, 3, 2, 220, CELLS, CELLS)
    assert batch.weight is not None
    content = load_file(out / "0000000.safetensors")
    with torch.inference_mode():
        latents = autoencoder.encode(sample.video[1][None].float() / 255)[0]
        warp = autoencoder.encode(sample.hint[1, 2, :, :4][None].float() / 255)[0]
    assert torch.allclose(content["latents"][1].float(), latents, atol=2e-3)
    assert torch.allclose(content["conditioning"][1, 2, :, 204:].float(), warp, atol=2e-3)
    assert torch.equal(content["conditioning"][:, :, :, :204], sample.maps)


def test_a_stopped_run_keeps_what_is_there(ready: Studio, tmp_path: Path) -> None:
    write_samples(ready, tmp_path, 1, SilentProgress())
    kept = tmp_path / "0000000_v00.safetensors"
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    written = write_samples(ready, tmp_path, 1, SilentProgress())
    assert (written.made, written.kept) == (0, 3)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")} == before
    content = kept.read_bytes()
    kept.unlink()
    write_samples(ready, tmp_path, 1, SilentProgress())
    assert kept.read_bytes() == content


def test_folders_of_other_samples_are_refused(ready: Studio, tmp_path: Path) -> None:
    write_samples(ready, tmp_path / "mine", 0, SilentProgress())
    other = Ready(ready, ready.sample(0))
    other.settings = replace(ready.settings, seed=4)
    with pytest.raises(UsageError, match="seed 3, not 4"):
        write_samples(other, tmp_path / "mine", 1, SilentProgress())
    (tmp_path / "mine" / SETTINGS_FILE).write_text("{")
    with pytest.raises(WorkspaceError, match="damaged"):
        write_samples(ready, tmp_path / "mine", 1, SilentProgress())
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="from elsewhere"):
        write_samples(ready, tmp_path / "theirs", 1, SilentProgress())
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        write_samples(ready, tmp_path / "file", 1, SilentProgress())


@pytest.mark.parametrize(
    "wrong", [{"views": 0}, {"frames": 4}, {"size": 100}, {"seed": -1}, {"photos": 0}, {"face_views": -1}]
)
def test_settings_that_cannot_work(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        StudioSettings(**{"views": 1, "frames": 1, "size": 64, **wrong})  # type: ignore[arg-type]
