"""Viser's page under our name, and without a complaint of its own making."""

from __future__ import annotations

import gzip
import html

from websockets.http11 import Response

_TITLE = b"<title>Viser</title>"
# Viser gives the corners of a Gaussian two coordinates. three.js, which looks for the third to bound them, reports a NaN, and
# draws them all the same. That one report is left out; of geometry with three coordinates it is still made.
_CALM = """<script>
(report => {
  const flat = part => part?.attributes?.position?.itemSize === 2;
  console.error = (...parts) => { if (!parts.some(flat)) report(...parts); };
})(console.error.bind(console));
</script>"""


def dress(answer: Response, title: str) -> None:
    """Give viser's page in an HTTP answer our title and `_CALM`. Other answers stay as they are."""
    zipped = answer.headers.get("Content-Encoding") == "gzip"
    if "text/html" not in answer.headers.get("Content-Type", "") or not answer.body:
        return
    body = gzip.decompress(answer.body) if zipped else bytes(answer.body)
    body = body.replace(_TITLE, f"<title>{html.escape(title)}</title>{_CALM}".encode(), 1)
    answer.body = gzip.compress(body) if zipped else body
    del answer.headers["Content-Length"]
    answer.headers["Content-Length"] = str(len(answer.body))
