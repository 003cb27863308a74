#!/bin/sh
# Installs one Debian package as root, without ever starting a service of it; fails quietly where that cannot be done.
set -eu
package=$1
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || exit 1
export DEBIAN_FRONTEND=noninteractive
guard=/usr/sbin/policy-rc.d
if ! [ -e "$guard" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$guard"
    chmod 755 "$guard"
    trap 'rm -f "$guard"' EXIT
    trap 'exit 130' INT TERM
fi
get() {
    timeout 180 apt-get -qq -o DPkg::Lock::Timeout=30 -o Acquire::Retries=1 -o Acquire::http::Timeout=15 "$@" >/dev/null 2>&1
}
get install -y --no-install-recommends "$package" || { get update && get install -y --no-install-recommends "$package"; }
