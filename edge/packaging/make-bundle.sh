#!/bin/sh
# Make an agent bundle for `patrol-cloud release add`: ./make-bundle.sh VERSION OUT.tar.zst
# Run it on the platform that it is for. Needs python3 with pip, tar and zstd. PACKAGE names what is packed.
set -eu
[ $# = 2 ] || { echo "usage: $0 VERSION OUT.tar.zst" >&2; exit 2; }
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
python3 -m pip install --quiet --no-compile --target "$tree/lib" "${PACKAGE:-patrolgrid[edge]==$1}"
rm -rf "$tree/lib/bin"
mkdir "$tree/bin"
cat >"$tree/bin/patrol-edge" <<'PROGRAM'
#!/usr/bin/env python3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
from edge.__main__ import main

main()
PROGRAM
chmod 755 "$tree/bin/patrol-edge"
has=$(PYTHONPATH="$tree/lib" python3 -c 'import edge; print(edge.VERSION)')
[ "$has" = "$1" ] || { echo "$0: the package says that it is $has, not $1" >&2; exit 1; }
find "$tree" -name __pycache__ -type d -prune -exec rm -rf {} +
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$tree" -cf - bin lib | zstd -q -19 -o "$2"
