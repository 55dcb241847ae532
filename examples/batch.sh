#!/usr/bin/env bash
# An avatar, an orbit video and a contact sheet of every photo in a folder.
# Usage: examples/batch.sh PHOTOS OUT [further options of `avatar create`, such as --preset draft --jobs 4]
set -euo pipefail

photos=${1:?the folder with the photos}
out=${2:?the folder for the results}
shift 2

mkdir -p "$out"
export AVATAR_WORKSPACE="$out/avatars"
shopt -s nullglob nocaseglob
files=("$photos"/*.{jpg,jpeg,png,webp,heic})
[ ${#files[@]} -gt 0 ] || { echo "no photos in $photos" >&2; exit 1; }

# One bad photo does not stop the others: create goes on and says at the end which failed.
status=0
avatar create "${files[@]}" "$@" || status=$?

for folder in "$AVATAR_WORKSPACE"/*/; do
  name=$(basename "$folder")
  [ -f "$folder/distill/avatar.safetensors" ] || continue
  avatar render --subject "$name" --orbit 360 -o "$out/$name.mp4"
  avatar render --subject "$name" --sheet --size 256 -o "$out/$name-sheet.png"
done
exit "$status"
