"""What a fit minimises: the avatar's own Gaussians for the photo, nudged ones for views, and only what is trusted."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numba
import pytest
import torch
from torch import Tensor

from avatarcli.gaussians.avatar import Avatar
from avatarcli.gaussians.objective import Bounds, Shot, Wanted, picture_loss, pose
from avatarcli.gaussians.objective_cpu import picture_loss_cpu, pose_cpu
from avatarcli.gaussians.recorder import Recorder, _recorded
from avatarcli.head.parameters import HeadParameters

COUNT, PICTURES = 60, 3
MANY = 1300  # more than two of the kernels' blocks
Scene = tuple[dict[str, Tensor], Bounds, Shot]


def scene(avatar: Avatar, device: str = "cpu") -> Scene:
    """Parameters whose table moves every picture by 1 cm to the side and dims it by a fifth; a shot of the photo."""
    tensors = avatar._tensors()
    parameters = {key.removeprefix("correctives."): value for key, value in tensors.items() if key != "binding"}
    nudge, tint = torch.zeros(PICTURES, 6), torch.full((PICTURES, 3), -0.2)
    nudge[:, 3] = 0.01
    parameters |= {"nudge": nudge, "tint": tint}
    parameters = {key: value.detach().to(device).requires_grad_(True) for key, value in parameters.items()}
    bounds = Bounds(torch.ones(COUNT, dtype=torch.bool), avatar.means.clone(), torch.full((COUNT,), 0.004))
    motion = avatar.rig().motion(HeadParameters.at_rest())
    shot = Shot(motion.affine, motion.shift, motion.turn, torch.zeros(52), torch.zeros(PICTURES))
    return parameters, Bounds(*(t.to(device) for t in bounds)), Shot(*(t.to(device) for t in shot))


@pytest.fixture(scope="module")
def avatar(make_avatar: Callable[..., Avatar]) -> Avatar:
    return make_avatar(COUNT, seed=3)


def test_the_photo_sees_the_avatar_as_it_is(avatar: Avatar) -> None:
    parameters, bounds, shot = scene(avatar)
    splats, _ = pose(parameters, bounds, shot)
    for ours, own in zip(splats, avatar.splats(avatar.rig(), HeadParameters.at_rest()), strict=True):
        torch.testing.assert_close(ours, own, atol=1e-6, rtol=1e-5)
    splats.means.sum().backward()
    assert parameters["nudge"].grad is not None
    assert (parameters["nudge"].grad == 0).all()


def test_a_view_is_moved_and_tinted_by_its_own_row(avatar: Avatar) -> None:
    parameters, bounds, shot = scene(avatar)
    (photo, free), (view, bound) = (
        pose(parameters, bounds, shot._replace(row=row)) for row in (torch.zeros(PICTURES), torch.eye(PICTURES)[1])
    )
    torch.testing.assert_close(view.means - photo.means, torch.tensor([0.01, 0, 0]).expand(COUNT, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(view.colors, 0.8 * photo.colors)
    assert bound > free  # what the table says has its price
    view.means.sum().backward()
    moved = parameters["nudge"].grad
    assert moved is not None
    assert [bool(row.any()) for row in moved] == [False, True, False]


def test_straying_beyond_reach_costs(avatar: Avatar) -> None:
    parameters, bounds, shot = scene(avatar)
    at_start, near, far = (
        pose(parameters, bounds._replace(start=bounds.start + torch.tensor([0.0, 0.0, step])), shot)[1]
        for step in (0.0, 0.003, 0.02)
    )
    assert at_start == near < far


def test_only_trusted_pixels_count() -> None:
    generator = torch.Generator().manual_seed(0)
    color, alpha = torch.rand(32, 32, 3, generator=generator) / 2, torch.rand(32, 32, generator=generator)
    wanted = Wanted(color, alpha, torch.ones(32, 32), torch.tensor([0.2, 0.9, 0.4]))
    assert picture_loss(color, alpha, wanted) == pytest.approx(0, abs=1e-6)
    wrong, doubtful = color.clone(), torch.ones(32, 32)
    wrong[:, :16], doubtful[:, :16] = 1, 0
    assert picture_loss(wrong, alpha, wanted) > 0.1
    assert picture_loss(wrong, alpha, wanted._replace(trust=doubtful)) == pytest.approx(0, abs=1e-6)
    # A hole is seen before every background but the one that has its color.
    assert picture_loss(color, alpha.clamp(max=0.3), wanted) > 0.05


def test_python_frees_nothing_while_a_gpu_records(monkeypatch: pytest.MonkeyPatch) -> None:
    collecting = []
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", lambda *_: collecting.append(gc.isenabled()))
    _recorded(lambda: None)
    assert collecting == [False]
    assert gc.isenabled()


def random_scene(directions: int) -> Scene:
    """Gaussians that the regularisers find fault with, carried, turned and stretched at random.

    Every third follows no expression; their colors lie in memory as they came.
    """
    generator = torch.Generator().manual_seed(directions)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    parameters = {
        "means": 0.1 * random(MANY, 3), "quaternions": random(MANY, 4), "log_scales": random(MANY, 3) - 5,
        "opacity_logits": random(MANY), "sh": 2 * random(3, 1, MANY).permute(2, 1, 0), "basis": 1e-3 * random(MANY, directions, 3),
        "hidden_weight": random(32, 52) / 4, "hidden_bias": random(32), "output_weight": random(directions, 32) / 4,
        "nudge": 0.1 * random(PICTURES, 6), "tint": 0.1 * random(PICTURES, 3),
    }  # fmt: skip
    parameters = {key: value.requires_grad_(True) for key, value in parameters.items()}
    start = parameters["means"].detach() + 5e-3 * random(MANY, 3)
    bounds = Bounds(torch.arange(MANY) % 3 > 0, start, torch.full((MANY,), 0.004))
    motion = random(MANY, 3, 3), random(MANY, 3), torch.nn.functional.normalize(random(MANY, 4), dim=-1)
    return parameters, bounds, Shot(*motion, torch.rand(52, generator=generator), torch.eye(PICTURES)[1])


@pytest.mark.parametrize("directions", [1, 8])
def test_the_kernels_pose_as_torch_does(directions: int) -> None:
    parameters, bounds, shot = random_scene(directions)
    generator = torch.Generator().manual_seed(0)
    results = []
    for function in (pose, pose_cpu):
        splats, penalty = function(parameters, bounds, shot)
        weights = [torch.randn(tensor.shape, generator=generator.manual_seed(n)) for n, tensor in enumerate(splats)]
        total = 100 * penalty + sum((tensor * weight).sum() for tensor, weight in zip(splats, weights, strict=True))
        results.append((*splats, penalty, *torch.autograd.grad(total, list(parameters.values()))))
    for plain, ours in zip(*results, strict=True):
        scale = float(plain.detach().abs().max())
        torch.testing.assert_close(ours, plain, atol=1e-5 * scale, rtol=1e-4)


# Of odd sides some pixels have no half; levels of the pyramid then do not fit each other exactly.
@pytest.mark.parametrize(("height", "width"), [(48, 64), (67, 45), (83, 22)])
def test_the_kernels_compare_as_torch_does(height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    color, alpha, *wanted = (
        torch.rand(shape, generator=generator)
        for shape in ((height, width, 3), (height, width), (height, width, 3), (height, width), (height, width), (3,))
    )
    wanted[2][: height // 3] = 0  # nothing there is trusted
    drawn = [color.requires_grad_(True), alpha.requires_grad_(True)]
    results = []
    for function in (picture_loss, picture_loss_cpu):
        loss = 3 * function(*drawn, Wanted(*wanted))
        results.append((loss, *torch.autograd.grad(loss, drawn)))
    for plain, ours in zip(*results, strict=True):
        scale = float(plain.detach().abs().max())
        torch.testing.assert_close(ours, plain, atol=1e-4 * scale, rtol=1e-4)


def test_the_number_of_threads_changes_nothing() -> None:
    """What is fitted must not depend on the machine."""
    parameters, bounds, shot = random_scene(8)
    generator = torch.Generator().manual_seed(0)
    color, alpha, *wanted = (
        torch.rand(shape, generator=generator)
        for shape in ((64, 48, 3), (64, 48), (64, 48, 3), (64, 48), (64, 48), (3,))
    )
    color.requires_grad_(True)
    results, threads = [], numba.get_num_threads()
    try:
        for count in {1, threads}:
            numba.set_num_threads(count)
            splats, penalty = pose_cpu(parameters, bounds, shot)
            posed = torch.autograd.grad(
                splats.means.square().sum() + penalty, list(parameters.values()), allow_unused=True
            )
            loss = picture_loss_cpu(color, alpha, Wanted(*wanted))
            results.append([*posed, loss.detach(), *torch.autograd.grad(loss, color)])
    finally:
        numba.set_num_threads(threads)
    for first, last in zip(results[0], results[-1], strict=True):
        assert (first is None and last is None) or torch.equal(first, last)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_what_a_gpu_recorded_is_what_the_functions_give(avatar: Avatar) -> None:
    parameters, bounds, shot = scene(avatar, "cuda")
    recorder = Recorder()
    recorder.follow(parameters, bounds)
    for row in torch.eye(PICTURES, device="cuda"):
        gradients = []
        for posed in (recorder.pose(shot._replace(row=row)), pose(parameters, bounds, shot._replace(row=row))):
            splats, penalty = posed
            total = penalty + sum(tensor.square().sum() for tensor in splats)
            gradients.append(torch.autograd.grad(total, list(parameters.values())))
        for recorded, plain in zip(*gradients, strict=True):
            torch.testing.assert_close(recorded, plain)
