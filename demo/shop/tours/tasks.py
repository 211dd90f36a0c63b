# SPDX-License-Identifier: GPL-3.0-or-later
import time
from datetime import UTC, datetime

from celery import Task, shared_task
from django.conf import settings

from .models import Heartbeat, OrderConfirmation

HEARTBEAT_SECONDS = 2


@shared_task(bind=True)
def confirm_order(self: Task, order_id: int, seconds: float = 0.0) -> None:
    """``seconds``: how long the work takes, as a booking at a slow partner does."""
    time.sleep(seconds)
    OrderConfirmation.objects.create(order_id=order_id, worker=self.request.hostname, version=settings.VERSION)


@shared_task(bind=True)
def heartbeat(self: Task) -> None:
    sent = self.request.get("published_at") or time.time()
    Heartbeat.objects.create(
        at=datetime.fromtimestamp(sent, UTC),
        slot=int(sent // HEARTBEAT_SECONDS),
        version=self.request.get("published_by") or settings.VERSION,
    )
