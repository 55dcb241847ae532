"""The kinds of files that clips are read from, by their endings. Nothing heavy is loaded here."""

from __future__ import annotations

NPZ = ".npz"  # ours, or a FLAME sequence
TABLES = (".csv", ".tsv", ".txt")  # of Live Link Face
JSON = (".json", ".jsonl", ".ndjson")  # of ARKit's names

WANTED = f"a {NPZ}, {TABLES[0]} or {JSON[0]} file"
HELP = f"A clip{NPZ}, a Live Link Face {TABLES[0]}, ARKit {JSON[0]} or {JSON[1]}, a FLAME {NPZ}, or ours: speech"
