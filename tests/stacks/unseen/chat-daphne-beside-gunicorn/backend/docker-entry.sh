#!/usr/bin/env bash
set -eu
python wait_for_mysql.py
if [ "$1" = gunicorn ]; then
    python manage.py migrate --noinput
fi
exec "$@"
