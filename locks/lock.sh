#!/bin/sh
# Rewrites the lock files from pyproject.toml. The files name packages and hashes, never a host.
set -eu
cd "$(dirname "$0")/.."
command -v uv >/dev/null || { echo "lock: the program uv is needed (pip install uv)" >&2; exit 2; }
compile() { # OUTPUT ARGUMENT...
    output=$1; shift
    uv pip compile "$@" --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --quiet --output-file "locks/$output.txt"
    if grep -nE '^ *(--(extra-)?index-url|--find-links|-i |-f )|://' "locks/$output.txt"; then
        echo "lock: locks/$output.txt names a host, see above" >&2
        exit 1
    fi
}
lock() { # NAME EXTRA...
    name=$1; shift
    extras=""; for extra in "$@"; do extras="$extras --extra $extra"; done
    # shellcheck disable=SC2086
    compile "$name" pyproject.toml $extras
}
lock gateway gateway
lock aggregator aggregator
lock dashboard dashboard
lock sim sim
lock all gateway aggregator dashboard sim dev
lock simulation gateway aggregator simulation
lock foundry gateway aggregator dashboard sim dev foundry
lock nightly gateway aggregator dashboard sim dev foundry simulation
sed -n 's/^requires = \["\(.*\)"\]$/\1/p' pyproject.toml > locks/.build.in
compile build locks/.build.in
rm locks/.build.in
