# SPDX-License-Identifier: GPL-3.0-or-later
from celery import shared_task

from .models import Booking, Mail


@shared_task
def send_mail(booking_id):
    Mail.objects.create(booking_id=booking_id)


@shared_task
def forget_drafts():
    Booking.objects.filter(reference="").delete()
