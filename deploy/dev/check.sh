#!/bin/sh
# Format, lint, types, imports, in this order; quiet when good.
set -eu
cd "$(dirname "$0")/../.."
deploy/dev/environment.sh
bin=${VENV:-.venv}/bin
quiet() { # WORDS COMMAND...
    words=$1; shift
    if ! output=$("$@" 2>&1); then
        printf '%s\n' "$output" >&2
        echo "check: $words found what is above" >&2
        exit 1
    fi
}
quiet "ruff format (make it so with: ruff format .)" "$bin/ruff" format --check --quiet .
quiet "ruff check" "$bin/ruff" check --quiet .
quiet "mypy" "$bin/mypy" --no-error-summary
quiet "mypy of deploy and benchmarks" "$bin/mypy" --no-error-summary --explicit-package-bases deploy/demo benchmarks
quiet "the import contracts" "$bin/lint-imports"
echo "check: format, lint, types and imports are good" >&2
