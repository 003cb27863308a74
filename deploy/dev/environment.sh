#!/bin/sh
# Makes the virtual environment VENV from the lock file LOCK and installs this checkout into it; once per change of either.
set -eu
cd "$(dirname "$0")/../.."
venv=${VENV:-.venv}
lock=locks/${LOCK:-all}.txt
log=build/environment.log

say() { echo "environment: $*" >&2; }

find_python() {
    for candidate in "${PYTHON:-}" python3.11 python3 python3.12 python3.13; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    say "no Python from 3.11 on is found; install it (Debian: apt install python3 python3-venv), or set PYTHON"
    exit 2
}

require_venv_module() {
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then return; fi
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && deploy/dev/system_package.sh "$package"; then return; fi
    say "$python cannot make virtual environments; run: apt install $package"
    exit 2
}

key_of() { # FILE...: what the files hold, by which Python, and where
    { "$python" --version 2>&1; pwd; echo "$venv"; cat "$@"; } | sha256sum | cut -d' ' -f1
}

stamped() { [ "$(cat "$venv/.$1" 2>/dev/null)" = "$2" ]; }

install() { # WORDS PIP_ARGUMENT...
    words=$1; shift
    say "$words"
    if ! "$venv/bin/python" -m pip --disable-pip-version-check install --quiet "$@" >>"$log" 2>&1; then
        tail -n 15 "$log" >&2
        say "$words failed; the lines above say why, all of it is in $log"
        exit 1
    fi
}

python=$(find_python)
dependencies=$(key_of "$lock" locks/build.txt)
project=$(key_of pyproject.toml)
if stamped dependencies "$dependencies" && stamped project "$project"; then exit 0; fi

mkdir -p build
: >"$log"
if ! [ -x "$venv/bin/python" ] || ! grep -qF "$(pwd)/$venv" "$venv/bin/activate" 2>/dev/null; then
    require_venv_module
    say "making $venv with $("$python" --version)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
stamped dependencies "$dependencies" ||
    install "installing what $lock lists, each file by its hash (once, some minutes)" \
        --require-hashes -r "$lock" -r locks/build.txt
install "installing this checkout" --no-deps --no-build-isolation --editable .
echo "$dependencies" >"$venv/.dependencies"
echo "$project" >"$venv/.project"
