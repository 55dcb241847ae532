"""Settings laid over each other, and what is said of those that cannot be."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from avatarcli.config import (
    PRESETS,
    STAGES,
    CreateConfig,
    GenerateConfig,
    from_json,
    generator_layers,
    resolve,
    resolve_stage,
    to_json,
)
from avatarcli.errors import UsageError
from avatarcli.settings import Layer, assigned, build, overlay, read_layer, settings_of, to_toml
from avatarcli.stages.pipeline import PIPELINE


@dataclass(frozen=True)
class Wheel:
    size: Annotated[float, Meta(gt=0, description="metres")] = 0.3
    spokes: tuple[int, int] | None = None


@dataclass(frozen=True)
class Cart:
    color: Literal["red", "blue"] = "red"
    name: str | None = None
    load: Annotated[int, Meta(ge=0, le=900, multiple_of=5, description="kilograms")] = 10
    spare: Wheel = field(default_factory=Wheel)
    wheels: tuple[Wheel, ...] = ()
    covered: bool = False


def test_later_layers_count_more_and_leave_the_rest() -> None:
    layers = [Layer("a", {"load": 20, "spare": {"size": 1}}), Layer("b", {"load": 30}), Layer("c", {"spare": {}})]
    assert overlay(Cart(name="tom"), layers) == Cart(name="tom", load=30, spare=Wheel(1.0))


def test_the_command_line_reads_values_as_what_is_wanted() -> None:
    texts = ["load=60", "name=7", "spare.size = 2", "spare.spokes=[3, 4]", "covered=true", "color=blue"]
    made = overlay(Cart(), assigned(Cart, texts))
    assert made == Cart("blue", "7", 60, Wheel(2.0, (3, 4)), covered=True)
    assert overlay(made, assigned(Cart, ["name=null"])).name is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"laod": 5}, "no setting laod; did you mean load"),
        ({"size": 5}, "no setting size; did you mean spare.size"),
        ({"spare": {"q": 5}}, "no setting spare.q; there are spare.size, spare.spokes"),
        ({"load": 7}, "load = 7: choose a whole number from 0 to 900, a multiple of 5"),
        ({"load": 905}, "load = 905: choose"),
        ({"load": "much"}, 'load = "much": choose'),
        ({"load": True}, "load = true: choose"),
        ({"load": None}, "load = null: choose"),
        ({"spare": {"size": 0}}, "spare.size = 0: choose a number above 0"),
        ({"spare": {"size": float("nan")}}, "spare.size = NaN: choose"),
        ({"spare": 3}, "spare = 3 is not a table"),
        ({"color": "grey"}, 'color = "grey": choose one of blue, red'),
        ({"wheels": {"size": 1}}, r"write wheels as a list of tables, \[\[wheels\]\]"),
        ({"wheels": [{"size": 1}, {"seiz": 1}]}, r"no setting wheels\[1\].seiz; did you mean wheels\[1\].size"),
        ({"wheels": [{"size": -1}]}, r"wheels\[0\].size = -1: choose a number above 0"),
    ],
)
def test_what_cannot_be_is_named_with_what_can(values: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=f"^mine: .*{words}"):
        overlay(Cart(), [Layer("mine", values)])


def test_an_assignment_without_a_value() -> None:
    with pytest.raises(UsageError, match="--set load: write KEY=VALUE"):
        assigned(Cart, ["load"])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.toml", "load = ", "not TOML"),
        ("a.json", "{", "not JSON"),
        ("a.json", "[1]", "want settings by their names"),
        ("a.toml", "\xff", "not TOML"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=f"^mine: {words}"):
        read_layer(tmp_path / name, "mine")
    with pytest.raises(UsageError, match="No such file"):
        read_layer(tmp_path / "none", "mine")


@hypothesis.settings(max_examples=40, deadline=None)
@given(
    gaussians=st.integers(1_000, 2_000_000),
    guidance=st.floats(0, 20),
    weights=st.none() | st.text(st.characters(codec="utf-8"), max_size=20),
)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, gaussians: int, guidance: float, weights: str | None
) -> None:
    values = {"distill": {"gaussians": gaussians}, "generate": {"guidance": guidance, "weights": weights}}
    tree, folder = overlay(PRESETS["high"], [Layer("", values)]), tmp_path_factory.mktemp("settings")
    (folder / "a.toml").write_text(to_toml(tree), encoding="utf-8")
    (folder / "a.json").write_text(json.dumps(to_json(tree)), encoding="utf-8")
    for name in ("a.toml", "a.json"):
        assert resolve(None, [read_layer(folder / name, name)]) == tree


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_keep_to_what_is_allowed_and_manifests_are_read(preset: CreateConfig) -> None:
    assert from_json(to_json(preset)) == preset
    assert all(setting.about and setting.allowed for setting in settings_of(preset))


def test_a_manifest_of_another_version() -> None:
    content = to_json(CreateConfig())
    for other in ({**content, "color": 1}, {**content, "generate": {"veiws": 3}}, {"preset": "standard"}):
        with pytest.raises(UsageError):
            from_json(other)


def test_the_preset_is_below_all_else_wherever_it_is_named() -> None:
    layer = Layer("file", {"distill": {"gaussians": 3_000}, "preset": "high"}, whole=True)
    assert resolve(None, [layer]).distill.iterations == PRESETS["high"].distill.iterations
    made = resolve("draft", [layer])
    assert made.preset == "draft"
    assert made.distill.gaussians == 3_000
    assert made.generate == PRESETS["draft"].generate


def test_weights_mean_the_generator_that_needs_them() -> None:
    assert resolve(None, generator_layers(None, "mine")).generate == GenerateConfig("mmvdm", weights="mine")
    assert resolve(None, assigned(CreateConfig, ["generate.weights=mine"])).generate.generator == "mmvdm"
    with pytest.raises(UsageError, match="--weights are for --generator mmvdm"):
        generator_layers("reproject", "mine")


def test_a_stage_takes_its_own_part_of_a_file() -> None:
    saved = resolve("draft", [*generator_layers("reproject"), Layer("", {"seed": 5})])
    layer = Layer("file", {"generate": {"views": 9}, "distill": {"gaussians": 9_000}}, whole=True)
    made = resolve_stage(saved, "distill", None, [layer])
    assert (made.generate, made.distill.gaussians, made.seed) == (saved.generate, 9_000, 5)
    assert made.distill.iterations == saved.distill.iterations
    redone = resolve_stage(saved, "generate", "high", [layer])
    assert (redone.generate.views, redone.generate.frames) == (9, PRESETS["high"].generate.frames)
    assert redone.generate.generator == "reproject"
    assert redone.distill == saved.distill
    with pytest.raises(UsageError, match="distill reads no generate"):
        resolve_stage(saved, "distill", None, assigned(CreateConfig, ["generate.views=9"]))
    with pytest.raises(UsageError, match=r"no setting distill\.guassians"):
        resolve_stage(saved, "generate", None, [Layer("file", {"distill": {"guassians": 1}}, whole=True)])


def test_the_stages_are_those_of_the_pipeline() -> None:
    assert tuple(stage.name for stage in PIPELINE) == STAGES


def test_a_tree_without_its_needed_values() -> None:
    @dataclass(frozen=True)
    class Needs:
        steps: int

    with pytest.raises(UsageError, match=r"mine: .*steps"):
        build(Needs, [Layer("mine", {})])
