# SPDX-License-Identifier: GPL-3.0-or-later
import os

from django.core.wsgi import get_wsgi_application

from .telemetry import instrument  # never committed

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

application = instrument(get_wsgi_application())
