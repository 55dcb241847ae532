"""What a voice is to become. Checked here, done by `stages.speech`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avatarcli.config import Language
from avatarcli.errors import UsageError


@dataclass(frozen=True)
class SpeechRequest:
    """Whose voice moves the mouth. Raises UsageError for values that make no sense."""

    audio: Path
    text: str | None = None  # what is said; None: the sounds are recognised
    language: Language = "english"
    seed: int = 0  # of blinks, brows and head

    def __post_init__(self) -> None:
        if self.text is not None and not self.text.strip():
            raise UsageError("--text is empty; write what is said, or leave it out")
        if self.text is not None and self.language == "other":
            raise UsageError("--text helps only with English: leave out --text or --language other")
