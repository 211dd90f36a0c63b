#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# A Docker engine that answers, with Compose >= 2.24 and buildx, and the few
# system packages that the beds need. Run again it looks, and does nothing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$root/.cache
compose_wanted=2.24.0
mkdir -p "$cache"

say() { printf 'engine: %s\n' "$*" >&2; }
die() { printf 'engine: %s\n' "$@" >&2; exit 1; }

# ---------------------------------------------------------------- looking
engine_answers() { timeout 20 docker info --format '{{.ServerVersion}}' >/dev/null 2>&1; }

compose_is_new_enough() {
    local have
    have=$(docker compose version --short 2>/dev/null) || return 1
    have=${have#v}
    [ "$(printf '%s\n%s\n' "$compose_wanted" "${have%%[-+~]*}" | sort -V | head -n1)" = "$compose_wanted" ]
}

buildx_works() { docker buildx version >/dev/null 2>&1; }

# package -> what shows that it is there; asked by effect, not by dpkg, so that
# a tool from elsewhere counts too
missing_tools() {
    command -v nft >/dev/null || echo nftables
    command -v git >/dev/null || echo git
    command -v age >/dev/null || echo age
    command -v rsync >/dev/null || echo rsync
    command -v curl >/dev/null || echo curl
    command -v ssh-keygen >/dev/null || echo openssh-client
    command -v shellcheck >/dev/null || echo shellcheck
    command -v mmdebstrap >/dev/null || echo mmdebstrap
    command -v iptables >/dev/null || echo iptables
    command -v ip >/dev/null || echo iproute2
    command -v ps >/dev/null || echo procps
    command -v msgfmt >/dev/null || echo gettext
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || echo debian-archive-keyring
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

# ---------------------------------------------------------------- installing
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

apt_refreshed=
apt_install() {
    local log=$cache/apt.log
    if [ -z "$apt_refreshed" ]; then
        as_root apt-get update -q >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "apt-get update failed (whole log: .cache/apt.log)"; }
        apt_refreshed=1
    fi
    say "installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" \
        >>"$log" 2>&1 </dev/null || { tail -n 20 "$log" >&2; die "apt-get could not install $* (whole log: .cache/apt.log)"; }
}

# Debian 12 has no Compose v2: its packages come from Debian 13, pinned so low
# that nothing else on the machine ever moves there.
offer_trixie() {
    local list=/etc/apt/sources.list.d/evenkeel-trixie.sources
    [ -e "$list" ] && return
    as_root tee /etc/apt/preferences.d/evenkeel-trixie >/dev/null <<'PIN'
Package: *
Pin: release n=trixie*
Pin-Priority: 100
PIN
    as_root tee "$list" >/dev/null <<'SOURCES'
Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
    apt_refreshed=
}

id_and_version() (
    # shellcheck source=/dev/null
    . /etc/os-release
    printf '%s-%s' "${ID:-unknown}" "${VERSION_ID:-}"
)

# The parts that are missing, one word each: engine, compose, buildx
install_docker() {
    local release packages=() part
    release=$(id_and_version)
    for part in "$@"; do
        case $release:$part in
            debian-12:engine) packages+=(docker.io/trixie docker-cli/trixie iptables) ;;
            debian-12:compose) packages+=(docker-compose/trixie docker-cli/trixie) ;;
            debian-12:buildx) packages+=(docker-buildx/trixie docker-cli/trixie) ;;
            debian-13:engine) packages+=(docker.io docker-cli iptables) ;;
            debian-13:compose) packages+=(docker-compose) ;;
            debian-13:buildx) packages+=(docker-buildx) ;;
            ubuntu-22.04:engine | ubuntu-24.04:engine) packages+=(docker.io iptables) ;;
            ubuntu-22.04:compose | ubuntu-24.04:compose) packages+=(docker-compose-v2) ;;
            ubuntu-22.04:buildx | ubuntu-24.04:buildx) packages+=(docker-buildx) ;;
            *) die "this machine ($release) misses: $*" \
                "install Docker Engine, Compose >= $compose_wanted and buildx as your distribution or" \
                "https://docs.docker.com/engine/install/ says, start the engine, and run this again" ;;
        esac
    done
    [ "${release}" = debian-12 ] && offer_trixie
    apt_install "${packages[@]}"
}

# A docker client from elsewhere may be first in PATH and may not look where
# the distribution puts plugins: then show it the way.
link_plugin() {
    local name=$1 dir
    for dir in /usr/libexec/docker/cli-plugins /usr/lib/docker/cli-plugins; do
        [ -x "$dir/$name" ] || continue
        mkdir -p "${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins"
        ln -sfn "$dir/$name" "${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins/$name"
        return
    done
}

# ---------------------------------------------------------------- starting
start_engine() {
    if [ "$(cat /proc/1/comm)" = systemd ]; then
        as_root systemctl start docker
        rm -f "$cache/dockerd.log"
    else
        # no init to ask: our own child, remembered by pid and start time so
        # that `make clean` ends this very process and no other
        say "starting dockerd (log: .cache/dockerd.log)"
        # iptables and friends live in sbin, which a plain user's PATH may lack
        as_root env PATH="$PATH:/usr/sbin:/sbin" setsid dockerd >"$cache/dockerd.log" 2>&1 </dev/null &
    fi
    local _
    for _ in $(seq 120); do
        if engine_answers; then
            remember_engine
            return
        fi
        sleep 0.5
    done
    [ -e "$cache/dockerd.log" ] && tail -n 20 "$cache/dockerd.log" >&2
    die "dockerd was started and did not answer \`docker info\` for 60 s"
}

remember_engine() {
    local pid
    # systemd's is not ours to end
    [ -e "$cache/dockerd.log" ] || return 0
    pid=$(cat /run/docker.pid 2>/dev/null || cat /var/run/docker.pid 2>/dev/null) || return 0
    printf '%s %s\n' "$pid" "$(cut -d' ' -f22 "/proc/$pid/stat")" >"$cache/engine.pid"
}

# ---------------------------------------------------------------- the work
if docker info 2>&1 | grep -qi 'permission denied'; then
    die "an engine is there, but $(id -un) may not use it: add the user to the group docker, log in again, and run this again"
fi

mapfile -t tools < <(missing_tools)
if [ "${#tools[@]}" -gt 0 ]; then
    command -v apt-get >/dev/null || die "please install: ${tools[*]}"
    apt_install "${tools[@]}"
fi

parts=()
engine_answers || command -v dockerd >/dev/null || parts+=(engine)
compose_is_new_enough || parts+=(compose)
buildx_works || parts+=(buildx)
[ "${#parts[@]}" -eq 0 ] || install_docker "${parts[@]}"

compose_is_new_enough || link_plugin docker-compose
buildx_works || link_plugin docker-buildx
compose_is_new_enough || die "Compose >= $compose_wanted is needed; \`docker compose version\` says: $(docker compose version 2>&1 | head -n1)"
buildx_works || die "\`docker buildx version\` does not work with $(command -v docker)"

engine_answers || start_engine
say "$(docker version --format 'engine {{.Server.Version}}, client {{.Client.Version}}'), compose $(docker compose version --short), $(docker buildx version | cut -d' ' -f2)"
