#!/bin/sh
# Runs the benchmarks: all, or ONLY=name.
set -eu
cd "$(dirname "$0")/../.."
deploy/dev/environment.sh
deploy/dev/broker.sh
if ! command -v mosquitto_sub >/dev/null 2>&1; then deploy/dev/system_package.sh mosquitto-clients || true; fi
exec "${VENV:-.venv}/bin/python" -m benchmarks.run ${ONLY:+--only "$ONLY"}
