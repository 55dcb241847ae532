"""Rewrite sizes and SHA-256 sums in `weights/manifest.json` from the files beside it.

Licence, source and description stay as they are written there by hand. A file without them makes the script fail, and
so does an entry without a file.

    python scripts/update_weights_manifest.py [weights folder]
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

TEXT_FIELDS = ("licence", "source", "description")
FORMAT_VERSION = 1


def weight_files(root: Path) -> dict[str, Path]:
    """Files below `root` that the manifest must list: all but the manifest itself, cards and hidden files."""
    found = (path for path in sorted(root.rglob("*")) if path.is_file())
    names = {path.relative_to(root).as_posix(): path for path in found}
    return {
        name: path
        for name, path in names.items()
        if name != "manifest.json" and path.suffix != ".md" and not path.name.startswith(".")
    }


def update(root: Path) -> list[str]:
    """Rewrite the manifest of `root`; the problems found, in which case nothing is written."""
    manifest_path = root / "manifest.json"
    entries = json.loads(manifest_path.read_text(encoding="utf-8"))["files"]
    files = weight_files(root)
    problems = [f"{name}: in the manifest, but there is no such file" for name in sorted(set(entries) - set(files))]
    updated = {}
    for name, path in files.items():
        texts = {field: str(entries.get(name, {}).get(field, "")).strip() for field in TEXT_FIELDS}
        problems += [f"{name}: write its {field} into {manifest_path}" for field, text in texts.items() if not text]
        content = path.read_bytes()
        updated[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), **texts}
    if not problems:
        text = json.dumps({"format_version": FORMAT_VERSION, "files": updated}, indent=2, ensure_ascii=False)
        manifest_path.write_text(text + "\n", encoding="utf-8")
    return problems


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "weights"
    problems = update(root)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
