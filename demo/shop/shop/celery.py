# SPDX-License-Identifier: GPL-3.0-or-later
import os
import time
from typing import Any

from celery import Celery
from celery.signals import before_task_publish

from .version import VERSION

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@before_task_publish.connect
def stamp(headers: dict[str, Any], **_: Any) -> None:
    """Say in the message when it was sent, and by which version."""
    headers["published_at"] = time.time()
    headers["published_by"] = VERSION
