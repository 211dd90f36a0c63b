#!/bin/bash
set -e
python manage.py wait_for_db
python manage.py wait_for_migrations
python manage.py register_instance "$(hostname)"
python manage.py clear_cache
exec gunicorn -w "$GUNICORN_WORKERS" -k uvicorn.workers.UvicornWorker trail.asgi:application --bind 0.0.0.0:"${PORT:-8000}" --max-requests 1200 --access-logfile -
