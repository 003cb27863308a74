#!/bin/sh
# Starts the demonstration plant; CHECK=1, RESET=1 and RECORDINGS=folder, BROKER=embedded come from the environment.
set -eu
cd "$(dirname "$0")/../.."
deploy/dev/environment.sh
deploy/dev/broker.sh
set --
[ -z "${CHECK:-}" ] || set -- "$@" --check
[ -z "${RESET:-}" ] || set -- "$@" --reset
[ -z "${RECORDINGS:-}" ] || set -- "$@" --recordings "$RECORDINGS"
[ -z "${BROKER:-}" ] || set -- "$@" --broker "$BROKER"
exec "${VENV:-.venv}/bin/python" -m deploy.demo "$@"
