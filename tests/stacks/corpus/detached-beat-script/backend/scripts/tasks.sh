#!/bin/sh
# starts the queue named in $1; the clock was added here when reports came
set -eu
rm -f /tmp/beat.pid
celery -A turnstile.tasks beat --detach --pidfile /tmp/beat.pid -s /tmp/beat.db --logfile /proc/1/fd/1
exec celery -A turnstile.tasks worker -Q "$1" -l warning --concurrency 4
