#!/bin/bash
set -e
python wait_for.py database broker

if [ "$SUITE_MODULE" = "panel" ]; then
    python manage.py migrate --noinput
    python manage.py collectstatic --noinput
    uwsgi --http-socket :8000 --ini uwsgi.conf
elif [ "$SUITE_MODULE" = "rest" ]; then
    uwsgi --http-socket :8001 --ini uwsgi.conf
elif [ "$SUITE_MODULE" = "live" ]; then
    daphne -b 0.0.0.0 -p 8002 suite.routing:application
elif [ "$SUITE_MODULE" = "celery" ]; then
    celery -A suite worker -l info -Q "$CELERY_QUEUES" --hostname "crunch@%h"
elif [ "$SUITE_MODULE" = "celerybeat" ]; then
    rm -f celerybeat.pid
    celery -A suite beat -l info
else
    echo "no such module: $SUITE_MODULE" >&2
    exit 64
fi
