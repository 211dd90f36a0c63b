#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# As many images have it: whoever starts the container migrates and collects, a worker and a one-off too.
set -e
python manage.py migrate --noinput
python manage.py collectstatic --noinput
exec "$@"
