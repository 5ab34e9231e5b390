#!/bin/sh
# Makes target/venv with the Python packages that the tests use: the OpenTelemetry SDK and a gRPC server, from the registry.
# Debian ships venv in a package of its own: as root it is installed (said first), otherwise the command is printed.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
venv=$root/target/venv

say() { echo "python: $*"; }

make_venv() {
    rm -rf "$venv" && python3 -m venv "$venv" >/dev/null 2>&1
}

if ! make_venv; then
    package=python3-venv
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        say "python3 has no venv module; installing Debian's: apt-get install $package"
        apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$package"
        make_venv
    else
        say "python3 has no venv module. This helps: apt-get install $package" >&2
        exit 1
    fi
fi
say "installing $(grep -c == "$root/tests/python/requirements.txt") packages into target/venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$root/tests/python/requirements.txt"
touch "$venv/ready"
