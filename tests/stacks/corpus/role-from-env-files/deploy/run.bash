#!/usr/bin/env bash
set -e

role=${CONTAINER_ROLE:-app}

if [ "$role" = "app" ]; then
    flask db upgrade
    exec gunicorn --bind :9000 --threads 8 harbourlog.wsgi:app
elif [ "$role" = "queue" ]; then
    exec celery --app harbourlog.tasks worker --queues "${QUEUE_NAMES:-celery}" --concurrency 2
elif [ "$role" = "schedule" ]; then
    exec celery --app harbourlog.tasks beat --schedule /tmp/beat-schedule
else
    echo "unknown role $role" >&2
    exit 64
fi
