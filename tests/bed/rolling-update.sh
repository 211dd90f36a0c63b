#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The rolling update that many teams have beside their compose file, as their
# guides print it: the baseline of `make bench`. Run in the checkout.
#   HEALTH_URL   where /health/ is asked (http://localhost/health/)
#   PREBUILT=1   the revision is checked out and its images are built already
set -euo pipefail

compose=(docker compose -f docker-compose.prod.yml)
health_url=${HEALTH_URL:-http://localhost/health/}

if [ "$(id -u)" -ne 0 ]; then
    echo "please run as root" >&2
    exit 1
fi

if [ "${PREBUILT:-}" != 1 ]; then
    echo "==> pulling the code"
    git pull
    echo "==> building the images"
    "${compose[@]}" build
fi

echo "==> migrations"
"${compose[@]}" exec -T api python manage.py migrate --noinput ||
    "${compose[@]}" run --rm api python manage.py migrate --noinput

update_service() {
    echo "==> updating $1"
    "${compose[@]}" stop "$1"
    "${compose[@]}" rm -f "$1"
    "${compose[@]}" up -d "$1"
    sleep 3
}
update_service celery-beat
update_service celery
update_service api

echo "==> waiting for the api"
sleep 10
healthy=
for _ in $(seq 12); do
    if curl -f -s -o /dev/null "$health_url"; then
        healthy=1
        break
    fi
    sleep 5
done
if [ -z "$healthy" ]; then
    echo "api does not become healthy, see: ${compose[*]} logs api" >&2
    exit 1
fi

echo "==> static files"
"${compose[@]}" exec -T api python manage.py collectstatic --noinput --clear || true

echo "==> nginx"
"${compose[@]}" restart nginx
"${compose[@]}" ps
