#!/bin/sh
# Rewrites the lock files from pyproject.toml. The files name packages and hashes, never a host.
set -eu
cd "$(dirname "$0")/.."
lock() { # NAME EXTRA...
    name=$1; shift
    extras=""; for extra in "$@"; do extras="$extras --extra $extra"; done
    # shellcheck disable=SC2086
    uv pip compile pyproject.toml $extras --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --quiet --output-file "locks/$name.txt"
}
lock gateway gateway
lock aggregator aggregator
lock dashboard dashboard
lock sim sim
lock all gateway aggregator dashboard sim dev
lock foundry gateway aggregator dashboard sim dev foundry
