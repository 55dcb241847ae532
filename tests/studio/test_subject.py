from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from avatarcli.geometry.colors import linear
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.parameters import HeadParameters
from avatarcli.studio.assemble import assemble
from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.hair import HELD_OUT_FAMILIES
from avatarcli.studio.pack_head import DRAWN_PARTS
from avatarcli.studio.posing import Poser
from avatarcli.studio.scene import Material, RenderMesh
from avatarcli.studio.skin import bake_skin, tone_at
from avatarcli.studio.skin_sheets import HELD_OUT_SKINS
from avatarcli.studio.subject import StudioSubject, draw_subject


@pytest.fixture(scope="module")
def crowd(assets: StudioAssets) -> list[StudioSubject]:
    return [draw_subject(assets, seed) for seed in range(300)]


@pytest.fixture(scope="module")
def made(assets: StudioAssets) -> tuple[StudioSubject, RenderMesh, Poser]:
    subject = draw_subject(assets, 3)
    return subject, *assemble(assets, subject, "cpu")


def at_rest(frames: int = 1, **expression: float) -> HeadParameters:
    motion = HeadParameters.at_rest(frames)
    for name, value in expression.items():
        motion.expression[:, EXPRESSION_INDEX[name]] = value
    return motion


def test_a_subject_is_its_number(assets: StudioAssets, crowd: list[StudioSubject]) -> None:
    again = draw_subject(assets, 17)
    assert again == crowd[17]
    assert again != crowd[18]
    told = json.loads(again.to_json())
    assert told["seed"] == 17
    assert len(told["person"]["identity"]) == assets.head.people.shape[1]


def test_people_are_spread_evenly(crowd: list[StudioSubject]) -> None:
    years = np.array([subject.person.years for subject in crowd])
    women = np.mean([subject.person.is_female for subject in crowd])
    dark = np.array([subject.person.darkness for subject in crowd])
    assert np.abs(np.quantile(years, [0.25, 0.5, 0.75]) - [34, 50, 66]).max() < 8
    assert abs(women - 0.5) < 0.1
    assert np.abs(np.quantile(dark, [0.25, 0.5, 0.75]) - [0.25, 0.5, 0.75]).max() < 0.08
    assert 0.1 < np.mean([subject.glasses is not None for subject in crowd]) < 0.35
    assert not any(subject.beard for subject in crowd if subject.person.is_female)


def test_held_out_choices_are_kept_apart(assets: StudioAssets, crowd: list[StudioSubject]) -> None:
    held = [draw_subject(assets, seed, split="held_out") for seed in range(40)]
    for subjects, wanted in ((crowd, False), (held, True)):
        for subject in subjects:
            assert {subject.skin.first in HELD_OUT_SKINS, subject.skin.second in HELD_OUT_SKINS} == {wanted}
            assert (subject.hair.family in HELD_OUT_FAMILIES) == wanted


def test_a_third_come_in_a_suit_and_none_of_the_benchmark(assets: StudioAssets) -> None:
    clothes = assets.wearables["clothes"]
    dressed = replace(
        assets, wearables=assets.wearables | {"clothes": clothes | {"male_elegantsuit01": clothes["male_casualsuit01"]}}
    )
    crowd = [draw_subject(dressed, seed) for seed in range(300)]
    suited = [subject for subject in crowd if subject.clothes.beneath is not None]
    assert 0.25 < len(suited) / len(crowd) < 0.42
    assert not any(subject.hat for subject in suited)
    assert all(subject.hair_color.streak == 0 for subject in suited)
    held = [draw_subject(dressed, seed, split="held_out") for seed in range(60)]
    assert all(subject.clothes.beneath is None for subject in held)
    assert all(draw_subject(assets, seed).clothes.beneath is None for seed in range(20))


def test_the_face_has_the_drawn_tone(assets: StudioAssets, crowd: list[StudioSubject]) -> None:
    face = assets.atlas.spread((assets.atlas.region == 0).float()) > 0.9
    for subject in crowd[:6]:
        plain = bake_skin(assets, subject.skin)
        assert torch.equal(plain, bake_skin(assets, subject.skin))
        mean = linear(plain[..., :3][face].float() / 255).mean(0)
        # Stubble, make-up and freckles move it some.
        ratio = mean / torch.tensor(subject.skin.tone)
        assert float(ratio.min()) > 0.5
        assert float(ratio.max()) < 1.5
    assert (np.diff([tone_at(d).mean() for d in np.linspace(0, 1, 9)]) < 0).all()


