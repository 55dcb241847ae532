"""Settings of the pipeline: a tree of frozen dataclasses, with the presets as named instances.

The resolved tree is saved beside every output. Numbers carry their unit in the comment.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from avatarcli.errors import UsageError

PresetName = Literal["draft", "standard", "high"]
GeneratorName = Literal["auto", "reproject", "mmvdm"]
DeviceName = Literal["auto", "cpu", "cuda"]
Language = Literal["english", "other"]  # of a voice that an avatar speaks with


NOISE_LEVELS = 1000  # of the diffusion model's schedule


@dataclass(frozen=True)
class PreprocessConfig:
    """Reading the photo, matting and fitting the head model."""

    crop_size: int = 1024  # pixels: largest side of the head-centred crop; a smaller photo is not enlarged
    face: str = "largest"  # whose: largest, left, right, or a number from the left, beginning with 1


@dataclass(frozen=True)
class GenerateConfig:
    """The multi-view video that the avatar is distilled from."""

    generator: GeneratorName = "auto"  # auto: mmvdm when its trained weights ship, else reproject
    views: int = 20  # cameras all around the head at rest
    face_views: int = 3  # further cameras, which see the face only, in every expression
    frames: int = 9  # expressions, the first of which is the face at rest
    # Of reproject only:
    reproject_size: int = 384  # pixels: side of a picture
    # Of mmvdm only:
    size: int = 256  # pixels: side of a picture; the model that ships was trained at this size
    weights: str | None = None  # the model: a folder, or a name that was pulled; None: the one that ships
    steps: int = 5  # denoising steps a group; a divisor of 1000
    guidance: float = 1.0  # how much the photo counts beyond what was trained; 1 is half the cost


@dataclass(frozen=True)
class DistillConfig:
    """Fitting the Gaussians to the multi-view video."""

    gaussians: int = 40_000  # how many Gaussians the avatar may have
    iterations: int = 1_200  # optimisation steps, one picture each
    photo_size: int = 512  # pixels: side of the photo as a training view
    hold_out: int = 6  # every that-many-th picture is held out at first, to judge the fit by; 0: none
    correctives: int = 8  # expression-dependent offset directions each Gaussian can blend


@dataclass(frozen=True)
class CreateConfig:
    """Everything `avatar create` needs to know."""

    preset: PresetName = "standard"
    seed: int = 0
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    generate: GenerateConfig = field(default_factory=GenerateConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)


PRESETS: dict[PresetName, CreateConfig] = {
    "draft": CreateConfig(
        preset="draft",
        generate=GenerateConfig(views=16, frames=6, reproject_size=256, steps=4),
        distill=DistillConfig(gaussians=24_000, iterations=500, photo_size=384),
    ),
    "standard": CreateConfig(),
    "high": CreateConfig(
        preset="high",
        generate=GenerateConfig(views=28, face_views=5, frames=13, reproject_size=512, steps=10, guidance=1.5),
        distill=DistillConfig(gaussians=100_000, iterations=5_000, photo_size=1024),
    ),
}


@dataclass(frozen=True)
class Hardware:
    """How to compute: it changes how long a result takes, and which memory, but not what it is."""

    gpus: int | None = None  # how many may be used; None: all that are visible
    offload: bool = False  # keep only the model at work on the GPU
    compile: bool = False  # compile the model's blocks before the first step


def resolve(
    preset: PresetName,
    *,
    generator: GeneratorName,
    seed: int,
    weights: str | None = None,
    steps: int | None = None,
) -> CreateConfig:
    """The preset with the user's choices put in. Raises UsageError when they contradict each other."""
    config = PRESETS[preset]
    generate = choose_generator(config.generate, generator=generator, weights=weights, steps=steps)
    return replace(config, seed=seed, generate=generate)


def choose_generator(
    config: GenerateConfig, *, generator: GeneratorName | None, weights: str | None, steps: int | None
) -> GenerateConfig:
    """The settings with what the user chose, where that is not None. Naming weights means the generator that needs them.

    Raises:
        UsageError: weights were named for the generator that has none, or the noise schedule cannot be walked in such steps.
    """
    if steps is not None:
        check_steps(steps)
    if weights is not None:
        if generator == "reproject":
            raise UsageError("--weights are for --generator mmvdm: leave one of the two out")
        generator = "mmvdm"
    return replace(
        config,
        generator=generator or config.generator,
        weights=config.weights if weights is None else weights,
        steps=config.steps if steps is None else steps,
    )


def choose_face(config: PreprocessConfig, face: str) -> PreprocessConfig:
    """The settings with the user's choice among the faces of the photo. Raises UsageError when it is none."""
    if face not in ("largest", "left", "right") and not (face.isdecimal() and int(face) > 0):
        raise UsageError(f"--face {face}: choose largest, left, right, or a number from the left: 1, 2, …")
    return replace(config, face=face)


def check_steps(steps: int) -> None:
    """Raise UsageError unless the noise schedule can be walked in `steps` equal steps."""
    if steps < 1 or NOISE_LEVELS % steps:
        raise UsageError(f"{steps} denoising steps: choose a divisor of {NOISE_LEVELS}, such as 4, 5, 8 or 10")


def to_json(config: Any) -> dict[str, Any]:
    """A config tree as plain JSON values."""
    return asdict(config)


def from_json(content: dict[str, Any]) -> CreateConfig:
    """A config tree from what `to_json` made of it. Raises TypeError or KeyError when it is another version's."""
    parts = {
        "preprocess": PreprocessConfig(**content["preprocess"]),
        "generate": GenerateConfig(**content["generate"]),
        "distill": DistillConfig(**content["distill"]),
    }
    return CreateConfig(**{**content, **parts})
