"""Measure how wrong the tracker is, on studio pictures of people whose true heads are known.

    python scripts/measure_tracker_error.py --assets DIR [--count 200] [--raw errors.npz]

Every picture is a photo-like portrait (any lens, light and background, JPEG) that goes through `avatar preprocess`'s own steps:
detection, crop, matte, fit. The statistics replace `src/avatarcli/studio/tracker_error.json`, from which
training draws its misfits. --raw keeps what has been measured, so that a run can be stopped and continued.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatarcli.capture.face_crop import FaceCrop
from avatarcli.capture.portrait import Portrait
from avatarcli.cli.console import Console
from avatarcli.errors import PhotoError
from avatarcli.head.model import HeadModel, load_head_model
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing
from avatarcli.studio.assemble import assemble
from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.backdrop import draw_backdrop
from avatarcli.studio.dataset import draw_photo_motion
from avatarcli.studio.faces import MIRROR
from avatarcli.studio.lights import draw_light
from avatarcli.studio.misfit import TrueHead, measure_error, on_shipped_model, shape_components
from avatarcli.studio.motion import MotionLibrary
from avatarcli.studio.reference import draw_photo_faults, take_photo, through_lens
from avatarcli.studio.render import render
from avatarcli.studio.sample import batch_of_one
from avatarcli.studio.subject import draw_subject
from avatarcli.studio.tracker_error import COVARIATES, ERROR_SIZE, SHAPE_SIZE, STATISTICS_FILE, TrackerError, estimate
from avatarcli.studio.viewpoints import draw_reference_camera
from avatarcli.tracking.fit import PORTRAIT_DISTANCE, fit_photo

SIZE = 720  # pixels of a picture: a face of some 200, at which the tracker has what it can use
CROP = 1024  # pixels of a crop at most, as of `avatar create --preset standard`
MARGIN = 1.3  # so much more than the bust is in the picture, so that the crop finds its pixels
FIRST = 7 << 32  # number of the first subject: none that training sees
FACTORS = 32
WIDTHS = [ERROR_SIZE, COVARIATES, 52 + SHAPE_SIZE]  # of a row: error, circumstances, true expression and shape
SHIPPED = Path(__file__).parents[1] / "src/avatarcli/studio" / STATISTICS_FILE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, required=True, help="the pack of MakeHuman's CC0 assets")
    parser.add_argument("--count", type=int, default=200, help="people, a picture each (default: 200)")
    parser.add_argument("--raw", type=Path, help="a file that keeps the measurements (.npz)")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="where the statistics go (default: the package)")
    arguments = parser.parse_args()
    model = load_head_model()
    assets = StudioAssets.load(arguments.assets, skin_height=640)
    library = MotionLibrary.load()
    rows: list[Tensor] = []
    if arguments.raw and arguments.raw.exists():
        with np.load(arguments.raw) as found:
            rows = list(torch.from_numpy(found["rows"]))
    console = Console()
    with console.task("measure", arguments.count) as advance:
        advance(len(rows))
        for index in range(len(rows), arguments.count):
            rows.append(measure(model, assets, library, FIRST + index))
            if arguments.raw:
                np.savez(arguments.raw, rows=torch.stack(rows).numpy())
            advance(1)
    every = torch.stack(rows[: arguments.count])
    every = every[every.isfinite().all(1)]
    source = f"{len(every)} studio portraits of {SIZE} pixels (a face was found in {len(every)} of {arguments.count})"
    summarise(every)
    errors, circumstances, truths = torch.split(torch.cat([every, mirrored(model, every)]), WIDTHS, 1)
    statistics = estimate(errors, circumstances, truths, factors=FACTORS, source=source)
    arguments.out.write_text(json.dumps(statistics.to_json()) + "\n")
    console.info(f"{arguments.out}: {source}")


def measure(model: HeadModel, assets: StudioAssets, library: MotionLibrary, number: int) -> Tensor:
    """The error, circumstances and true coefficients [sum(WIDTHS)] of one picture; NaN where no face was found."""
    rng, generator = np.random.default_rng(number), torch.Generator().manual_seed(number)
    subject = draw_subject(assets, number)
    mesh, poser = assemble(assets, subject, "cpu")
    framing = Framing.of(poser(HeadParameters.at_rest()).vertices[0])
    camera = draw_reference_camera(rng, SIZE, replace(framing, span=framing.span * MARGIN))
    parameters = draw_photo_motion(rng, library)
    light = draw_light(rng, float(np.mean(subject.skin.tone)))
    faults = draw_photo_faults(generator)
    clean = render(mesh, poser(parameters), batch_of_one(camera), light).rgba[0, 0]
    taken = take_photo(through_lens(clean, faults), draw_backdrop(rng, SIZE), faults, generator)
    photo = (taken * 255).round().byte().numpy()
    try:
        found = FaceCrop.of(photo, CROP)
    except PhotoError:
        return torch.full((sum(WIDTHS),), torch.nan)
    crop, face = found.crop, found.face
    portrait = Portrait.cut_out(crop.image, crop.inside)
    size = portrait.size
    track = fit_photo(model, face.points, face.scores, size, size, matte=portrait.matte.numpy())
    seen = crop.camera_of(camera)
    neutral = on_shipped_model(assets.head, subject.neutral(assets))
    truth = TrueHead.of(model, neutral, assets.head.joints(torch.tensor(subject.person.identity)), seen, parameters)
    truths = torch.cat([parameters.expression[0], truth.shape(model)])
    return torch.cat([measure_error(model, truth, track).vector(), truth.circumstances(model), truths])


def mirrored(model: HeadModel, rows: Tensor) -> Tensor:
    """The same measurements [M, sum(WIDTHS)] in a mirror: the tracker knows no left and right."""
    errors, circumstances, truths = torch.split(rows, WIDTHS, 1)
    error = TrackerError.of(errors)
    flip = mirror_shape(model)
    eyes = error.gaze.flip(1) * torch.tensor([-1.0, 1.0])
    turned = TrackerError(
        rotation=error.rotation * torch.tensor([1.0, -1.0, -1.0]),
        offset=error.offset * torch.tensor([-1.0, 1.0]),
        log_scale=error.log_scale,
        log_distance=error.log_distance,
        expression=error.expression[:, MIRROR],
        gaze=eyes,
        shape=error.shape @ flip,
    )
    expressions, shapes = torch.split(truths, [52, SHAPE_SIZE], 1)
    other_side = circumstances * torch.tensor([1.0, 1.0, -1.0, 1.0, 1.0])
    return torch.cat([turned.vector(), other_side, expressions[:, MIRROR], shapes @ flip], dim=1)


def mirror_shape(model: HeadModel) -> Tensor:
    """What mirroring a head does to its components: [SHAPE_SIZE, SHAPE_SIZE], for rows of components."""
    basis = model.identity_basis[:SHAPE_SIZE]
    flipped = basis[:, model.mirror] * torch.tensor([-1.0, 1.0, 1.0])
    return torch.stack([shape_components(model, change) for change in flipped])


def summarise(rows: Tensor) -> None:
    """Print how wrong the tracker is."""
    errors, circumstances, _ = torch.split(rows, WIDTHS, 1)
    error = TrackerError.of(errors)
    degrees, millimetres = 180 / torch.pi, 1000.0
    lines = (
        ("rotation, degrees (pitch, yaw, roll)", error.rotation * degrees),
        ("offset, millimetres", error.offset * millimetres),
        ("log scale", error.log_scale[:, None]),
        ("log distance", error.log_distance[:, None]),
        ("expression", error.expression.flatten()[:, None]),
        ("gaze, degrees (yaw, pitch)", error.gaze.flatten(0, 1) * degrees),
        ("shape, standard deviations", error.shape.flatten()[:, None]),
    )
    print(f"{'':40s} {'mean':>24s} {'standard deviation':>24s}")
    for name, values in lines:
        means, spreads = (" ".join(f"{v:.3f}" for v in stat.tolist()) for stat in (values.mean(0), values.std(0)))
        print(f"{name:40s} {means:>24s} {spreads:>24s}")
    distance = PORTRAIT_DISTANCE * float(circumstances[:, 1].exp().mean())
    print(f"true camera: distance {distance:.2f} m, |yaw| {float(circumstances[:, 2].abs().mean()) * degrees:.0f}°")


if __name__ == "__main__":
    torch.set_num_threads(1)  # pictures are small: more threads wait for each other
    main()
