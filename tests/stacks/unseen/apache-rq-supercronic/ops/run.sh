set -e
python manage.py collectstatic --noinput
python manage.py migrate
gunicorn --config ops/gunicorn.py cityforms.wsgi
