"""Settings of the pipeline: a tree of frozen dataclasses, with the presets as named instances.

The resolved tree is saved beside every output. Numbers carry their unit in the comment.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

PresetName = Literal["draft", "standard", "high"]
GeneratorName = Literal["auto", "reproject"]
DeviceName = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class PreprocessConfig:
    """Reading the photo, matting and fitting the head model."""

    crop_size: int = 1024  # pixels: largest side of the head-centred crop; a smaller photo is not enlarged


@dataclass(frozen=True)
class GenerateConfig:
    """The multi-view video that the avatar is distilled from."""

    generator: GeneratorName = "auto"
    views: int = 16  # cameras of the plan, over the full circle
    frames: int = 9  # frames of the scheduled expression clip
    size: int = 384  # pixels: side of a generated frame


@dataclass(frozen=True)
class DistillConfig:
    """Fitting the Gaussians to the multi-view video."""

    gaussians: int = 40_000  # how many Gaussians the avatar may have
    iterations: int = 1_200  # optimisation steps, one picture each
    photo_size: int = 512  # pixels: side of the photo as a training view
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
        generate=GenerateConfig(views=12, frames=5, size=256),
        distill=DistillConfig(gaussians=20_000, iterations=250, photo_size=384),
    ),
    "standard": CreateConfig(),
    "high": CreateConfig(
        preset="high",
        generate=GenerateConfig(views=24, frames=17, size=512),
        distill=DistillConfig(gaussians=80_000, iterations=5_000, photo_size=1024),
    ),
}


def resolve(preset: PresetName, *, generator: GeneratorName, seed: int) -> CreateConfig:
    """The preset with the user's choices put in."""
    config = PRESETS[preset]
    return replace(config, seed=seed, generate=replace(config.generate, generator=generator))


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
