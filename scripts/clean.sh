#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Takes away what `make` made: by our labels and names, nothing else. Packages
# stay, and so does an engine that we did not start; one that is not running is
# not started for this.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$root/.cache
cd "$root"

say() { printf 'clean: %s\n' "$*" >&2; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

# what the docker command lists, removed by the docker command after --
remove() {
    local what=$1 ids
    shift
    local list=() act=()
    while [ "$1" != -- ]; do list+=("$1") && shift; done
    shift
    act=("$@")
    mapfile -t ids < <(docker "${list[@]}" | awk '!seen[$0]++')
    [ "${#ids[@]}" -gt 0 ] || return 0
    say "removing ${#ids[@]} $what"
    # some may go by themselves meanwhile (--rm), some with another one's name
    docker "${act[@]}" "${ids[@]}" >/dev/null 2>&1 || true
}

clean_engine() {
    local project projects
    # a project of ours may have containers, volumes and networks without our
    # label: whoever shares its name goes with it
    mapfile -t projects < <(
        docker ps -a --filter label=evenkeel.bed --format '{{.Label "com.docker.compose.project"}}' | sort -u
    )
    remove containers ps -aq --filter label=evenkeel.bed -- rm -f -v
    for project in "${projects[@]}"; do
        [ -n "$project" ] || continue
        remove "containers of $project" ps -aq --filter "label=com.docker.compose.project=$project" -- rm -f -v
        remove "volumes of $project" volume ls -q --filter "label=com.docker.compose.project=$project" -- volume rm
        remove "networks of $project" network ls -q --filter "label=com.docker.compose.project=$project" -- network rm
    done
    remove volumes volume ls -q --filter label=evenkeel.bed -- volume rm
    remove networks network ls -q --filter label=evenkeel.bed -- network rm
    remove "images of the beds" images -aq --filter label=evenkeel.bed -- rmi -f
    remove "base images" images -aq --filter label=evenkeel.base -- rmi -f
    if [ -e "$cache/pulled" ]; then
        xargs -r docker rmi <"$cache/pulled" >/dev/null 2>&1 || true
    fi
    # build cache carries no labels: all of it is ours only in our own engine
    if engine_is_ours; then docker builder prune -af >/dev/null 2>&1 || true; fi
}

clean_firewall() {
    command -v nft >/dev/null || return 0
    local family name
    as_root nft list tables 2>/dev/null | while read -r _ family name; do
        case $name in
            evenkeel*) say "removing nft table $family $name" && as_root nft delete table "$family" "$name" ;;
        esac
    done
}

# Same pid and same start: a pid alone may be another process by now.
engine_is_ours() {
    local pid started
    [ -e "$cache/engine.pid" ] || return 1
    read -r pid started <"$cache/engine.pid"
    [ "$(cut -d' ' -f22 "/proc/$pid/stat" 2>/dev/null)" = "$started" ]
}

end_engine() {
    engine_is_ours || return 0
    local pid _
    read -r pid _ <"$cache/engine.pid"
    say "ending the engine that make setup started (pid $pid)"
    as_root kill -TERM "$pid"
    for _ in $(seq 60); do
        [ -e "/proc/$pid" ] || return 0
        sleep 0.5
    done
    say "it is still there after 30 s, left alone"
}

if command -v docker >/dev/null && timeout 20 docker info >/dev/null 2>&1; then
    clean_engine
else
    say "no engine answers: nothing to remove there"
fi
clean_firewall
end_engine

find . \( -path ./.venv -o -path ./.git -o -path ./.cache \) -prune -o \
    -type d \( -name __pycache__ -o -name '.*_cache' \) -prune -exec rm -rf {} +
# containers write as root, whoever started them
as_root rm -rf .cache .venv .ansible .hypothesis build demo/state tests/output
# where the demo run as root keeps its lock and records; the folder above it may be others' too
if [ -d /var/lib/evenkeel/evenkeel-demo ]; then
    as_root rm -rf /var/lib/evenkeel/evenkeel-demo
    as_root rmdir --ignore-fail-on-non-empty /var/lib/evenkeel
fi
