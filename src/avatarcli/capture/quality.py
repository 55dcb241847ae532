"""The quality gate: is a tracked photo good enough to make an avatar of?

Every measure has a level that warns and one that refuses. They were chosen by looking; `docs/photos.md` has them as a table, with
what was looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from avatarcli.files import write_json

QUALITY_FILE = "quality.json"
# sRGB level of the whites of the eyes below which a photo is dim. In 426 portraits of people of every skin color they have
# 0.32 to 0.85; in four pictures of a webcam in a dim room 0.22 to 0.28.
DIM = 0.3

_TURNED = {90: "lay on its side: turned by 90° clockwise", 180: "stood on its head: turned by 180°",
           270: "lay on its side: turned by 90° counterclockwise"}  # fmt: skip

Level = Literal["good", "warn", "refuse"]


@dataclass(frozen=True)
class Measure:
    """One thing that is measured. Where `refuse` is below `warn`, small values are the bad ones; signs do not count.

    says: a format of the absolute value and, where the sign means something, of one of `ways` (negative, positive).
    """

    name: str
    unit: str
    warn: float
    refuse: float
    says: str
    mend: str
    ways: tuple[str, str] = ("", "")

    def level(self, value: float) -> Level:
        """How bad a value is; one that could not be measured (NaN) is taken for good."""
        sign = 1 if self.refuse > self.warn else -1
        if sign * abs(value) > sign * self.refuse:
            return "refuse"
        return "warn" if sign * abs(value) > sign * self.warn else "good"

    def describe(self, value: float, limit: float) -> str:
        """What is wrong and by how much, and what would do."""
        bound = "at most" if self.refuse > self.warn else "at least"
        said = self.says.format(value=abs(value), way=self.ways[value > 0])
        return f"{said} ({bound} {limit:g})" if "{value" in self.says else said


# In the order in which they are said: causes before what they cause. Everything that is cut off, turned away or dark also
# makes the fit worse.
MEASURES = (
    Measure("outside", "% of the head", 1.5, 8, "{value:.3g} % of the head is outside the picture",
            "use a photo that shows the whole head"),
    Measure("cut_top", "eye distances", 0.7, math.inf, "the picture's upper edge cuts off the hair",
            "use a photo with some room above the head"),
    Measure("yaw", "°", 45, 60, "the head is turned {value:.3g}° to its {way}",
            "use a photo in which it faces the camera", ("right", "left")),
    Measure("pitch", "°", 20, 30, "the head is tipped {value:.3g}° {way}",
            "use a photo taken at eye level", ("forward", "back")),
    Measure("roll", "°", 30, 60, "the head lies {value:.3g}° on its side", "turn the photo upright"),
    Measure("eye_distance", "pixels", 40, 30, "the face is small: {value:.3g} pixels between the eyes",
            "use a photo with more pixels, or a closer one"),
    Measure("blur", "% of the eye distance", 2.5, 5, "the face is blurred over {value:.3g} % of the distance between the eyes",
            "use a sharper photo"),
    Measure("light", "% of white", 100 * DIM, 10, "the photo is dark, the whites of the eyes have {value:.3g} % of white",
            "use a photo taken in more light"),
    Measure("burnt", "% of the face", 5, 30, "{value:.3g} % of the face is burnt out to white",
            "use a photo with less exposure"),
    Measure("eyes_closed", "%", 42, 70, "the eyes are closed ({value:.3g} %)", "use a photo with open eyes"),
    Measure("eyes_lit", "% of the skin's light", 22, 10,
            "the eyes are covered: their whites have {value:.3g} % of the skin's light", "use a photo without dark glasses"),
    # 261 portraits reach 3.6; the levels come from that and from one drawn test picture.
    Measure("glare", "% of an eye", 8, 40, "white glare covers {value:.3g} % of an eye",
            "use a photo without reflections in the glasses"),
    Measure("misfit", "% of the eye distance", 2.9, 3.1,
            "the head model misses the face by {value:.3g} % of the distance between the eyes",
            "use a photo that shows the whole face, from the front"),
    # Fifty-five ordinary portraits reach 19 %; people laid before their hair's color are mostly above 40.
    Measure("backdrop", "% of the colors", 40, math.inf,
            "hair and the background beside it have {value:.3g} % of their colors in common",
            "if matte.png shows a wrong outline, take the photo before another background"),
)  # fmt: skip


@dataclass(frozen=True)
class PhotoQuality:
    """What the gate found.

    values: of all MEASURES, by name. gain: what the light of a dim photo was multiplied by; 1: nothing. faces: how many the
    photo shows; face: which of them was taken, from the left, beginning with 1; chosen: whether the user said which. any_side: the
    photo is one of several, and may show the head from any side; turned: degrees clockwise that set it upright; pictures: how
    many the file shows one after the other, the first of which was taken.
    """

    values: dict[str, float]
    gain: float
    faces: int
    face: int
    chosen: bool
    any_side: bool = False
    turned: int = 0
    pictures: int = 1

    def level(self, measure: Measure) -> Level:
        """How bad this photo is by one measure."""
        return "good" if self.any_side and measure.name == "yaw" else measure.level(self.values[measure.name])

    def refusal(self) -> str | None:
        """Why no avatar should be made of the photo, with the mend; None when it will do."""
        for measure in MEASURES:
            if self.level(measure) == "refuse":
                said = measure.describe(self.values[measure.name], measure.refuse)
                return f"{said}: {measure.mend}, or take it as it is with --force"
        return None

    def warnings(self) -> list[str]:
        """What may make the avatar worse, a line each. What would refuse the photo is among it, for those who force it."""
        lines = [f"the photo {_TURNED[self.turned]}"] if self.turned else []
        if self.pictures > 1:
            mend = "to have it read as a film, save it as MP4 or GIF"
            lines.append(f"it moves, and the first of its {self.pictures} pictures is taken: {mend}")
        if self.faces > 1 and not self.chosen:
            others = "--face N, left or right takes another"
            lines.append(f"{self.faces} faces; taking the largest, number {self.face} from the left ({others})")
        for measure in MEASURES:
            if self.level(measure) != "good":
                value = self.values[measure.name]
                done = f"brightened {self.gain:.1f} times; better " if measure.name == "light" else ""
                lines.append(f"{measure.describe(value, measure.warn)}: {done}{measure.mend}")
        return lines

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; a measure that could not be taken is null."""
        return {
            "faces": self.faces,
            "face": self.face,
            "gain": round(self.gain, 3),
            "turned": self.turned,
            "warnings": self.warnings(),
            "measures": [
                {
                    "name": measure.name,
                    "value": round(value, 2) if math.isfinite(value) else None,
                    "unit": measure.unit,
                    "level": self.level(measure),
                    "warn": measure.warn,
                    "refuse": measure.refuse if math.isfinite(measure.refuse) else None,
                }
                for measure, value in ((measure, self.values[measure.name]) for measure in MEASURES)
            ],
        }

    def save(self, folder: Path) -> None:
        """Write `quality.json` into a folder."""
        write_json(folder / QUALITY_FILE, self.to_json())
