python manage.py migrate --noinput
exec gunicorn ferry.wsgi -b :8000 --workers 2 --preload
