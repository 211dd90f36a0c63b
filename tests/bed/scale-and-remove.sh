#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The method of docker-rollout in its shortest form, a baseline of `make bench`
# (written anew, not their script): scale to twice as many, wait until the new
# ones are healthy, stop and remove the old ones. Nobody tells nginx.
set -euo pipefail

service=$1
compose=(docker compose -f docker-compose.prod.yml)

mapfile -t old < <("${compose[@]}" ps --quiet "$service")
"${compose[@]}" up --detach --no-recreate --scale "$service=$((2 * ${#old[@]}))" "$service"
mapfile -t new < <("${compose[@]}" ps --quiet "$service" | grep -vxF -f <(printf '%s\n' "${old[@]}"))

for _ in $(seq 60); do
    healthy=$(docker inspect --format '{{.State.Health.Status}}' "${new[@]}" | grep -cx healthy || true)
    [ "$healthy" -lt "${#new[@]}" ] || break
    sleep 1
done
if [ "$healthy" -lt "${#new[@]}" ]; then
    echo "the new containers do not become healthy: going back" >&2
    docker stop "${new[@]}"
    docker rm "${new[@]}"
    exit 1
fi

docker stop "${old[@]}"
docker rm "${old[@]}"
