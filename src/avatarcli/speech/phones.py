"""Which sounds a voice makes when: PocketSphinx's phonemes, or broad classes where it cannot help.

PocketSphinx 5 (BSD) brings its own American English model and CMU's pronouncing dictionary. With the text, the sounds are
aligned to it; without, they are recognised, which errs in about a third of them but seldom in how they look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avatarcli.config import Language
from avatarcli.errors import SpeechError, UsageError
from avatarcli.speech.recording import RATE, STEPS, Voice
from avatarcli.speech.words import guessed_sounds, words_of
from avatarcli.system import install_extra

Tell = Callable[[str], None]

SILENCE = "SIL"
# Sounds that look or are made alike: what an alignment and a recognition of the same speech agree on.
_ALIKE = (
    "P B M", "F V", "T D N L TH DH", "K G NG HH", "S Z CH JH SH ZH", "R ER", "AA AE AH AY AW", "EH EY IH IY Y",
    "AO OW OY UW UH W", SILENCE,
)  # fmt: skip
_CLASS = {sound: index for index, group in enumerate(_ALIKE) for sound in group.split()}
# Share of moments at which they must agree for the text to be what is said. Five LibriVox sentences and two synthetic ones
# gave 0.61 to 0.84 with their own text and at most 0.39 with each other's.
_AGREEMENT = 0.5
_STOPS = frozenset({"P", "B", "T", "D", "K", "G"})
_LONGEST_CLOSURE = 0.08  # seconds that a stop may be silent and still be heard as one sound
_SYLLABLE = 8  # steps: two of them show the rise and fall of the shortest syllables
_SHORTEST_PAUSE = 0.1  # seconds; shorter quiet within a sound is the sound's own
_HOP = RATE // STEPS
# The aligner's memory grows with words × length: longer recordings are aligned in parts, cut at pauses.
_PART = 15.0  # seconds


@dataclass(frozen=True)
class Phone:
    """A sound (ARPAbet without stress, `SILENCE`, or `~V`, `~S` of the broad classes) from `start` to `end`, seconds."""

    name: str
    start: float
    end: float


def find_phones(recording: Voice, text: str | None, language: Language, *, note: Tell, warn: Tell) -> list[Phone]:
    """The sounds of a recording without gaps, silence included.

    text: what is said, None if unknown. note and warn are told what was guessed and what did not work.

    Raises:
        UsageError: the text has no words, or PocketSphinx is needed and not installed.
        SpeechError: PocketSphinx cannot use the recording.
    """
    words = None if text is None else words_of(text)
    if words is not None and not words and language == "english":
        raise UsageError("--text has no words of English letters; leave it out, or use --language other")
    if language == "other":
        note("language other: the mouth follows loudness and broad classes of sound; lips may miss p, b and m")
        return _with_pauses(broad_classes(recording), recording)
    decoding = _Decoding(recording)
    heard = decoding.recognised()
    phones = heard
    if words is not None:
        aligned = decoding.aligned(words, note)
        if aligned is None or _agreement(aligned, heard) < _AGREEMENT:
            warn(f"the text does not match {recording.path.name}; the sounds are recognised without it")
        else:
            phones = aligned
    return _with_pauses(phones, recording)


def broad_classes(recording: Voice) -> list[Phone]:
    """Voice (`~V`), hiss (`~S`) and silence, by loudness and by how often the wave crosses zero."""
    count = len(recording.levels)
    positive = recording.samples[: count * _HOP] >= 0
    crossings = np.concatenate([[False], positive[1:] != positive[:-1]]).reshape(count, -1).sum(axis=1)
    # A hiss has most of its energy above 3 kHz: at least 6,000 crossings a second. Voices stay below 4,000.
    hiss = np.convolve(crossings, np.ones(3) / 3, mode="same") * STEPS > 5000
    kinds = np.where(recording.quiet, SILENCE, np.where(hiss, "~S", "~V"))
    changes = np.flatnonzero(kinds[1:] != kinds[:-1]) + 1
    # Voice is cut into short sounds, each as loud as it is.
    cuts = [cut for cut in range(_SYLLABLE, count, _SYLLABLE) if kinds[cut - 1] == kinds[cut] == "~V"]
    edges = sorted({0, *changes.tolist(), *cuts, count})
    ends = [*(edge / STEPS for edge in edges[1:-1]), recording.seconds]
    return [Phone(str(kinds[a]), a / STEPS, end) for a, end in zip(edges[:-1], ends, strict=True)]


class _Decoding:
    """PocketSphinx at work on one recording."""

    def __init__(self, recording: Voice) -> None:
        try:
            import pocketsphinx
        except ImportError:
            raise UsageError(
                f"speech needs PocketSphinx: {install_extra('speech')} (or use --language other)"
            ) from None
        self._library: Any = pocketsphinx
        self._name = recording.path.name
        self._seconds = recording.seconds
        self._wave = (recording.samples.clip(-1, 1) * 32767).astype(np.int16)

    def recognised(self) -> list[Phone]:
        """Phonemes by the sound alone, with the settings of PocketSphinx's documentation for it."""
        model = self._library.get_model_path("en-us/en-us-phone.lm.bin")
        decoder = self._decoder(allphone=model, lw=2.0, pip=0.3, beam=1e-20, pbeam=1e-20)
        _decode(decoder, self._wave)
        found = [(str(part.word), part.start_frame, part.end_frame + 1) for part in decoder.seg() or ()]
        if not found:
            raise SpeechError(f"{self._name}: no sounds of speech are found in it")
        return self._phones(found)

    def aligned(self, words: Sequence[str], note: Tell) -> list[Phone] | None:
        """Phonemes of the words where they are said; None where they cannot be."""
        decoder = self._decoder(lm=None)
        unknown = sorted({word for word in words if decoder.lookup_word(word) is None})
        for word in unknown:
            decoder.add_word(word, guessed_sounds(word), True)
        if unknown:
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            note(f"not in the dictionary, so read by their letters: {', '.join(unknown[:5])}{more}")
        try:
            parts = self._parts(decoder, words)
            return self._phones([sound for part in parts for sound in self._sounds(decoder, *part)])
        except RuntimeError:  # what PocketSphinx raises when there is no way through the text
            return None

    def _parts(self, decoder: Any, words: Sequence[str]) -> list[tuple[list[str], int, int]]:
        """Words, first frame and end frame of parts of about `_PART` seconds, cut at pauses between words."""
        total = len(self._wave) // _HOP
        if self._seconds <= _PART:
            return [(list(words), 0, total)]
        self._follow(decoder, words, self._wave)
        parts: list[tuple[list[str], int, int]] = []
        said: list[str] = []
        begin = 0
        for piece in decoder.seg():
            name = str(piece.word)
            if name[0] not in "<[":  # not a pause or a noise
                said.append(name.partition("(")[0])  # `new(2)` is the second way to say `new`
            elif said and piece.start_frame - begin >= _PART * STEPS:
                middle = (piece.start_frame + piece.end_frame) // 2
                parts.append((said, begin, middle))
                said, begin = [], middle
        return [*parts, (said, begin, total)] if said else [*parts[:-1], (parts[-1][0], parts[-1][1], total)]

    def _sounds(self, decoder: Any, words: Sequence[str], first: int, end: int) -> list[tuple[str, int, int]]:
        """(sound, first frame, end frame) of the words that are said from frame `first` to `end`."""
        wave = self._wave[first * _HOP : end * _HOP]
        self._follow(decoder, words, wave)
        decoder.set_alignment()
        _decode(decoder, wave)
        sounds = [sound for word in decoder.get_alignment() for sound in word]
        return [(str(sound.name), first + sound.start, first + sound.start + sound.duration) for sound in sounds]

    def _follow(self, decoder: Any, words: Sequence[str], wave: NDArray[np.int16]) -> None:
        decoder.set_align_text(" ".join(words))
        _decode(decoder, wave)
        if decoder.hyp() is None:
            raise RuntimeError("no way through the text")

    def _decoder(self, **settings: Any) -> Any:
        return self._library.Decoder(samprate=RATE, loglevel="FATAL", **settings)

    def _phones(self, found: Sequence[tuple[str, int, int]]) -> list[Phone]:
        """Without gaps from 0 to the recording's end. Noises (`+SPN+`) are silence: the mouth does nothing for them."""
        starts = [0.0, *(first / STEPS for _, first, _ in found[1:])]
        ends = [*starts[1:], self._seconds]
        names = [name if name in _CLASS else SILENCE for name, _, _ in found]
        return [Phone(name, start, end) for name, start, end in zip(names, starts, ends, strict=True) if end > start]


