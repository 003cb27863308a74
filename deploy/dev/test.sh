#!/bin/sh
# Checks, builds the wheel, and runs the tests against the wheel: what is tested is what gets installed.
set -eu
cd "$(dirname "$0")/../.."
which="not nightly"
if [ "${1:-}" = nightly ]; then # with JAX and Ray, in an environment of its own: `make test` goes on without them
    which="nightly or foundry"
    export VENV="${VENV:-.venv-nightly}" LOCK=nightly
fi
deploy/dev/environment.sh
deploy/dev/broker.sh
deploy/dev/browser.sh
deploy/dev/check.sh
python=$(pwd)/${VENV:-.venv}/bin/python
tested=$(pwd)/build/tested
rm -rf build/lib build/bdist.* build/wheel "$tested"
mkdir -p "$tested/support"
pip() { "$python" -m pip --disable-pip-version-check "$@" >>build/environment.log 2>&1 || { tail -n 15 build/environment.log >&2; exit 1; }; }
pip wheel --no-deps --no-build-isolation --wheel-dir build/wheel .
pip install --no-deps --no-compile --target "$tested/site" build/wheel/undertone-*.whl
rm -rf build/lib build/bdist.*
for name in tests deploy benchmarks; do ln -s "../../../$name" "$tested/support/$name"; done  # and no package of the wheel's
echo "test: $(cd build/wheel && echo *.whl)" >&2
export PYTHONPATH="$tested/site:$tested/support" PYTHONSAFEPATH=1
# A worker for each core; one file stays with one worker.
exec "$python" -m pytest --import-mode=importlib -m "$which" -q -n auto --dist loadfile --maxprocesses 4
