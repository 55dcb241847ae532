"""Whether two photos show one person: by dlib's face embedding, which is no part of avatarcli but may be installed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from avatarcli.capture.identity import SAME_PERSON, FaceEmbedder, l2_distance
from avatarcli.errors import PhotoError, WeightsError
from avatarcli.progress import Progress
from avatarcli.weights.judges import FETCH_JUDGES

if TYPE_CHECKING:
    from avatarcli.stages.preprocess import Look
    from avatarcli.stages.source import Source

# L2 distance from which two photos are refused as two persons, by how far the more turned one is turned (degrees).
_FRONTAL, _TURNED = SAME_PERSON, 0.65
_TURNED_FROM = 25.0


def check_same_person(reference: Look, other: Look, photo: Source, progress: Progress, *, force: bool) -> float | None:
    """The distance of two faces' embeddings; None, and of a photo a warning, where there is no network to tell.

    Raises:
        PhotoError: they are of two persons, and `force` does not insist.
    """
    embedder = _embedder()
    if embedder is None:
        if photo.time is None:  # a film rarely changes its person
            progress.warn(
                f"{photo.name}: not checked whether it shows the same person: the network for that is missing; {FETCH_JUDGES}"
            )
        return None
    ours, theirs = (embedder(look.crop.image, look.face.points) for look in (reference, other))
    distance = l2_distance(ours, theirs)
    limit = _TURNED if abs(other.face.yaw) > _TURNED_FROM else _FRONTAL
    if distance > limit:
        message = (
            f"this seems to be another person than the frontal photo's (distance {distance:.2f}, at most {limit:g})"
        )
        if not force:
            raise PhotoError(f"{photo}: {message}: leave it out, or take it as it is with --force")
        progress.warn(f"{photo.name}: {message}")
    return distance


@cache
def _embedder() -> FaceEmbedder | None:
    try:
        return FaceEmbedder()
    except WeightsError:
        return None
