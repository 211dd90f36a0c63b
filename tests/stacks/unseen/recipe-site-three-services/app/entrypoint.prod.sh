#!/bin/sh
until nc -z "$SQL_HOST" "$SQL_PORT"; do
  echo "no database yet"
  sleep 0.5
done

python manage.py migrate --noinput
python manage.py collectstatic --noinput

exec "$@"
