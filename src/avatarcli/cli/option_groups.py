"""Options that go together, as dataclasses: a command takes a group as one parameter, and `flat` gives Typer its options.

A command that says something else of an option derives a group of its own and declares that option anew.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from avatarcli.cli import options
from avatarcli.cli.console import Console, print_json
from avatarcli.config import CreateConfig, Hardware, generator_layers
from avatarcli.settings import Layer, assigned, read_layer
from avatarcli.workspace import Subject

if TYPE_CHECKING:
    from avatarcli.stages.render_request import RenderRequest
    from avatarcli.stages.speech_request import SpeechRequest


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """A command for Typer, which knows no groups: in the place of each parameter that is one stand the group's options."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if isinstance(kind, type) and is_dataclass(kind)}
    shown: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if (group := groups.get(parameter.name)) is not None:
            shown += _parameters(group)
        else:
            annotation = hints[parameter.name]
            shown.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=annotation))

    @wraps(command)
    def called(**values: Any) -> None:
        made = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**made, **values)

    called.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return called


def _parameters(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]


@dataclass(frozen=True)
class Answer:
    """How a command answers: its result on stdout, as text or as one JSON document; what happens meanwhile on stderr."""

    json: options.Json = False
    quiet: options.Quiet = False

    @cached_property
    def console(self) -> Console:
        return Console(quiet=self.quiet)

    def give(self, document: dict[str, Any], text: str) -> None:
        """Print a result in the form that was asked for."""
        if self.json:
            print_json(document)
        else:
            print(text)


@dataclass(frozen=True)
class SubjectChoice:
    """Which subject of which workspace."""

    subject: options.Subject = None
    workspace: options.Workspace = None

    def find(self) -> Subject:
        """Raises UsageError or WorkspaceError when there is none."""
        return options.chosen_subject(self.workspace, self.subject)


@dataclass(frozen=True)
class AvatarChoice:
    """Which avatar: a subject's, or a file's outside any workspace."""

    subject: options.Avatar = None
    workspace: options.Workspace = None

    def find(self) -> Subject:
        """Raises UsageError or WorkspaceError when there is none."""
        return options.chosen_avatar(self.workspace, self.subject)


@dataclass(frozen=True)
class Tuning:
    """The numbers that an avatar is made with: those of a preset, changed by a file and by single settings."""

    preset: options.Preset = None
    config: options.Config = None
    settings: options.Set = None

    def layers(self) -> list[Layer]:
        """What --config and --set say, in the order in which they count. Raises UsageError."""
        files = [] if self.config is None else [read_layer(self.config.expanduser(), f"--config {self.config}")]
        return [*files, *assigned(CreateConfig, self.settings or ())]


@dataclass(frozen=True)
class Making(Tuning):
    """Also what imagines the unseen views."""

    generator: options.Generator = None
    weights: options.Weights = None
    steps: options.Steps = None

    def layers(self) -> list[Layer]:
        """As of `Tuning`, and above it --generator, --weights and --steps. Raises UsageError."""
        return [*super().layers(), *generator_layers(self.generator, self.weights, self.steps)]


@dataclass(frozen=True)
class Computing:
    """What the work is done with."""

    device: options.Device = "auto"
    gpus: options.Gpus = None
    offload: options.Offload = False
    compile: options.Compile = False

    @property
    def hardware(self) -> Hardware:
        return Hardware(self.gpus, self.offload, self.compile)


@dataclass(frozen=True)
class Drawing:
    """How an avatar is drawn."""

    size: options.Size = "512"
    zoom: options.Zoom = 1.0
    fps: options.Fps = 30.0
    seconds: Annotated[float | None, typer.Option(metavar="S", help="Length of the video. Default: 6.")] = None
    elevation: options.Elevation = 0.0
    background: options.BackgroundColor = "white"

    def request(self) -> RenderRequest:
        """A rendering that looks so, for the command to say what is drawn. Raises UsageError."""
        from avatarcli.stages.render_request import RenderRequest, parse_background, parse_size

        return RenderRequest(
            size=parse_size(self.size),
            zoom=self.zoom,
            fps=self.fps,
            seconds=self.seconds,
            elevation=self.elevation,
            background=parse_background(self.background),
        )


@dataclass(frozen=True)
class Speaking:
    """What is known of a recorded voice."""

    text: options.SpokenText = None
    language: options.SpokenLanguage = "english"
    seed: options.SpeechSeed = 0

    @property
    def given(self) -> bool:
        """Whether any of it was said."""
        return self != Speaking()

    def request(self, audio: Path) -> SpeechRequest:
        """The clip of a voice. Raises UsageError."""
        from avatarcli.stages.speech_request import SpeechRequest

        return SpeechRequest(audio, text=self.text, language=self.language, seed=self.seed)
