#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The ground for everything else: tools, engine, virtual environment, images.
# Asked again with nothing to do it answers within a second: what it did is
# stamped with the recipes it was done from.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$root/.cache
cd "$root"
mkdir -p "$cache"

say() { printf 'setup: %s\n' "$*" >&2; }
die() { printf 'setup: %s\n' "$@" >&2; exit 1; }

# two at once would build the same images and write the same environment
exec 9>"$cache/setup.lock"
flock -n 9 || { say "another setup is running here, waiting for it"; flock 9; }

stamped() { [ "$(cat "$cache/$1.stamp" 2>/dev/null)" = "$2" ]; }
key_of() { sha256sum "$@" | sha256sum | cut -c1-32; }

# Tools before the environment, since python3-venv is one of them. The whole
# look costs half a second, so between changes only the engine is asked.
engine_key=$(key_of scripts/engine.sh)
if ! { stamped engine "$engine_key" && timeout 5 docker info >/dev/null 2>&1; }; then
    # the lock stays ours: an engine started there must not inherit it
    scripts/engine.sh 9>&-
    echo "$engine_key" >"$cache/engine.stamp"
fi

python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    die "Python >= 3.10 is needed here (targets are content with 3.9); this is $(python3 -V)"

# A moved or copied clone needs its own environment: the scripts in it name its
# folder. A changed list only adds to it, so that whoever works in it can go on.
venv_key=$(pwd)-$(python3 -V)
if ! { stamped venv "$venv_key" && [ -x .venv/bin/python ]; }; then
    rm -f "$cache/tools.stamp"
    python3 -m venv --clear .venv
    echo "$venv_key" >"$cache/venv.stamp"
fi
tools_key=$(key_of requirements-dev.txt)
if ! stamped tools "$tools_key"; then
    say "installing the tools of requirements-dev.txt into .venv (about a minute)"
    .venv/bin/python -m pip install -q --disable-pip-version-check -r requirements-dev.txt \
        >"$cache/pip.log" 2>&1 </dev/null 9>&- || { tail -n 20 "$cache/pip.log" >&2; die "pip failed (whole log: .cache/pip.log)"; }
    echo "$tools_key" >"$cache/tools.stamp"
fi

scripts/base_images.sh 9>&-
