"""`avatar list` and `avatar info`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from avatarcli.cli import options
from avatarcli.cli.console import Console, human_bytes, print_json, print_table
from avatarcli.config import STAGES
from avatarcli.errors import UsageError, WorkspaceError
from avatarcli.files import read_json
from avatarcli.stages.artefacts import AVATAR_FILE, FIT_FILE, told_of_photos
from avatarcli.stages.avatar_file import AvatarFile
from avatarcli.workspace import Subject, Workspace

_FINISHED, _OUTDATED, _MISSING = "finished", "out of date", "missing"
_READY = "ready"


def register(app: typer.Typer) -> None:
    app.command("list", epilog="Example: avatar list --json")(list_subjects)
    app.command(epilog="Example: avatar info --subject ada")(info)


def list_subjects(
    workspace: options.Workspace = None,
    names: Annotated[
        bool, typer.Option("--names", help="Only the names of those that are ready, one per line.")
    ] = False,
    json: options.Json = False,
) -> None:
    """List the avatars of the workspace."""
    if names and json:
        raise UsageError("--names and --json are two forms of the list: use one of them")
    place = Workspace(workspace)
    found = [_describe(subject, thorough=False) for subject in place.subjects()]
    if json:
        print_json({"workspace": str(place.root), "subjects": found})
    elif names:
        for entry in found:
            if _summary(entry) == _READY:
                print(entry["subject"])
    elif not found:
        Console().info(f"no avatar in {place.root} yet: make one with `avatar create photo.jpg`")
    else:
        rows = [(entry["subject"], _summary(entry), human_bytes(entry["bytes"]), _photos(entry)) for entry in found]
        print_table([("subject", "state", "size", "photo"), *rows])


def info(subject: options.Avatar = None, workspace: options.Workspace = None, json: options.Json = False) -> None:
    """Show one avatar: photo, settings and the state of its files."""
    chosen = options.chosen_avatar(workspace, subject)
    if isinstance(chosen, AvatarFile):
        _show_file(chosen, json=json)
        return
    entry = _describe(chosen, thorough=True)
    if json:
        print_json(entry)
        return
    print(f"{entry['subject']}: {entry['folder']}")
    if entry["photo"] is None:
        print("photo and settings: not known, for manifest.json cannot be read")
    else:
        print(f"{'film' if entry['film'] else 'photo'}: {entry['photo']} (SHA-256 {entry['photo_sha256'][:16]})")
    if entry["stages"][0]["state"] in (_FINISHED, _OUTDATED):  # else its files may hold anything
        _print_photos(entry)
    if (settings := entry["config"]) is not None:
        print(f"settings: preset {settings.get('preset')}, seed {settings.get('seed')}")
    if entry["distill"]["fit"] and entry["stages"][-1]["state"] == _FINISHED:
        print(_fit(entry["distill"]["fit"]))
    print_table(
        [
            (
                f"  {stage['stage']}",
                stage["state"],
                f"{stage['seconds']:.1f} s",
                human_bytes(stage["bytes"]),
                stage["path"],
            )
            for stage in entry["stages"]
        ]
    )


def _print_photos(entry: dict[str, Any]) -> None:
    """What was found in the photos, or in which frames of a film."""
    film = entry["film"]
    if film and len(film["frames"]) == 1:
        print(f"its frame at {film['frames'][0]['time']:.2f} s is taken as a photo: nobody turns in it")
    for index, photo in enumerate(entry["fitted_photos"]):
        role = "reference" if index == 0 else "further photo"
        print(f"{role}: {photo['photo']} (turned by {photo['yaw']:+.0f}°, fitted by its {photo['fitted_by']})")
        for warning in photo["quality"]["warnings"] if index else ():
            print(f"warning: {photo['photo']}: {warning}")
    for warning in (entry["quality"] or {}).get("warnings", ()):
        print(f"warning: {warning}")


def _show_file(avatar: AvatarFile, *, json: bool) -> None:
    """What an avatar without its workspace tells. Raises WorkspaceError when it cannot be read."""
    path = avatar.whole("distill", AVATAR_FILE)
    from avatarcli.gaussians.avatar import Avatar

    read = Avatar.load(path)
    if json:
        print_json(
            {
                "subject": avatar.name,
                "avatar": str(path),
                "bytes": path.stat().st_size,
                "gaussians": read.count,
                "provenance": read.provenance,
            }
        )
        return
    print(f"{avatar.name}: {path} ({human_bytes(path.stat().st_size)}, {read.count} Gaussians)")
    print_table([(f"  {name}", value) for name, value in read.provenance.items()])


def _describe(subject: Subject, *, thorough: bool) -> dict[str, Any]:
    """A subject as JSON values. thorough: read every file, not only their sizes."""
    try:
        manifest = subject.manifest()
        photo, sha256, config = manifest.photo, manifest.photo_sha256, manifest.config
        photos = [manifest.photo, *manifest.further_photos]
    except WorkspaceError:
        photo, sha256, config, photos = None, None, None, []
    stages: list[dict[str, Any]] = []
    for name in STAGES:
        record = subject.record(name)
        state = _state(subject, name, thorough=thorough)
        stages.append(
            {
                "stage": name,
                "state": state,
                "path": str(subject.stage_path(name)),
                "seconds": record.seconds if record else 0.0,
                "bytes": record.bytes if record else 0,
                "fingerprint": record.fingerprint if record else None,
            }
        )
    return {
        "subject": subject.name,
        "folder": str(subject.path),
        "photo": photo,
        "photo_sha256": sha256,
        "photos": photos,
        **told_of_photos(subject.stage_path("preprocess")),
        "config": config,
        "distill": {"fit": read_json(subject.stage_path("distill") / FIT_FILE)},
        "bytes": sum(stage["bytes"] for stage in stages),
        "stages": stages,
    }


def _photos(entry: dict[str, Any]) -> str:
    more = len(entry["photos"]) - 1
    return (entry["photo"] or "?") + (f" and {more} more" if more > 0 else "")


def _fit(fit: dict[str, dict[str, float]]) -> str:
    """One line of what `fit.json` tells."""
    line = f"fit: {fit['all']['psnr']:.1f} dB over its {fit['all']['pictures']} views"
    if "held_out" in fit:
        held_out, seen = fit["held_out"], fit["seen"]
        line += f"; before its last steps {seen['psnr']:.1f} dB over those used until then, {held_out['psnr']:.1f} dB over others"
    return line


def _state(subject: Subject, stage: str, *, thorough: bool) -> str:
    if subject.record(stage) is None:
        return _MISSING
    damaged = subject.damaged_file(stage, thorough=thorough)
    if damaged is not None:
        return f"damaged ({damaged})"
    return _OUTDATED if subject.outdated(stage) else _FINISHED


def _summary(entry: dict[str, Any]) -> str:
    for stage in entry["stages"]:
        if stage["state"] == _MISSING:
            return f"no {stage['stage']} yet"
        if stage["state"] != _FINISHED:
            return f"{stage['stage']} {stage['state']}"
    return _READY
