"""The kinds of files that clips are read from, by their endings. Nothing heavy is loaded here."""

from __future__ import annotations

NPZ = ".npz"  # ours, or a FLAME sequence
TABLES = (".csv", ".tsv", ".txt")  # of Live Link Face
JSON = (".json", ".jsonl", ".ndjson")  # of ARKit's names
# What is taken for a clip by mistake: what a clip can be made of.
VIDEOS = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v")
SOUNDS = (".wav", ".mp3", ".m4a", ".flac", ".ogg", ".opus", ".aac")

WANTED = f"a {NPZ}, {TABLES[0]} or {JSON[0]} file"
HELP = f"A clip{NPZ}, a Live Link Face {TABLES[0]}, ARKit {JSON[0]} or {JSON[1]}, a FLAME {NPZ} (experimental), or ours: speech"


def why_no_clip(suffix: str) -> str:
    """Why a file with this ending (`.mp4`) is no clip, and what makes one of it."""
    if suffix in VIDEOS:
        return "a video is no clip: use `avatar animate --video`, or make a clip of it with `avatar track`"
    if suffix in SOUNDS:
        return "a sound is no clip: use `avatar animate --audio`, or make a clip of it with `avatar clip speech`"
    return f"unknown kind of clip; want {WANTED}"