def _decode(decoder: Any, wave: NDArray[np.int16]) -> None:
    decoder.start_utt()
    decoder.process_raw(wave.tobytes(), full_utt=True)
    decoder.end_utt()


def _agreement(aligned: Sequence[Phone], heard: Sequence[Phone]) -> float:
    """Share of moments at which two readings of a recording have sounds that look alike, common silence left out."""
    first, second = (_classes(phones) for phones in (aligned, heard))
    count = min(len(first), len(second))
    first, second = first[:count], second[:count]
    spoken = (first != _CLASS[SILENCE]) | (second != _CLASS[SILENCE])
    return float((first == second)[spoken].mean()) if spoken.any() else 0.0


def _classes(phones: Sequence[Phone]) -> NDArray[np.int64]:
    lengths = [round(phone.end * STEPS) - round(phone.start * STEPS) for phone in phones]
    return np.repeat([_CLASS[phone.name] for phone in phones], lengths)


def _with_pauses(phones: Sequence[Phone], recording: Voice) -> list[Phone]:
    """The same sounds, ended where the voice ends: the aligner lets the last sound of a word run on into a pause.

    Neighbouring silences become one.
    """
    found: list[Phone] = []
    for phone in phones:
        for part in _cut(phone, recording.quiet):
            if part.name == SILENCE and found and found[-1].name == SILENCE:
                found[-1] = replace(found[-1], end=part.end)
            else:
                found.append(part)
    return found


def _cut(phone: Phone, quiet: NDArray[np.bool_]) -> list[Phone]:
    """A sound and the pauses that lie in it, before it and after it."""
    if phone.name == SILENCE:
        return [phone]
    first = round(phone.start * STEPS)
    voiced = np.flatnonzero(~quiet[first : round(phone.end * STEPS)])
    if len(voiced) == 0:
        # The closure of a stop is silent; anything else that cannot be heard is no sound.
        start, end = phone.start, phone.start + (_LONGEST_CLOSURE if phone.name in _STOPS else 0.0)
    else:
        start, end = float(first + voiced[0]) / STEPS, float(first + voiced[-1] + 1) / STEPS
        if phone.name in _STOPS:
            start, end = start - _LONGEST_CLOSURE, max(end, phone.start + _LONGEST_CLOSURE)
    start = phone.start if start - phone.start < _SHORTEST_PAUSE else start
    end = phone.end if phone.end - end < _SHORTEST_PAUSE else min(end, phone.end)
    pieces = [Phone(SILENCE, phone.start, start), Phone(phone.name, start, end), Phone(SILENCE, end, phone.end)]
    return [piece for piece in pieces if piece.end > piece.start]
