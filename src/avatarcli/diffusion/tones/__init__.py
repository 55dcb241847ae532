"""What is done to imagined pictures so that they fit the photo: its tones, its fine detail, hair no longer than its own,
no floating slips."""

from avatarcli.diffusion.tones.around import Around, Ground, lowest_hair
from avatarcli.diffusion.tones.coarse import with_tones_of
from avatarcli.diffusion.tones.detail import with_detail, without_islands
from avatarcli.diffusion.tones.matching import SKIN_REGIONS, Tones, tone_error
from avatarcli.diffusion.tones.nape import Nape
from avatarcli.diffusion.tones.together import agreed

__all__ = [
    "SKIN_REGIONS",
    "Around",
    "Ground",
    "Nape",
    "Tones",
    "agreed",
    "lowest_hair",
    "tone_error",
    "with_detail",
    "with_tones_of",
    "without_islands",
]
