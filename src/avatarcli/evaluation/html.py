"""The report as one page to look at: pictures side by side, the worst subjects first."""

from __future__ import annotations

import base64
import html
import io

from PIL import Image
from torch import Tensor

from avatarcli.evaluation.results import Comparison, Report, Result, quantity, report_table
from avatarcli.geometry.fill import resized
from avatarcli.pictures import to_bytes

_SIDE = 256  # pixels: side of a picture on the page
_GAIN = 4.0  # of the error map: a difference of 64/255 is white

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; background: #fafafa }}
table {{ border-collapse: collapse }} td, th {{ padding: .15em .8em; text-align: left; border-bottom: 1px solid #ddd }}
figure {{ display: inline-block; margin: .3em }} figcaption {{ font-size: 12px; color: #666 }}
img {{ width: {side}px; height: {side}px; object-fit: contain; background: #fff; border: 1px solid #ddd }}
.failed {{ color: #b00020 }}
</style>
<h1>{title}</h1><p>{settings}</p>{table}{failures}{subjects}
</html>
"""


def report_page(report: Report) -> str:
    """A page that needs no other file."""
    return _PAGE.format(
        title=html.escape(f"avatarcli evaluation: {report.benchmark}"),
        side=_SIDE,
        settings=html.escape(", ".join(f"{key}: {value}" for key, value in report.settings.items())),
        table=_table(report),
        failures=_failures(report),
        subjects="".join(_subject(result) for result in report.worst_first()),
    )


def _table(report: Report) -> str:
    heading, *rows = report_table(report)
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in (*heading, "what it is"))
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in (*row, quantity(row[0]).meaning)) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _failures(report: Report) -> str:
    items = "".join(
        f"<li>{html.escape(name)}: {html.escape(reason)} ({html.escape(', '.join(keys))})</li>"
        for name, reason, keys in report.failures()
    )
    return f'<h2 class="failed">Failed</h2><ul class="failed">{items}</ul>' if items else ""


def _subject(result: Result) -> str:
    rows = "".join(_comparison(result, comparison) for comparison in result.comparisons)
    failed = "".join(
        f'<p class="failed">{html.escape(reason)}</p>' for reason in dict.fromkeys(result.failures.values())
    )
    return f"<h2>{html.escape(result.name)}</h2>{failed}{rows}"


def _comparison(result: Result, comparison: Comparison) -> str:
    values = {key: value for key, value in result.values.items() if key.startswith(f"{comparison.name}.")}
    of_subject = ", ".join(f"{key.split('.')[-1]} {value:.{quantity(key).digits}f}" for key, value in values.items())
    numbers = comparison.numbers or of_subject
    error = ((comparison.render - comparison.truth).abs().mean(-1, keepdim=True) * _GAIN).clamp(0, 1).expand(-1, -1, 3)
    photo = [("photo", result.photo)] if result.photo is not None else []
    pictures = [*photo, ("truth", comparison.truth), ("render", comparison.render), (f"error × {_GAIN:g}", error)]
    figures = "".join(
        f'<figure><img alt="{html.escape(name)}" src="{_inline(picture)}">'
        f"<figcaption>{html.escape(name)}</figcaption></figure>"
        for name, picture in pictures
    )
    return f"<h3>{html.escape(comparison.name)}: {html.escape(numbers)}</h3>{figures}"


def _inline(picture: Tensor) -> str:
    """A picture [H, W, 3] in [0, 1] as a data URL."""
    stream = io.BytesIO()
    Image.fromarray(to_bytes(resized(picture, _SIDE, _SIDE))).save(stream, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
