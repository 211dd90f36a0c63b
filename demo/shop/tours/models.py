# SPDX-License-Identifier: GPL-3.0-or-later
from django.db import models


class Tour(models.Model):
    name = models.CharField(max_length=100)
    place = models.CharField(max_length=100)
    days = models.PositiveSmallIntegerField()
    price = models.DecimalField(max_digits=8, decimal_places=2)
    summary = models.TextField(blank=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    """One row per accepted POST. The reference is the client's, and may come twice."""

    tour = models.ForeignKey(Tour, on_delete=models.PROTECT, related_name="orders")
    reference = models.CharField(max_length=64, db_index=True)
    email = models.EmailField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.reference


class OrderConfirmation(models.Model):
    """One row per run of the task ``confirm_order``."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="confirmations")
    worker = models.CharField(max_length=255)
    version = models.CharField(max_length=32)
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.order_id} by {self.worker}"


class Heartbeat(models.Model):
    """One row per tick of celery beat: when it was sent, and by which version."""

    at = models.DateTimeField()
    slot = models.BigIntegerField(db_index=True)
    version = models.CharField(max_length=32)

    def __str__(self) -> str:
        return f"{self.slot} by {self.version}"
