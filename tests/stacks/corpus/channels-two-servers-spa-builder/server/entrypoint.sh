#!/usr/bin/env bash
set -e
until pg_isready -q -h database -U "$POSTGRES_USER"; do sleep 1; done
if [ "$1" = gunicorn ]; then
    python manage.py migrate --noinput
fi
exec "$@"
