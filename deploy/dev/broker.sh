#!/bin/sh
# Sees to mosquitto where it can be had, and says on one line which broker will serve.
set -eu
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
if ! command -v mosquitto >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    deploy/dev/system_package.sh mosquitto || true
fi
if command -v mosquitto >/dev/null 2>&1; then
    echo "broker: mosquitto ($(command -v mosquitto)), certificates and access lists" >&2
else
    echo "broker: embedded, loopback only; mosquitto is not installed (apt install mosquitto gives certificates)" >&2
fi
