#!/bin/bash
set -euo pipefail

role="${1:-web}"
shift || true

case "$role" in
  web)
    exec gunicorn quill.wsgi --bind 0.0.0.0:8000 --workers "${WEB_PROCESSES:-2}" --max-requests 2000
    ;;
  websocket)
    exec uvicorn quill.asgi:application --host 0.0.0.0 --port 8001 --no-access-log
    ;;
  celery-worker)
    exec celery -A quill worker -Q "${1:-default}" -l info --without-gossip
    ;;
  celery-beat)
    exec celery -A quill beat -S redbeat.RedBeatScheduler -l info
    ;;
  migrate)
    django-admin migrate --noinput
    django-admin search_setup
    ;;
  shell)
    exec django-admin shell
    ;;
  *)
    exec "$role" "$@"
    ;;
esac
