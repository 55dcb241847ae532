"""What an evaluation found: numbers with their failures, and pictures to look at."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor


class Quantity(NamedTuple):
    """What the last part of a metric's key stands for."""

    unit: str
    higher_is_better: bool
    digits: int
    meaning: str


QUANTITIES: dict[str, Quantity] = {
    "psnr": Quantity("dB", True, 2, "peak signal-to-noise ratio inside the matte"),
    "ssim": Quantity("", True, 3, "structural similarity inside the matte"),
    "lpips_alex": Quantity("", False, 3, "LPIPS on AlexNet, both pictures on white outside the matte"),
    "lpips_vgg": Quantity("", False, 3, "LPIPS on VGG16, likewise"),
    "iou": Quantity("", True, 3, "overlap of the avatar's silhouette and the matte"),
    "l2": Quantity("", False, 3, "distance of the face embeddings of photo and render; below 0.6 is one person"),
    "csim": Quantity("", True, 3, "cosine of the two embeddings after subtracting the mean face"),
    "akd": Quantity("% IOD", False, 2, "average keypoint distance, per cent of the inter-ocular distance"),
    "response": Quantity("", True, 3, "how much of the driven motion landmarks show in the render; 1 is all"),
    "scores": Quantity("", False, 3, "mean error of the driven ARKit coefficients as detected in the render"),
    "reprojection": Quantity(
        "px", False, 3, "RE@SIFT: reprojection error of SIFT matches between views 15° apart, 512²"
    ),
    "matches": Quantity("", True, 0, "SIFT matches per pair of views that pass the geometric check"),
    "triangulation": Quantity("% IOD", False, 2, "reprojection error of landmarks triangulated from nine views"),
    "flicker": Quantity("/255", False, 3, "frame-to-frame change that the rendered motion does not explain"),
    "seconds": Quantity("s", False, 1, "time of all stages"),
    "fps": Quantity("1/s", True, 1, "frames per second at 512²"),
    "gaussians": Quantity("", False, 0, "number of Gaussians"),
    "megabytes": Quantity("MB", False, 2, "size of avatar.safetensors"),
}


def quantity(key: str) -> Quantity:
    """What a key such as `photo.lpips_alex` measures."""
    return QUANTITIES[key.rsplit(".", 1)[-1]]


@dataclass(frozen=True)
class Comparison:
    """A picture of the avatar beside the truth.

    truth, render [H, W, 3] in [0, 1] on white; mask [H, W]: where they are compared. numbers: what to say of the picture;
    empty: the subject's values by the comparison's name.
    """

    name: str
    truth: Tensor
    render: Tensor
    mask: Tensor
    numbers: str = ""


@dataclass
class Result:
    """One subject: values and reasons of failure by metric key."""

    name: str
    values: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)
    photo: Tensor | None = None

    def record(self, keys: tuple[str, ...], values: tuple[float, ...]) -> None:
        self.values.update(zip(keys, values, strict=True))

    def fail(self, keys: tuple[str, ...], reason: str) -> None:
        """Give the reason for those of the keys that have neither a value nor a reason yet."""
        for key in keys:
            if key not in self.values:
                self.failures.setdefault(key, reason)


@dataclass(frozen=True)
class Summary:
    """One metric over all subjects. `mean` and `worst` are over those measured, of which there may be none (NaN)."""

    key: str
    mean: float
    worst: float
    worst_of: str
    measured: int
    wanted: int


@dataclass
class Report:
    """All subjects of one evaluation."""

    benchmark: str
    settings: dict[str, Any]
    results: list[Result] = field(default_factory=list)

    def keys(self) -> list[str]:
        """Metric keys of any subject, in the order they were measured."""
        return list(dict.fromkeys(key for result in self.results for key in (*result.values, *result.failures)))

    def summaries(self) -> Iterator[Summary]:
        """Each metric over all subjects, in the order of `keys`; NaN where none has a value."""
        for key in self.keys():
            found = [(result.values[key], result.name) for result in self.results if key in result.values]
            failed = sum(key in result.failures for result in self.results)
            pick = min if quantity(key).higher_is_better else max
            worst, worst_of = pick(found) if found else (math.nan, "")
            mean = sum(value for value, _ in found) / len(found) if found else math.nan
            yield Summary(key, mean, worst, worst_of, len(found), len(found) + failed)

    def failures(self) -> list[tuple[str, str, list[str]]]:
        """(subject, reason, metric keys that it cost)."""
        return [
            (result.name, reason, [key for key, why in result.failures.items() if why == reason])
            for result in self.results
            for reason in dict.fromkeys(result.failures.values())
        ]

    def worst_first(self) -> list[Result]:
        """Subjects by the mean of their LPIPS values, the worst first; those without any lead."""

        def badness(result: Result) -> float:
            values = [value for key, value in result.values.items() if key.endswith(".lpips_alex")]
            return sum(values) / len(values) if values else math.inf

        return sorted(self.results, key=badness, reverse=True)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; a number that nobody has is null."""
        return {
            "benchmark": self.benchmark,
            "settings": self.settings,
            "summary": {
                row.key: {
                    "mean": None if math.isnan(row.mean) else row.mean,
                    "worst": None if math.isnan(row.worst) else row.worst,
                    "worst_of": row.worst_of,
                    "measured": row.measured,
                    "wanted": row.wanted,
                }
                for row in self.summaries()
            },
            "subjects": {
                result.name: {"values": result.values, "failures": result.failures} for result in self.results
            },
        }


def report_table(report: Report) -> list[tuple[str, ...]]:
    """The report as rows of text, a heading first."""
    rows: list[tuple[str, ...]] = [("metric", "", "mean", "worst", "of", "measured")]
    for row in report.summaries():
        kind = quantity(row.key)
        arrow = "↑" if kind.higher_is_better else "↓"
        if row.measured:
            numbers = (f"{row.mean:.{kind.digits}f} {kind.unit}".strip(), f"{row.worst:.{kind.digits}f}", row.worst_of)
        else:
            numbers = ("failed", "", "")
        failed = f", {row.wanted - row.measured} failed" if row.measured < row.wanted else ""
        rows.append((row.key, arrow, *numbers, f"{row.measured} of {row.wanted}{failed}"))
    return rows
