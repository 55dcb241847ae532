"""Loose pieces of a drawn portrait's clothes: some are backdrop."""

from __future__ import annotations

import pytest
import torch

from avatarcli.capture.backdrop import without_backdrop
from avatarcli.capture.portrait import Label, Portrait

SIZE = 128
RED, WHITE, BLACK, BROWN = (torch.tensor(c) for c in ([0.6, 0.1, 0.1], [0.8, 0.8, 0.8], [0.1] * 3, [0.4, 0.25, 0.15]))


def drawn(piece: torch.Tensor, coat: torch.Tensor = BLACK) -> Portrait:
    """Long brown hair over a coat, and a piece of a color beside the hair that is taken for clothes, before a red flag whose upper
    half is white."""
    labels = torch.zeros(SIZE, SIZE, dtype=torch.uint8)
    labels[20:100, 50:90] = Label.HAIR
    labels[100:, 20:] = Label.CLOTHES
    photo = RED.expand(SIZE, SIZE, 3).clone()
    photo[:40] = WHITE
    photo[labels == Label.HAIR], photo[labels == Label.CLOTHES] = BROWN, coat
    labels[60:90, 40:50] = Label.CLOTHES
    photo[60:90, 40:50] = piece
    matte = (labels > 0).float()
    matte[60:90, 37:40] = 0.4  # its soft edge
    return Portrait(photo, photo, matte, torch.ones(SIZE, SIZE), labels)


def test_a_piece_of_a_flag_beside_the_hair_goes_with_its_soft_edge() -> None:
    portrait = drawn(RED * 1.1)
    left = without_backdrop(portrait)
    assert left.labels is not None
    assert portrait.labels is not None
    assert left.matte[60:90, 30:50].max() == 0
    assert left.labels[60:90, 30:50].max() == 0
    other = torch.ones(SIZE, SIZE, dtype=torch.bool)
    other[55:95, 30:50] = False
    assert torch.equal(left.matte[other], portrait.matte[other])
    assert torch.equal(left.labels[other], portrait.labels[other])


@pytest.mark.parametrize(("piece", "coat"), [(BLACK, BLACK), (WHITE, BLACK), (RED * 0.6, BLACK), (RED, RED * 0.9)])
def test_sleeves_and_what_is_of_another_color_than_the_backdrop_stay(piece: torch.Tensor, coat: torch.Tensor) -> None:
    portrait = drawn(piece, coat)
    assert without_backdrop(portrait) is portrait


def test_without_labels_nothing_is_known() -> None:
    bare = Portrait(*(torch.ones(4, 4, 3), torch.ones(4, 4, 3), torch.ones(4, 4), torch.ones(4, 4)))
    assert without_backdrop(bare) is bare
