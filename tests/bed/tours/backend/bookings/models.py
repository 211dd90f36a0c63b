# SPDX-License-Identifier: GPL-3.0-or-later
from django.db import models


class Tour(models.Model):
    name = models.CharField(max_length=100)


class Booking(models.Model):
    tour = models.ForeignKey(Tour, on_delete=models.PROTECT)
    reference = models.CharField(max_length=64, db_index=True)
    email = models.EmailField()


class Mail(models.Model):
    """One row for each run of the task ``send_mail``."""

    booking = models.ForeignKey(Booking, on_delete=models.CASCADE)
