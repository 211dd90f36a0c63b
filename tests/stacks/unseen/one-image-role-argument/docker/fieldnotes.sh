#!/bin/bash
set -euo pipefail

role=${1:-serve}
shift || true

case "$role" in
  serve)
    exec gunicorn fieldnotes.wsgi:application -b :8888 --timeout 45 "$@" ;;
  consume)
    q=${1:?queue}; shift
    exec celery -A fieldnotes.queue worker -Q "$q" -n "$q@%h" --without-gossip "$@" ;;
  tick)
    exec celery -A fieldnotes.queue beat --schedule /tmp/tick.db "$@" ;;
  upgrade)
    ./manage.py migrate --noinput
    ./manage.py sync_permissions ;;
  manage)
    exec ./manage.py "$@" ;;
  *)
    exec "$role" "$@" ;;
esac
