"""--config and --set, and `avatar config show`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from avatarcli.config import PRESETS, resolve, to_json
from avatarcli.settings import Layer
from avatarcli.stages import batch, pipeline
from avatarcli.workspace import Workspace
from toy_command import Avatar, is_one_line_error

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


def test_the_document_has_what_the_command_prints(avatar: Avatar) -> None:
    shown = avatar("config", "show").stdout
    assert f"```toml\n{shown}```" in DOCUMENT.read_text(encoding="utf-8")


def test_precedence(avatar: Avatar, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        "seed = 1\n[generate]\nviews = 9\nframes = 4\nsteps = 4\n[distill]\nhold_out = 0\n"
    )
    arguments = ("--preset", "draft", "--config", "mine.toml", "--set", "generate.views=30", "--set", "seed=2")
    shown = json.loads(avatar("config", "show", *arguments, "--json").stdout)
    values = {
        "seed": 2,
        "generate": {"views": 30, "frames": 4, "steps": 4},
        "distill": {"hold_out": 0},
    }
    assert shown == to_json(resolve("draft", [Layer("", values)]))


def test_a_printed_file_can_be_given_again(avatar: Avatar, tmp_path: Path, ada: Workspace) -> None:
    text = avatar("config", "show", "--preset", "high").stdout
    (tmp_path / "mine.toml").write_text(text)
    assert avatar("config", "show", "--config", "mine.toml").stdout == text
    assert avatar("config", "show", "--subject", "ada").stdout == avatar("config", "show").stdout


def test_create_makes_what_the_settings_say(avatar: Avatar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many photos each is made with them; what was typed on its own counts most."""
    given = []
    real = batch.MakeAvatar.__init__

    def spy(self: batch.MakeAvatar, config: object, options: pipeline.RunOptions) -> None:
        given.append(config)
        real(self, config, options)  # type: ignore[arg-type]

    monkeypatch.setattr(batch.MakeAvatar, "__init__", spy)
    (tmp_path / "mine.json").write_text(
        '{"preset": "draft", "distill": {"gaussians": 3000, "iterations": 7}, "seed": 3}'
    )
    arguments = ("--config", "mine.json", "--set", "distill.gaussians=5000", "--seed", "4", "--steps", "10")
    assert avatar("create", "a.jpg", "b.jpg", *arguments).returncode == 1  # there are no such photos
    values = {"seed": 4, "distill": {"gaussians": 5000, "iterations": 7}, "generate": {"steps": 10}}
    assert given == [resolve("draft", [Layer("", values)])]


@pytest.mark.parametrize("command", [("create", "a.jpg"), ("preprocess", "a.jpg"), ("generate",), ("distill",)])
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("distill.gausians=3", ("no setting distill.gausians", "did you mean distill.gaussians?")),
        ("gaussians=60000", ("did you mean distill.gaussians?",)),
        ("distill.gaussians=3", ("distill.gaussians = 3", "a whole number from 1,000 to 2,000,000")),
        ("generate.steps=7", ("7 denoising steps",)),
        ("distill.hold_out=1", ("distill.hold_out = 1", "choose 0, or 2 and more")),
    ],
)
def test_wrong_settings_leave_with_2(
    avatar: Avatar, ada: Workspace, command: tuple[str, ...], setting: str, words: tuple[str, ...]
) -> None:
    before = ada.subject("ada").manifest()
    is_one_line_error(avatar(*command, "--set", setting), 2, *words)
    assert ada.subject("ada").manifest() == before


def test_a_stage_refuses_settings_of_another(avatar: Avatar, ada: Workspace) -> None:
    is_one_line_error(avatar("distill", "--set", "generate.views=9"), 2, "distill reads no generate")
    is_one_line_error(avatar("preprocess", "a.jpg", "--set", "seed=9"), 2, "preprocess reads no seed")


def test_a_missing_file(avatar: Avatar) -> None:
    is_one_line_error(avatar("create", "a.jpg", "--config", "no.toml"), 2, "--config no.toml", "No such file")


def test_a_subject_has_its_own_settings(avatar: Avatar, ada: Workspace) -> None:
    assert to_json(PRESETS["standard"]) == json.loads(avatar("config", "show", "--subject", "ada", "--json").stdout)
    is_one_line_error(avatar("config", "show", "--subject", "ada", "--set", "seed=1"), 2, "leave out")
