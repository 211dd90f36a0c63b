# SPDX-License-Identifier: GPL-3.0-or-later
import hashlib
import json
import time

from config.version import VERSION
from django.db import transaction
from django.http import JsonResponse
from django.shortcuts import get_object_or_404

from .models import Booking, Tour
from .tasks import send_mail

GREETING = "good morning"


class VersionHeader:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        response["X-Shop-Version"] = VERSION
        return response


def health(request):
    return JsonResponse({"tours": Tour.objects.count(), "version": VERSION, "greeting": GREETING})


def tours(request):
    return JsonResponse({"tours": list(Tour.objects.order_by("id").values("id", "name"))})


def tour(request, tour_id):
    return JsonResponse({"name": get_object_or_404(Tour, pk=tour_id).name})


def orders(request):
    data = json.loads(request.body)
    with transaction.atomic():
        booking = Booking.objects.create(tour_id=data["tour"], reference=data["reference"], email=data["email"])
        transaction.on_commit(lambda: send_mail.delay(booking.id))
    return JsonResponse({"id": booking.id, "reference": booking.reference}, status=201)


def slow(request):
    time.sleep(float(request.GET["seconds"]))
    return JsonResponse({"slept": request.GET["seconds"]})


def upload(request):
    return JsonResponse({"bytes": len(request.body), "sha256": hashlib.sha256(request.body).hexdigest()})
