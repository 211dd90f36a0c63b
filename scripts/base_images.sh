#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The images that the demo and the beds stand on, where no registry answers too.
# Each carries a stamp of its recipe: what is there and unchanged is left alone.
# usage: base_images.sh [SUITE]; with a suite of Debian's, only the base image of that one.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$root/.cache
requirements=$root/demo/shop/requirements.txt
suite=${1:-trixie}
base=evenkeel/base:$suite
base_recipe=1 # raise it to have the base image made anew
mkdir -p "$cache"

say() { printf 'images: %s\n' "$*" >&2; }
die() { printf 'images: %s\n' "$@" >&2; exit 1; }

stamp_of() { docker image inspect --format '{{index .Config.Labels "evenkeel.stamp"}}' "$1" 2>/dev/null || true; }
id_of() { docker image inspect --format '{{.Id}}' "$1" 2>/dev/null || true; }

# names and contents of the files in a folder
fingerprint() (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum)

run_logged() {
    local log=$cache/images.log
    "$@" >"$log" 2>&1 </dev/null || { tail -n 30 "$log" >&2; die "failed: $1 ${2:-} (whole log: .cache/images.log)"; }
}

# A registry that does not answer at once is no registry: a wait here would be
# paid on every fresh machine without one.
pull_base() {
    local image=debian:$suite-slim
    timeout 8 docker manifest inspect "$image" >/dev/null 2>&1 || return 1
    # noted if it was not there before, for `make clean`
    [ -n "$(id_of "$image")" ] || echo "$image" >>"$cache/pulled"
    timeout 300 docker pull -q "$image" >/dev/null 2>&1 || return 1
    printf 'FROM %s\n' "$image" |
        docker build -q --label evenkeel.base=1 --label "evenkeel.stamp=$1" -t "$base" - >/dev/null
}

make_base() {
    local tar=$cache/base-$suite.tar
    say "no registry answers: $base from Debian packages"
    # as in the official image: no services started at installation, no man
    # pages, no package archives and caches kept in a layer
    # shellcheck disable=SC2016  # $1 is mmdebstrap's
    run_logged mmdebstrap --variant=minbase --components=main \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --aptopt='Acquire::Languages "none"' \
        --customize-hook='printf "#!/bin/sh\nexit 101\n" >"$1/usr/sbin/policy-rc.d" && chmod 755 "$1/usr/sbin/policy-rc.d"' \
        --customize-hook='printf "%s\n" "DPkg::Post-Invoke { \"rm -f /var/cache/apt/archives/*.deb\"; };" "Dir::Cache::pkgcache \"\"; Dir::Cache::srcpkgcache \"\";" >"$1/etc/apt/apt.conf.d/docker-clean"; rm -f "$1"/var/cache/apt/*.bin' \
        "$suite" "$tar" \
        "deb http://deb.debian.org/debian $suite main" \
        "deb http://deb.debian.org/debian $suite-updates main" \
        "deb http://deb.debian.org/debian-security $suite-security main"
    run_logged docker import --change 'CMD ["bash"]' --change 'LABEL evenkeel.base=1' \
        --change "LABEL evenkeel.stamp=$1" "$tar" "$base"
    rm -f "$tar"
}

# image, folder, stamp, then further arguments of docker build
build() {
    local image=$1 folder=$2 stamp=$3 before
    shift 3
    before=$(id_of "$image")
    say "building $image"
    run_logged docker build --label evenkeel.base=1 --label "evenkeel.stamp=$stamp" \
        -t "$image" "$@" "$root/demo/images/$folder"
    [ "$before" = "$(id_of "$image")" ] || stale+=("$before")
}

# What the shop asks for; its names alone while nobody has written the file.
wanted_packages() {
    if [ -e "$requirements" ]; then
        cat "$requirements"
    else
        printf '%s\n' 'Django~=5.2.0' gunicorn celery redis 'psycopg[binary]'
    fi
}

host_python() {
    if [ -x "$root/.venv/bin/pip" ]; then
        echo "$root/.venv/bin/python"
    elif python3 -m pip --version >/dev/null 2>&1; then
        echo python3
    else
        [ -x "$cache/pip/bin/pip" ] || run_logged python3 -m venv "$cache/pip"
        echo "$cache/pip/bin/python"
    fi
}

# Fetched on the host for the image's Python and for this machine's processor.
fetch_wheels() {
    local dir=$1 machine
    [ -e "$dir/.complete" ] && return
    machine=$(uname -m)
    rm -rf "$cache/wheels"
    mkdir -p "$dir"
    wanted_packages >"$cache/wheels/requirements.txt"
    say "PyPI is out of a container's reach: fetching wheels on the host"
    run_logged "$(host_python)" -m pip download -q --only-binary=:all: \
        --python-version 3.13 --implementation cp --abi cp313 --abi abi3 --abi none \
        --platform "manylinux2014_$machine" --platform "manylinux_2_17_$machine" --platform "manylinux_2_28_$machine" \
        --dest "$dir" -r "$cache/wheels/requirements.txt"
    touch "$dir/.complete"
}

# Asked by doing it: a proxy that rewrites TLS is met only on the way.
container_reaches_pypi() {
    local probe=evenkeel-pypi-probe-$$ status=0
    timeout 30 docker run --rm --name "$probe" --label evenkeel.bed=images "$1" \
        pip download -q --no-deps --retries 0 --timeout 8 --dest /tmp sqlparse >/dev/null 2>&1 || status=1
    # a client that timed out leaves its container behind
    docker rm -f "$probe" >/dev/null 2>&1 || true
    return "$status"
}

build_python() {
    local image=$1 stamp=$2 wheels
    build "$image" python "$stamp" --target online
    container_reaches_pypi "$image" && return
    wheels=$cache/wheels/$(wanted_packages | sha256sum | cut -c1-16)
    fetch_wheels "$wheels"
    build "$image" python "$stamp" --target offline --build-context "wheels=$wheels"
}

# ---------------------------------------------------------------- the work
stale=()
stamp=recipe-$base_recipe
if [ "$(stamp_of "$base")" != "$stamp" ]; then
    stale+=("$(id_of "$base")")
    pull_base "$stamp" || make_base "$stamp"
fi
base_id=$(id_of "$base")

images=(python:3.13 postgres:17 redis:8 nginx:1.26)
[ "$suite" = trixie ] || images=()
for image in "${images[@]}"; do
    name=${image%:*}
    stamp=$({
        echo "$base_id"
        fingerprint "$root/demo/images/$name"
        if [ "$name" = python ]; then wanted_packages; fi
    } | sha256sum | cut -c1-32)
    [ "$(stamp_of "evenkeel/$image")" = "$stamp" ] && continue
    case $name in
        python) build_python "evenkeel/$image" "$stamp" ;;
        *) build "evenkeel/$image" "$name" "$stamp" ;;
    esac
done

# What was replaced goes, by id and only if nothing uses it: a prune would take
# the shop's untagged images too, for they inherit our labels.
for id in "${stale[@]}"; do
    [ -z "$id" ] || docker rmi "$id" >/dev/null 2>&1 || true
done
[ "$suite" != trixie ] || touch "$cache/engine-ready"
