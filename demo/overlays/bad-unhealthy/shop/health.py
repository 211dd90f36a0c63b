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


def check_search() -> None:
    # Nobody has started the new search service in production.
    raise ConnectionError("search: no address for host search")


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    for check in (check_database, check_broker, check_search):
        try:
            check()
        except Exception as error:
            log.warning("health: %s: %s", check.__name__, error)
            return JsonResponse({"status": "error", "version": VERSION}, status=500)
    return JsonResponse({"status": "ok", "version": VERSION})
