"""The avatar and its file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from avatarcli.errors import WorkspaceError
from avatarcli.gaussians.avatar import Avatar
from avatarcli.gaussians.losses import psnr
from avatarcli.head.model import HeadModel
from avatarcli.head.parameters import HeadParameters

AvatarMaker = Callable[..., Avatar]


def smile(model: HeadModel) -> HeadParameters:
    expression = torch.zeros(1, 52)
    expression[0, [24, 43, 44]] = 0.7
    return replace(HeadParameters.at_rest(), expression=expression)


def test_what_was_saved_is_loaded(make_avatar: AvatarMaker, model: HeadModel, tmp_path: Path) -> None:
    avatar = make_avatar(200, corrective=1e-3)
    path = tmp_path / "avatar.safetensors"
    avatar.save(path)
    again = Avatar.load(path, model)
    assert again.count == 200
    assert again.framing == avatar.framing
    assert again.provenance == avatar.provenance
    for name in ("binding", "means", "opacity_logits"):
        assert (getattr(again, name) == getattr(avatar, name)).all()
    assert (again.head.neutral == avatar.head.neutral).all()
    assert (again.head.joints == avatar.head.joints).all()
    for name in ("quaternions", "log_scales", "sh"):  # kept in half precision
        torch.testing.assert_close(getattr(again, name), getattr(avatar, name), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(again.correctives.basis, avatar.correctives.basis, rtol=1e-3, atol=1e-5)
    assert (again.correctives.hidden_weight == avatar.correctives.hidden_weight).all()
    # A second round changes nothing more.
    again.save(path)
    torch.testing.assert_close(Avatar.load(path, model).sh, again.sh, atol=0, rtol=0)


def test_a_loaded_avatar_looks_the_same(make_avatar: AvatarMaker, model: HeadModel, tmp_path: Path) -> None:
    avatar = make_avatar(1500, corrective=1e-3)
    avatar.save(tmp_path / "a.safetensors")
    again = Avatar.load(tmp_path / "a.safetensors", model)
    camera = avatar.framing.cameras(torch.tensor([0.3]), torch.zeros(1), 96)[0]
    first = avatar.render(avatar.rig(), smile(model), camera)
    second = again.render(again.rig(), smile(model), camera)
    assert first.alpha.mean() > 0.15  # there is something to see
    assert psnr(first.color, second.color) > 45
    white = avatar.render(avatar.rig(), smile(model), camera, torch.ones(3))
    torch.testing.assert_close(white.color, first.color + (1 - first.alpha)[..., None], atol=1e-5, rtol=0)


def test_the_file_says_what_it_is(make_avatar: AvatarMaker, tmp_path: Path) -> None:
    path = tmp_path / "avatar.safetensors"
    make_avatar(20).save(path)
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "avatarcli.avatar"
    assert metadata["gaussians"] == "20"
    assert json.loads(metadata["provenance"]) == {"photo_sha256": "0" * 64}


def test_correctives_are_nothing_at_rest_and_small_offsets_otherwise(make_avatar: AvatarMaker) -> None:
    avatar = make_avatar(30, directions=4, corrective=1e-3)
    zero = torch.zeros(52)
    assert avatar.correctives.coefficients(zero).abs().max() == 0
    assert avatar.correctives.offsets(zero).abs().max() == 0
    expression = torch.zeros(52)
    expression[24] = 1.0
    coefficients = avatar.correctives.coefficients(expression)
    assert coefficients.shape == (4,)
    assert coefficients.abs().max() <= 1
    assert coefficients.abs().max() > 0.05
    expected = (avatar.correctives.basis * coefficients[None, :, None]).sum(1)
    torch.testing.assert_close(avatar.correctives.offsets(expression), expected)
    trained = replace(avatar.correctives, hidden_bias=torch.full_like(avatar.correctives.hidden_bias, 0.4))
    assert trained.coefficients(zero).abs().max() == 0  # whatever the network has learnt


def test_splats_are_ready_for_the_rasteriser(make_avatar: AvatarMaker) -> None:
    avatar = make_avatar(40)
    splats = avatar.splats(avatar.rig(), HeadParameters.at_rest())
    assert splats.means.shape == splats.scales.shape == splats.colors.shape == (40, 3)
    assert ((splats.opacities > 0) & (splats.opacities < 1)).all()
    assert (splats.colors >= 0).all()
    assert (splats.scales > 0).all()


def rewritten(path: Path, change: dict[str, str] | None = None, drop: str = "", **tensors: Tensor) -> None:
    with safe_open(str(path), framework="pt") as file:
        metadata = {**file.metadata(), **(change or {})}
    content = {key: value for key, value in load_file(path).items() if key != drop} | tensors
    save_file(content, path, metadata)


def with_value(name: str, value: float) -> Callable[[Path], None]:
    """Puts a value into the first place of a tensor."""

    def damage(path: Path) -> None:
        tensor = load_file(path)[name]
        tensor.view(-1)[0] = value
        rewritten(path, **{name: tensor})

    return damage


def of_shape(name: str, *shape: int, kind: torch.dtype = torch.float32) -> Callable[[Path], None]:
    return lambda path: rewritten(path, **{name: torch.zeros(shape, dtype=kind)})


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.unlink(), id="missing"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-100]), id="cut"),
        pytest.param(lambda path: save_file({"x": torch.zeros(1)}, path), id="other file"),
        pytest.param(lambda path: rewritten(path, {"format_version": "99"}), id="version"),
        pytest.param(lambda path: rewritten(path, {"format": "someone.else"}), id="format"),
        pytest.param(lambda path: rewritten(path, {"framing": "{"}), id="no json"),
        pytest.param(lambda path: rewritten(path, {"framing": "{}"}), id="no framing"),
        pytest.param(lambda path: rewritten(path, {"framing": "[]"}), id="list"),
        pytest.param(lambda path: rewritten(path, drop="head.joints"), id="no joints"),
        pytest.param(lambda path: rewritten(path, drop="means"), id="no means"),
        pytest.param(lambda path: rewritten(path, drop="correctives.basis"), id="no basis"),
        pytest.param(lambda path: rewritten(path, extra=torch.zeros(1)), id="one tensor more"),
        pytest.param(lambda path: rewritten(path, {"head_model": "flame"}), id="another head"),
        pytest.param(lambda path: rewritten(path, {"provenance": "[]"}), id="provenance a list"),
        pytest.param(lambda path: rewritten(path, {"provenance": '{"seed": 1}'}), id="provenance of numbers"),
        pytest.param(lambda path: rewritten(path, {"provenance": '{"photo_sha256": "</x>"}'}), id="no hash"),
        pytest.param(lambda path: rewritten(path, {"provenance": "[" * 100_000}), id="deep"),
        pytest.param(lambda path: rewritten(path, {"framing": '{"target": [0, 0, 0], "span": 0}'}), id="span 0"),
        pytest.param(lambda path: rewritten(path, {"framing": '{"target": [0, 0, 0], "span": NaN}'}), id="span NaN"),
        pytest.param(lambda path: rewritten(path, {"framing": '{"target": [0, 0, 1e99], "span": 1}'}), id="far"),
        pytest.param(
            lambda path: rewritten(path, {"framing": f'{{"target": [0, 0, 0], "span": 1{"0" * 400}}}'}), id="endless"
        ),
        pytest.param(lambda path: rewritten(path, {"framing": '{"target": "abc", "span": 1}'}), id="target of letters"),
        pytest.param(of_shape("quaternions", 10, 3), id="quaternions of three rows"),
        pytest.param(of_shape("quaternions", 10, 4), id="quaternions without direction"),
        pytest.param(of_shape("means", 0, 3), id="no Gaussians"),
        pytest.param(of_shape("means", 9, 3), id="fewer means"),
        pytest.param(of_shape("binding", 10), id="binding of floats"),
        pytest.param(of_shape("means", 10, 3, kind=torch.int32), id="means of integers"),
        pytest.param(of_shape("head.neutral", 5, 3), id="another mesh"),
        pytest.param(lambda path: rewritten(path, **{"head.neutral": 0 * load_file(path)["head.neutral"]}), id="flat"),
        pytest.param(with_value("means", math.nan), id="NaN"),
        pytest.param(with_value("head.joints", math.inf), id="infinite"),
        pytest.param(with_value("correctives.hidden_bias", math.nan), id="NaN in the correctives"),
        pytest.param(with_value("means", 1e30), id="far away"),
        pytest.param(with_value("log_scales", 80), id="huge"),
        pytest.param(with_value("binding", -1), id="binding below 0"),
        pytest.param(with_value("binding", 2**30), id="binding beyond the mesh"),
    ],
)
def test_damaged_files_are_named_in_one_line(
    make_avatar: AvatarMaker, model: HeadModel, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    path = tmp_path / "avatar.safetensors"
    make_avatar(10).save(path)
    damage(path)
    with pytest.raises(WorkspaceError, match=r"avatar\.safetensors.*avatar distill --force") as caught:
        Avatar.load(path, model)
    assert "\n" not in str(caught.value)
