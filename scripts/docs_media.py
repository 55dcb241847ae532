"""Makes the pictures of the README: an orbit and a contact sheet of the example photo.

python scripts/docs_media.py [--workspace FOLDER]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEDIA = ROOT / "docs" / "media"
LARGEST = 3_000_000  # bytes, all pictures together: the README must load quickly


def avatar(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "avatarcli", *arguments], check=True, cwd=ROOT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", default="out/docs", help="where the avatar is made")
    workspace = ("--workspace", parser.parse_args().workspace)
    MEDIA.mkdir(parents=True, exist_ok=True)
    avatar("create", "examples/astronaut.png", *workspace)
    orbit = ("--orbit", "360", "--size", "256", "--fps", "10", "--seconds", "4.8")
    avatar("render", *workspace, *orbit, "-o", str(MEDIA / "orbit.gif"))
    avatar("render", *workspace, "--sheet", "--size", "224", "-o", str(MEDIA / "expressions.png"))
    total = sum(path.stat().st_size for path in MEDIA.iterdir())
    if total > LARGEST:
        sys.exit(f"{MEDIA}: {total / 1e6:.1f} MB of pictures; make them smaller than {LARGEST / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
