"""Text as a voice reads it: words of the pronouncing dictionary, numbers spelt out, and a guess at words that are not in it."""

from __future__ import annotations

import re
import unicodedata

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ((1_000_000_000, "billion"), (1_000_000, "million"), (1000, "thousand"), (100, "hundred"))
_SAID = {"&": " and ", "%": " percent ", "+": " plus ", "@": " at ", "’": "'", "‘": "'"}
_LONGEST_NUMBER = 12  # digits; longer ones are read digit by digit, as people do

# Letters → ARPAbet, the longest that fits first. Crude: one sound a spelling, whatever its place.
_LETTERS = {
    "tch": "CH", "sch": "SH", "igh": "AY", "eau": "OW", "tion": "SH AH N", "sion": "ZH AH N",
    "sh": "SH", "ch": "CH", "th": "TH", "ph": "F", "gh": "G", "ck": "K", "ng": "NG", "qu": "K W", "wh": "W", "kn": "N",
    "wr": "R", "oo": "UW", "ee": "IY", "ea": "IY", "ie": "IY", "ei": "EY", "ou": "AW", "ow": "OW", "oi": "OY", "oy": "OY",
    "ai": "EY", "ay": "EY", "ey": "IY", "oa": "OW", "au": "AO", "aw": "AO", "ue": "UW", "ew": "UW", "er": "ER", "ir": "ER",
    "ur": "ER", "ar": "AA R", "or": "AO R",
    "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G", "h": "HH", "i": "IH", "j": "JH", "k": "K",
    "l": "L", "m": "M", "n": "N", "o": "OW", "p": "P", "q": "K", "r": "R", "s": "S", "t": "T", "u": "AH", "v": "V",
    "w": "W", "x": "K S", "y": "IY", "z": "Z",
}  # fmt: skip
_SPELLINGS = re.compile("|".join(sorted(_LETTERS, key=len, reverse=True)))


def words_of(text: str) -> list[str]:
    """Lower-case words of letters and apostrophes: marks dropped, accents taken off, numbers and a few signs read out."""
    for sign, said in _SAID.items():
        text = text.replace(sign, said)
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", plain)  # 12,000
    words: list[str] = []
    for part in re.findall(r"\d+|[a-z']+", plain):
        words += _number(part) if part.isdigit() else [part.strip("'")]
    return [word for word in words if word]


def guessed_sounds(word: str) -> str:
    """ARPAbet sounds of a word by its letters, parted by spaces; doubled letters sound once, a last e is silent."""
    word = re.sub(r"([^aeiou])\1", r"\1", word.replace("'", ""))
    if len(word) > 2 and word.endswith("e") and word[-2] not in "aeiou":
        word = word[:-1]
    return " ".join(_LETTERS[spelling] for spelling in _SPELLINGS.findall(word))


def _number(digits: str) -> list[str]:
    if len(digits) > _LONGEST_NUMBER or (len(digits) > 1 and digits[0] == "0"):
        return [_ONES[int(digit)] for digit in digits]
    return _spoken(int(digits))


def _spoken(value: int) -> list[str]:
    for scale, name in _SCALES:
        if value >= scale:
            rest = value % scale
            return [*_spoken(value // scale), name, *(_spoken(rest) if rest else [])]
    if value < 20:
        return [_ONES[value]]
    return [_TENS[value // 10 - 2], *([_ONES[value % 10]] if value % 10 else [])]
