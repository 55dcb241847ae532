"""Portrait → multi-view video."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch

from avatarcli.capture.portrait import Label
from avatarcli.config import GenerateConfig, Hardware
from avatarcli.diffusion.tones import Around, Nape, Tones, lowest_hair
from avatarcli.errors import DeviceError
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.model import PersonalHead
from avatarcli.multiview.framing import Framing
from avatarcli.multiview.pictures import REPROJECT, MultiViewVideo
from avatarcli.multiview.plan import FACE_REGIONS, Plan, make_plan
from avatarcli.progress import Progress
from avatarcli.reproject.scene import Scene
from avatarcli.reproject.shell import Shell
from avatarcli.stages.artefacts import AVATAR_FILE
from avatarcli.stages.person import Person
from avatarcli.weights.models import find_model, generator_of, model_digest


def generate_views(
    person: Person,
    out: Path,
    config: GenerateConfig,
    *,
    seed: int,
    device: str,
    progress: Progress,
    hardware: Hardware | None = None,
) -> None:
    """Write the multi-view video of a person into the folder `out`. What is already there is kept.

    The reproject generator runs on the CPU whatever the device: a frame takes it some tens of milliseconds.

    Raises:
        WeightsError: the weights of mmvdm are missing or damaged.
        DeviceError: it has too little memory, or there are not as many GPUs.
    """
    if generator_of(config) == REPROJECT:
        scene = person.seen.scene(seed)
        framing, plan = _plan(scene.head, scene.shell, config, config.reproject_size)
        _reproject(scene, MultiViewVideo(out, plan, framing, generator=REPROJECT), progress)
        return

    # diffusers takes seconds to import, which only one of the generators needs.
    from avatarcli.diffusion.conditioning import Reference
    from avatarcli.diffusion.generator import GenerateRequest, check_weights, generate_on_gpus
    from avatarcli.diffusion.pipeline import SamplingSettings, SecondLook
    from avatarcli.stages.second_look import FIRST_LOOK, fit_roughly, pictures_of

    hardware = hardware or Hardware()
    gpus = _gpus(device, hardware.gpus)
    weights = find_model(config.weights)
    check_weights(weights)
    digest = model_digest(weights)
    portrait, seen = person.frontal.portrait, person.seen
    head, photo, shell = seen.head, seen.photo, seen.shell
    raster = rasterize_mesh(seen.posed, head.model.faces, photo.camera)
    bare, scalp = (head.model.shows(raster, *names) for names in (("face", "nose", "ear", "scalp"), ("scalp",)))
    framing, plan = _plan(head, shell, config, config.size)
    hair, clothes = portrait.region(Label.HAIR, Label.HAT), portrait.region(Label.CLOTHES)
    reference, *further = map(Reference.of, person.photos)
    tones = Tones.of(photo, bare, scalp, hair)
    hair_shown = min(
        (lowest_hair(p.portrait.region(Label.HAIR), p.portrait.inside, p.track.camera) for p in person.photos[1:]),
        default=math.inf,
    )
    around = Around.of(head, shell, photo, clothes, hair, hair_shown)
    request = GenerateRequest(
        weights=weights,
        head=head,
        reference=reference,
        video=MultiViewVideo(out, plan, framing, generator=f"mmvdm:{digest[:16]}"),
        settings=SamplingSettings(steps=config.steps, guidance=config.guidance),
        tones=tones,
        around=around,
        photo=photo,
        lift=person.lift,
        seed=seed,
        signature=digest,
        # Other photos, profiles above all, know more of hair behind than the frontal one.
        nape=None if further else Nape.of(around, bald=tones.bald),
        further=tuple(further),
        offload=hardware.offload,
        compiled=hardware.compile,
    )
    if config.second_look:
        first = replace(request.video, plan=plan.at_rest(), folder=out / FIRST_LOOK)
        rough = first.folder / AVATAR_FILE
        if not rough.exists():
            generate_on_gpus(replace(request, video=first), gpus, progress)
            fit_roughly(person, first.folder, seed=seed, device=device, progress=progress)
        steps = max(1, round(config.second_look * config.steps))
        request = replace(request, second_look=SecondLook(pictures_of(rough, first.plan, device), steps))
    generate_on_gpus(request, gpus, progress)


def _plan(head: PersonalHead, shell: Shell, config: GenerateConfig, size: int) -> tuple[Framing, Plan]:
    """The pictures to make of a person, hair and clothes included."""
    framing = Framing.of(torch.cat([head.neutral, shell.vertices]))
    face = head.neutral[head.model.in_regions(*FACE_REGIONS)]
    plan = make_plan(framing, face, views=config.views, face_views=config.face_views, frames=config.frames, size=size)
    return framing, plan


def _reproject(scene: Scene, video: MultiViewVideo, progress: Progress) -> None:
    plan = video.plan
    with progress.task("generate", len(plan.pictures)) as advance:

        def make(place: tuple[int, int]) -> None:
            view, frame = place
            if not video.frame_path(view, frame).exists():
                picture = scene.render(plan.parameters[frame : frame + 1], plan.cameras[view])
                video.write_frame(view, frame, picture)

        # Drawing and PNG compression release Python's lock, so frames are made side by side, each by a single thread.
        threads = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                for _ in pool.map(make, plan.pictures):
                    advance(1)
        finally:
            torch.set_num_threads(threads)
    video.write_transforms()


def _gpus(device: str, wanted: int | None) -> int:
    """How many GPUs to use; 0 for the CPU."""
    there = 0 if device == "cpu" else torch.cuda.device_count()
    if wanted is not None and not 1 <= wanted <= there:
        raise DeviceError(f"--gpus {wanted}: {there} can be used" + ("; leave it out" if there == 0 else ""))
    return there if wanted is None else wanted