def test_the_mesh_is_whole(assets: StudioAssets, made: tuple[StudioSubject, RenderMesh, Poser]) -> None:
    _, mesh, poser = made
    posed = poser(at_rest(2))
    count = posed.vertices.shape[1]
    assert mesh.faces.max() < count
    assert mesh.canonical.shape == (count, 3)
    assert posed.occlusion.shape == posed.offset.shape[:2] == (2, count)
    assert len(mesh.uv) == len(mesh.material) == len(mesh.texture) == len(mesh.hidden) == len(mesh.faces)
    assert mesh.texture.max() < len(mesh.textures.layout)
    heads = mesh.material[: mesh.head_faces]
    bare = {Material.SKIN, Material.EYE, Material.TONGUE, Material.TEETH}
    assert set(heads.tolist()) == {int(material) for material in bare}
    assert int(mesh.hidden.sum()) == 80  # two triangles for each of the miniature's hidden quads
    assert torch.isfinite(posed.vertices).all()


def test_the_head_is_the_models(assets: StudioAssets, made: tuple[StudioSubject, RenderMesh, Poser]) -> None:
    """Against the plain sum of the model: here the drawn skin is the coarse one."""
    subject, _, poser = made
    head = assets.head
    motion = at_rest(1, jawOpen=0.7, mouthSmileLeft=0.4)
    expected = subject.neutral(assets) + torch.tensordot(motion.expression[0], head.expression_basis, dims=1)
    drawn = poser(motion).vertices[0]
    rows = torch.cat([torch.arange(*head.parts[name]) for name, _ in DRAWN_PARTS])
    torch.testing.assert_close(drawn[: len(rows)], expected[rows], atol=1e-5, rtol=0)


def test_expression_offsets_and_a_turned_neck(
    assets: StudioAssets, made: tuple[StudioSubject, RenderMesh, Poser]
) -> None:
    _, _, poser = made
    still, turned = at_rest(1, jawOpen=1.0), at_rest(1, jawOpen=1.0)
    turned.neck[:, 1] = 0.5
    one, two = poser(still), poser(turned)
    torch.testing.assert_close(one.offset, two.offset)
    top = assets.head.drawn.mean[:, 1].argmax()
    nose = assets.head.drawn.mean[: assets.head.drawn.part_range[0][1], 2].argmax()
    assert (one.vertices[0, top] - two.vertices[0, top]).norm() < 0.02
    moved = two.vertices[0, nose] - one.vertices[0, nose]
    assert moved[0] > 0.03  # a positive yaw looks to the subject's left


def test_eyes_turn_about_their_middles(assets: StudioAssets, made: tuple[StudioSubject, RenderMesh, Poser]) -> None:
    subject, _, poser = made
    away = at_rest(1)
    away.gaze[:, :, 0] = 0.4
    rows = assets.head.drawn.rows("eye_l")
    before, after = poser(at_rest(1)).vertices[0, rows], poser(away).vertices[0, rows]
    front = before[:, 2].argmax()
    assert after[front, 0] > before[front, 0] + 0.003
    joints = assets.head.joints(torch.tensor(subject.person.identity))
    middle = joints[assets.head.joint_names.index("eye_l")]
    torch.testing.assert_close((after - middle).norm(dim=-1), (before - middle).norm(dim=-1), atol=1e-6, rtol=0)


def test_frames_do_not_depend_on_their_batch(made: tuple[StudioSubject, RenderMesh, Poser]) -> None:
    _, _, poser = made
    motion = at_rest(3)
    motion.expression[1, EXPRESSION_INDEX["mouthSmileLeft"]] = 0.8
    motion.neck[2, 0] = 0.2
    together = poser(motion)
    for frame in range(3):
        alone = poser(motion[frame : frame + 1])
        torch.testing.assert_close(together.vertices[frame], alone.vertices[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(together.occlusion[frame], alone.occlusion[0], atol=1e-5, rtol=0)


def test_shut_lips_darken_the_mouth(assets: StudioAssets, made: tuple[StudioSubject, RenderMesh, Poser]) -> None:
    _, _, poser = made
    rows = assets.head.drawn.rows("teeth_upper")
    shut, wide = poser(at_rest(1)).occlusion[0, rows], poser(at_rest(1, jawOpen=1.0)).occlusion[0, rows]
    assert float(shut.mean()) < 0.5 * float(wide.mean())
