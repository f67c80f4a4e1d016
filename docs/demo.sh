#!/usr/bin/env bash
# The main job on the embedded digits: condense, measure in and out of domain, show as a table and as a page.
# Everything goes to ./demo.
set -euo pipefail
export SATM_HOME="$PWD/demo/home" SATM_REGISTRY="$PWD/demo/satm.db"
mkdir -p demo
show() { printf '\n$ %s\n' "$*"; "$@"; }
show satm condense digits --ipc 1 --profile cpu --grid demo/digits.png
show satm eval --baseline random
show satm eval-arch --arch alexnet --arch convnet4 --recipe smoke
show satm eval-cl --steps 5 --orders 2
show satm results
show satm report --output demo/report.html
