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
# Of 31 people's photos, 27 to 42° turned, none is farther from their own frontal photo than .53; 4 % of other people's are nearer
# than .65, 1 % nearer than .6. But these were taken on one day, in one light, which a user's photos were not.
_FRONTAL, _TURNED = SAME_PERSON, 0.65
_TURNED_FROM = 25.0
# The farther a face is turned, the farther it is from its own frontal photo: .32 on average at 30°, .42 at 40°. At 90°, where the
# network was never meant to look, it is as far from that (.71) as from other people's (.71).
_TELLS_UP_TO = 50.0


def check_same_person(reference: Look, other: Look, photo: Source, progress: Progress, *, force: bool) -> float | None:
    """The distance of two faces' embeddings; None, and of a photo a warning, where there is no network to tell.

    A face that is turned too far for that to tell is never refused; of a photo there is a warning.

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
    turned = max(abs(reference.face.yaw), abs(other.face.yaw))
    limit = _TURNED if turned > _TURNED_FROM else _FRONTAL
    if distance <= limit:
        return distance
    message = f"this seems to be another person than the frontal photo's (distance {distance:.2f}, at most {limit:g})"
    if turned > _TELLS_UP_TO:
        if photo.time is None:
            progress.warn(f"{photo.name}: {message}, though a face that is turned by {turned:.0f}° hardly tells")
    elif force:
        progress.warn(f"{photo.name}: {message}")
    else:
        raise PhotoError(f"{photo}: {message}: leave it out, or take it as it is with --force")
    return distance


@cache
def _embedder() -> FaceEmbedder | None:
    try:
        return FaceEmbedder()
    except WeightsError:
        return None
