#!/usr/bin/env bash
# Installs the system libraries that MediaPipe needs (libegl1, libgles2) where it may, and prints the command where it may not.
# Usage: scripts/system_libraries.sh PYTHON
set -euo pipefail

missing() { "$1" -c 'from avatarcli.system import missing_libraries; print(*missing_libraries())'; }

packages=$(missing "$1")
[ -z "$packages" ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "MediaPipe needs EGL and GLES (called $packages on Debian): install them with your package manager" >&2
  exit 1
elif [ "$(id -u)" = 0 ]; then
  as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  as_root=(sudo -n)
else
  echo "MediaPipe needs system libraries; run this, then make setup again:" >&2
  echo "  sudo apt-get install -y $packages" >&2
  exit 1
fi
"${as_root[@]}" apt-get update -qq || true # an old package list is often good enough
# shellcheck disable=SC2086  # one word a package
"${as_root[@]}" apt-get install -y --no-install-recommends $packages
[ -z "$(missing "$1")" ]
