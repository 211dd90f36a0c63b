#!/bin/sh -e
python manage.py migrate
python manage.py collectstatic --no-input --clear
exec granian --interface wsgi --host 0.0.0.0 --port 8080 --workers 2 herbarium.wsgi:application
