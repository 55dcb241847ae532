"""The levels of the quality gate, and what it says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from avatarcli.capture.quality import DIM, MEASURES, QUALITY_FILE, Measure, PhotoQuality
from avatarcli.files import read_json

GOOD = {
    "outside": 0.0, "cut_top": 0.0, "yaw": -8.0, "pitch": 3.0, "roll": 1.0, "eye_distance": 90.0, "blur": 0.6, "light": 60.0,
    "burnt": 0.0, "eyes_closed": 10.0, "eyes_lit": 110.0, "glare": 1.0, "misfit": 1.2, "backdrop": 10.0,
}  # fmt: skip


def _quality(*, gain: float = 1.0, faces: int = 1, chosen: bool = False, **values: float) -> PhotoQuality:
    return PhotoQuality(GOOD | values, gain, faces, face=1, chosen=chosen)


def test_a_good_photo_passes_in_silence() -> None:
    assert set(GOOD) == {measure.name for measure in MEASURES}
    assert _quality().refusal() is None
    assert _quality().warnings() == []


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
@pytest.mark.parametrize("sign", [1, -1])
def test_every_measure_warns_before_it_refuses(measure: Measure, sign: int) -> None:
    worse = 1.01 if measure.refuse > measure.warn else 0.99
    assert measure.level(GOOD[measure.name]) == "good"
    assert measure.level(sign * measure.warn) == "good"
    assert measure.level(sign * measure.warn * worse) == "warn"
    assert measure.level(math.nan) == "good"
    warned = _quality(**{measure.name: sign * measure.warn * worse})
    assert warned.refusal() is None
    assert len(warned.warnings()) == 1
    if math.isfinite(measure.refuse):
        bad = sign * measure.refuse * worse
        assert measure.level(bad) == "refuse"
        said = _quality(**{measure.name: bad}).refusal()
        assert said is not None
        assert measure.mend in said
        assert f"{measure.refuse:g}" in said
        assert "--force" in said


def test_the_cause_is_named_before_what_it_causes() -> None:
    said = _quality(misfit=9.0, outside=41.4, yaw=70.0).refusal()
    assert said == (
        "41.4 % of the head is outside the picture (at most 8): use a photo that shows the whole head, "
        "or take it as it is with --force"
    )
    assert len(_quality(misfit=9.0, outside=41.4, yaw=70.0).warnings()) == 3


def test_the_side_is_named() -> None:
    assert "to its left" in str(_quality(yaw=70.0).refusal())
    assert "to its right" in str(_quality(yaw=-70.0).refusal())
    assert "back" in str(_quality(pitch=40.0).refusal())


def test_several_faces_and_a_lift_are_told() -> None:
    assert "3 faces; taking the largest, number 1" in _quality(faces=3).warnings()[0]
    assert _quality(faces=3, chosen=True).warnings() == []
    (said,) = _quality(light=99 * DIM, gain=3.14).warnings()
    assert "brightened 3.1 times" in said


def test_what_was_found_is_kept(tmp_path: Path) -> None:
    assert read_json(tmp_path / QUALITY_FILE) is None
    quality = _quality(blur=math.nan, yaw=-50.0)
    quality.save(tmp_path)
    content = read_json(tmp_path / QUALITY_FILE)
    assert content == quality.to_json()
    measures = {entry["name"]: entry for entry in content["measures"]}
    assert measures["blur"]["value"] is None
    assert measures["cut_top"]["refuse"] is None
    assert (measures["yaw"]["value"], measures["yaw"]["level"]) == (-50.0, "warn")
    assert len(content["warnings"]) == 1
