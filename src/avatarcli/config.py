"""Settings of the pipeline: a tree of frozen dataclasses, with the presets as named instances.

The resolved tree is saved beside every output. Each number says what it is, with its unit, and what it may be;
`avatar config show` prints that, and --config and --set are checked against it (see `settings`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta

from avatarcli.errors import UsageError
from avatarcli.settings import Layer, build, overlay

PresetName = Literal["draft", "standard", "high"]
GeneratorName = Literal["auto", "reproject", "mmvdm"]
DeviceName = Literal["auto", "cpu", "cuda"]
Language = Literal["english", "other"]  # of a voice that an avatar speaks with
StageName = Literal["preprocess", "generate", "distill"]

STAGES: tuple[StageName, ...] = get_args(StageName)  # in their order
NOISE_LEVELS = 1000  # of the diffusion model's schedule
MOST_EXPRESSIONS = 17  # that there are poses for


def check_steps(steps: int) -> None:
    """Raise UsageError unless the noise schedule can be walked in `steps` equal steps."""
    if steps < 1 or NOISE_LEVELS % steps:
        raise UsageError(f"{steps} denoising steps: choose a divisor of {NOISE_LEVELS}, such as 4, 5, 8 or 10")


@dataclass(frozen=True)
class PreprocessConfig:
    """Reading the photo, matting and fitting the head model."""

    crop_size: Annotated[
        int,
        Meta(
            ge=128,
            le=8192,
            description="pixels: largest side of the head-centred crop; a smaller photo is not enlarged",
        ),
    ] = 1024
    face: Annotated[
        str,
        Meta(
            pattern="^(largest|left|right|0*[1-9][0-9]*)$",
            description="whose",
            extra={"allowed": "largest, left, right, or a number from the left: 1, 2, …"},
        ),
    ] = "largest"


@dataclass(frozen=True)
class GenerateConfig:
    """The multi-view video that the avatar is distilled from. Raises UsageError for steps that are none."""

    generator: Annotated[
        GeneratorName, Meta(description="auto: mmvdm when its trained weights ship, else reproject")
    ] = "auto"
    views: Annotated[int, Meta(ge=4, le=200, description="cameras all around the head at rest")] = 20
    face_views: Annotated[
        int, Meta(ge=1, le=50, description="further cameras, which see the face only, in every expression")
    ] = 3
    frames: Annotated[
        int, Meta(ge=1, le=MOST_EXPRESSIONS, description="expressions, the first of which is the face at rest")
    ] = 9
    reproject_size: Annotated[int, Meta(ge=64, le=2048, description="reproject's pixels: side of a picture")] = 384
    size: Annotated[
        int,
        Meta(
            ge=64,
            le=1024,
            multiple_of=16,
            description="mmvdm's pixels: side of a picture; the model that ships was trained at 256",
        ),
    ] = 256
    weights: Annotated[
        str | None,
        Meta(description="mmvdm's model, a folder or a name that was pulled; without it the one that ships"),
    ] = None
    steps: Annotated[
        int,
        Meta(
            ge=1,
            le=NOISE_LEVELS,
            description="mmvdm's denoising steps a group",
            extra={"allowed": f"a divisor of {NOISE_LEVELS}"},
        ),
    ] = 5
    guidance: Annotated[
        float,
        Meta(
            ge=0.0,
            le=20.0,
            description="how much the photo counts for mmvdm beyond what was trained; 1 is half the cost",
        ),
    ] = 1.0
    second_look: Annotated[
        float,
        Meta(
            ge=0.0,
            le=0.9,
            description="share of the steps in which mmvdm makes the views at rest anew, from what they agree on; 0: not",
        ),
    ] = 0.0

    def __post_init__(self) -> None:
        check_steps(self.steps)


@dataclass(frozen=True)
class DistillConfig:
    """Fitting the Gaussians to the multi-view video. Raises UsageError when no picture is left to fit them to."""

    gaussians: Annotated[int, Meta(ge=1_000, le=2_000_000, description="how many Gaussians the avatar may have")] = (
        40_000
    )
    iterations: Annotated[int, Meta(ge=1, le=1_000_000, description="optimisation steps, one picture each")] = 1_500
    photo_size: Annotated[int, Meta(ge=64, le=4096, description="pixels: side of the photo as a training view")] = 512
    hold_out: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000,
            description="N: one picture in N is held out at first, to judge the fit by; 0: none",
            extra={"allowed": "0, or a whole number from 2 to 1,000"},
        ),
    ] = 6
    correctives: Annotated[
        int,
        Meta(ge=1, le=64, description="expression-dependent offset directions each Gaussian can blend"),
    ] = 8

    def __post_init__(self) -> None:
        if self.hold_out == 1:
            raise UsageError("distill.hold_out = 1 would leave no picture to learn from: choose 0, or 2 and more")


@dataclass(frozen=True)
class CreateConfig:
    """Everything `avatar create` needs to know."""

    preset: Annotated[PresetName, Meta(description="what the rest was laid over")] = "standard"
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1, description="of everything random")] = 0
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    generate: GenerateConfig = field(default_factory=GenerateConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)


PRESETS: dict[PresetName, CreateConfig] = {
    "draft": CreateConfig(
        preset="draft",
        generate=GenerateConfig(views=16, frames=6, reproject_size=256, steps=4),
        distill=DistillConfig(gaussians=24_000, iterations=600, photo_size=384),
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


# What a stage's preset leaves as it was chosen for the subject.
_KEPT: dict[StageName, tuple[str, ...]] = {
    "preprocess": ("face",),
    "generate": ("generator", "weights", "steps"),
    "distill": (),
}


def resolve(preset: PresetName | None = None, layers: Sequence[Layer] = ()) -> CreateConfig:
    """The preset with the user's choices over it, later ones before earlier ones. None: the preset that they name, else standard.

    Raises UsageError when there is no such setting, or it cannot have such a value.
    """
    layers = [_with_generator(layer) for layer in layers]
    name = preset or overlay(PRESETS["standard"], layers).preset
    return overlay(PRESETS[name], [*layers, Layer("--preset", {"preset": name})])


def resolve_stage(
    saved: CreateConfig, stage: StageName, preset: PresetName | None = None, layers: Sequence[Layer] = ()
) -> CreateConfig:
    """A subject's settings with other ones for a single stage. Of a whole file only its settings for that stage count.

    Raises UsageError when there is no such setting, it cannot have such a value, or another stage reads it.
    """
    named = overlay(saved, layers)
    reads = (stage,) if stage == "preprocess" else (stage, "seed")
    own = []
    for layer in map(_with_generator, layers):
        others = [name for name in layer.values if name not in (*reads, "preset")]
        if others and not layer.whole:
            raise UsageError(f"{layer.origin}: {stage} reads no {others[0]}; its settings are those of {stage}")
        own.append(Layer(layer.origin, {name: layer.values[name] for name in reads if name in layer.values}))
    if preset is None and any("preset" in layer.values for layer in layers):
        preset = named.preset
    if preset is not None:
        kept = {name: getattr(getattr(saved, stage), name) for name in _KEPT[stage]}
        part = asdict(replace(getattr(PRESETS[preset], stage), **kept))
        own.insert(0, Layer("--preset", {stage: part}))
    return overlay(saved, own)


def generator_layers(
    generator: GeneratorName | None, weights: str | None = None, steps: int | None = None
) -> list[Layer]:
    """The choices of --generator, --weights and --steps; None: not made. Raises UsageError when they contradict each other."""
    if weights is not None and generator == "reproject":
        raise UsageError("--weights are for --generator mmvdm: leave one of the two out")
    chosen = {"generator": generator, "weights": weights, "steps": steps}
    return [Layer(f"--{name}", {"generate": {name: value}}) for name, value in chosen.items() if value is not None]


def _with_generator(layer: Layer) -> Layer:
    """Naming weights means the generator that needs them."""
    chosen = layer.values.get("generate")
    if not isinstance(chosen, dict) or chosen.get("weights") is None or "generator" in chosen:
        return layer
    return replace(layer, values={**layer.values, "generate": {**chosen, "generator": "mmvdm"}})


def to_json(config: Any) -> dict[str, Any]:
    """A config tree as plain JSON values."""
    return asdict(config)


def from_json(content: dict[str, Any]) -> CreateConfig:
    """A config tree from what `to_json` made of it. Raises UsageError when it is another version's."""
    missing = [stage for stage in STAGES if stage not in content]
    if missing:
        raise UsageError(f"no settings of {missing[0]}")
    return build(CreateConfig, [Layer("manifest", content)])
