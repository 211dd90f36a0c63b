#!/bin/sh
set -e
rm -f /tmp/almanac.pid
exec celery -A pressmark beat -l INFO -S django_celery_beat.schedulers:DatabaseScheduler --pidfile /tmp/almanac.pid
