#!/bin/bash -e
python infra/wait.py pg:5432 redis:6379
case "$*" in
  gunicorn*) flock /tmp/migrate python manage.py migrate --noinput ;;
esac
exec "$@"
