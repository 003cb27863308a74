#!/bin/sh
# Starts the demonstration plant, waits for its alarm, and takes the pictures of the README.
set -eu
cd "$(dirname "$0")/../.."
deploy/dev/environment.sh
deploy/dev/broker.sh
deploy/dev/browser.sh
exec "${VENV:-.venv}/bin/python" -m deploy.demo --screenshots docs/images
