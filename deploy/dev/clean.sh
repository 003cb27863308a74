#!/bin/sh
# Removes what the other targets have made; settings, locks and recordings stay.
set -eu
cd "$(dirname "$0")/../.."
rm -rf "${VENV:-.venv}" .venv-nightly build dist bench demo-plant demo-plant-check undertone.egg-info \
    .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
find . -name __pycache__ -type d -prune -exec rm -rf {} +
