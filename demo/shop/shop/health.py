# SPDX-License-Identifier: GPL-3.0-or-later
"""GET /health/: can this process reach what it needs?"""

import logging

import redis
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from .version import VERSION

log = logging.getLogger(__name__)
broker = redis.Redis.from_url(settings.CELERY_BROKER_URL, socket_connect_timeout=2, socket_timeout=2)


def check_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def check_broker() -> None:
    broker.ping()


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    for name, check in (("database", check_database), ("broker", check_broker)):
        try:
            check()
        except Exception as error:
            log.warning("health: %s: %s", name, error)
            return JsonResponse({"status": f"no {name}", "version": VERSION}, status=503)
    return JsonResponse({"status": "ok", "version": VERSION})
