"""Photos known by their content, and the subjects that are named after them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avatarcli.errors import PhotoError, UsageError, WorkspaceError
from avatarcli.files import sha256_file, why_not_a_file
from avatarcli.progress import Progress, SilentProgress
from avatarcli.records import fingerprint_of
from avatarcli.workspace import Subject, Workspace, slug

MOST_PHOTOS = 8  # of one person: the model was trained with about as many pictures beside each other
SOURCE = "source"  # the user's photo or film, copied beside what was made of it


def photo_hash(photo: Path) -> str:
    """SHA-256 of a photo's file. Raises PhotoError when there is no file to read."""
    if photo.is_dir():
        raise PhotoError(f"{photo} is a folder: name the photos in it, as in `avatar create {photo}/*.jpg`")
    if photo.exists() and (problem := why_not_a_file(photo, "photo")) is not None:
        raise PhotoError(problem)
    try:
        return sha256_file(photo)
    except FileNotFoundError:
        raise PhotoError(f"{photo}: no such file") from None
    except OSError as error:
        raise PhotoError(f"cannot read {photo}: {error.strerror}") from error


def photos_hash(photos: Sequence[Path]) -> str:
    """One hash for all photos of a person, whatever their order; of a single one, its own. Raises PhotoError."""
    hashes = sorted(photo_hash(photo) for photo in photos)
    return hashes[0] if len(hashes) == 1 else fingerprint_of({"photos": hashes})


def different_photos(photos: Sequence[Path]) -> list[Path]:
    """The photos without those that another one is a copy of.

    Raises:
        PhotoError: one cannot be read.
        UsageError: there are too many.
    """
    found: dict[str, Path] = {}
    for photo in photos:
        found.setdefault(photo_hash(photo), photo)
    if len(found) > MOST_PHOTOS:
        raise UsageError(f"{len(found)} photos of one person: at most {MOST_PHOTOS} can be used together")
    return list(found.values())


def workspace_photos(subject: Subject) -> list[Path]:
    """The copies of the photos in the workspace, the frontal one first. Raises WorkspaceError when preprocess has not been run."""
    record = subject.record("preprocess")
    names = [name for name in (record.files if record else ()) if Path(name).stem == SOURCE]
    if not names:
        raise WorkspaceError(f"{subject.name} has no photo in the workspace: run `avatar create` on the photo")
    return [subject.stage_path("preprocess") / name for name in sorted(names, key=lambda name: (name.count("/"), name))]


def name_subjects(
    workspace: Workspace,
    photos: Sequence[Path],
    *,
    further: Sequence[Path] = (),
    replace: bool = False,
    progress: Progress | None = None,
) -> dict[Path, str]:
    """A subject for every photo, named after its file; a photo that is given twice counts once.

    A name that belongs to another photo, of this call or in the workspace, gets a piece of the photo's hash, of which
    `progress` is warned; with `replace` the workspace's photos lose their names. Photos that cannot be read keep the
    plain name: making them fails with the reason. further: more photos of the person of the only one in `photos`.
    """
    progress = progress or SilentProgress()
    names: dict[Path, str] = {}
    owners: dict[str, tuple[str, Path]] = {}  # name -> photo hash, photo
    for photo in dict.fromkeys(photos):
        name = slug(photo.stem)
        try:
            sha256 = photos_hash(different_photos([photo, *further]))
        except PhotoError:
            names[photo] = name
            continue
        if any(sha256 == owner for owner, _ in owners.values()):
            continue
        other = owners.get(name)
        kept = None if replace else owner(workspace.new_subject(name))
        if other is not None or kept not in (None, sha256):
            longer = f"{name}-{sha256[:8]}"
            if other is not None:
                why, mend = f"{other[1]} is called {name} too", "rename the file to choose"
            else:
                why = f"there is an avatar {name} of another photo, or of this one before it was edited"
                mend = f"--subject NAME gives another name, --replace makes {name} anew"
            progress.warn(f"{photo} becomes {longer}: {why}; {mend}")
            name = longer
        owners[name] = sha256, photo
        names[photo] = name
    return names


def owner(subject: Subject) -> str | None:
    """The hash of the photo that a subject was made of; None when there is no subject that can be read."""
    try:
        return subject.manifest().photo_sha256 if subject.exists() else None
    except WorkspaceError:
        return None
