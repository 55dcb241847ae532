"""Groups of options: Typer is given each option by itself, the command the group."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from avatarcli.cli import option_groups
from avatarcli.cli.main import app as avatar


@dataclass(frozen=True)
class _Paint:
    color: Annotated[str, typer.Option(help="Which one.")] = "red"
    coats: Annotated[int, typer.Option(min=1, help="How many.")] = 1


@dataclass(frozen=True)
class _Varnish(_Paint):
    color: Annotated[str, typer.Option(help="None is clear.")] = "none"


def _painted(*, wall: str, paint: _Varnish, answer: option_groups.Answer, dry: bool = False) -> None:
    """Paint a wall."""
    text = f"{wall}: {paint.coats} of {paint.color}{', dry' if dry else ''}"
    answer.give({"wall": wall, "color": paint.color}, text)


@pytest.fixture
def painting() -> typer.Typer:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(option_groups.flat(_painted))
    return app


def test_options_of_groups_stand_by_themselves(painting: typer.Typer) -> None:
    run = CliRunner().invoke(painting, ["north", "--coats", "3", "--color", "blue", "--dry"])
    assert run.output == "north: 3 of blue, dry\n"


def test_a_derived_group_declares_options_anew_in_their_places(painting: typer.Typer) -> None:
    assert CliRunner().invoke(painting, ["north"]).output == "north: 1 of none\n"
    help_text = CliRunner().invoke(painting, ["--help"]).output
    assert "None is clear." in help_text
    assert "Which one." not in help_text
    places = [help_text.index(option) for option in ("--color", "--coats", "--json", "--quiet", "--dry")]
    assert places == sorted(places)


def test_limits_of_options_in_groups_hold(painting: typer.Typer) -> None:
    run = CliRunner().invoke(painting, ["north", "--coats", "0"])
    assert run.exit_code == 2
    assert "--coats" in run.output


def test_results_are_given_also_when_quiet(painting: typer.Typer) -> None:
    assert CliRunner().invoke(painting, ["north", "--quiet"]).output == "north: 1 of none\n"
    assert json.loads(CliRunner().invoke(painting, ["north", "--json"]).output) == {"wall": "north", "color": "none"}


@pytest.mark.parametrize("command", ["create", "generate", "distill", "preprocess", "render", "animate"])
def test_commands_of_groups_have_their_help(command: str) -> None:
    run = CliRunner().invoke(avatar, [command, "--help"])
    assert run.exit_code == 0
    assert "--json" in run.output
