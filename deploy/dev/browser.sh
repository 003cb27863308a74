#!/bin/sh
# Sees to chromium where it can be had; tests of the screen and screenshots need it, nothing else does.
set -eu
cd "$(dirname "$0")/../.."
if ! command -v chromium >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    deploy/dev/system_package.sh chromium || true
fi
if command -v chromium >/dev/null 2>&1; then
    echo "browser: $(command -v chromium)" >&2
else
    echo "browser: none; tests of the screen are skipped (apt install chromium)" >&2
fi
