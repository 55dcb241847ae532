"""Text as it is said."""

from __future__ import annotations

import pytest

from avatarcli.speech.phones import _CLASS
from avatarcli.speech.visemes import _SHOWN
from avatarcli.speech.words import _LETTERS, guessed_sounds, words_of


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello, World!", "hello world"),
        ("Don’t re-use 'it'.", "don't re use it"),
        ("Zoë's café", "zoe's cafe"),
        ("12,345 & 7%", "twelve thousand three hundred forty five and seven percent"),
        ("in 1900 007", "in one thousand nine hundred zero zero seven"),
        ("…, 日本", ""),
    ],
)
def test_text_becomes_words(text: str, said: str) -> None:
    assert " ".join(words_of(text)) == said


@pytest.mark.parametrize(
    ("word", "sounds"),
    [("blim", "B L IH M"), ("shoom", "SH UW M"), ("quabbe", "K W AE B"), ("phixe", "F IH K S"), ("o'bap", "OW B AE P")],
)
def test_unknown_words_are_read_by_their_letters(word: str, sounds: str) -> None:
    assert guessed_sounds(word) == sounds


def test_every_guessed_sound_is_known_and_has_a_shape() -> None:
    guessed = {sound for sounds in _LETTERS.values() for sound in sounds.split()}
    assert guessed <= set(_CLASS)
    assert set(_CLASS) <= set(_SHOWN)
