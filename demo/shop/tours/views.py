# SPDX-License-Identifier: GPL-3.0-or-later
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.http import (
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST, require_safe

from . import catalogue, tasks
from .forms import OrderForm, SecondsForm
from .models import Order, OrderConfirmation, Tour

STREAM_PAUSE = 0.2
UPLOAD_CHUNK = 64 * 1024


def refuse(errors: Mapping[str, Any]) -> JsonResponse:
    return JsonResponse({"errors": errors}, status=400)


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    context = {"tours": catalogue.listing(), "version": settings.VERSION}
    return render(request, "tours/index.html", context)


@require_safe
def tours(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"tours": catalogue.listing(), "version": settings.VERSION})


@require_safe
def tour(request: HttpRequest, tour_id: int) -> JsonResponse:
    return JsonResponse(catalogue.describe(get_object_or_404(Tour, pk=tour_id)))


@csrf_exempt
@require_POST
def orders(request: HttpRequest) -> JsonResponse:
    try:
        data = json.loads(request.body)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        return refuse({"__all__": ["a JSON object, please"]})
    form = OrderForm(data)
    if not form.is_valid():
        return refuse(form.errors)
    with transaction.atomic():
        order = form.save()
        transaction.on_commit(partial(tasks.confirm_order.delay, order.id))
    answer = {
        "id": order.id,
        "reference": order.reference,
        "tour": order.tour_id,
        "version": settings.VERSION,
    }
    return JsonResponse(answer, status=201)


@require_safe
def order(request: HttpRequest, reference: str) -> JsonResponse:
    ids = list(Order.objects.filter(reference=reference).values_list("id", flat=True))
    confirmations = OrderConfirmation.objects.filter(order__in=ids).order_by("id")
    return JsonResponse(
        {
            "reference": reference,
            "count": len(ids),
            "orders": ids,
            "confirmations": list(confirmations.values("order", "worker", "version", "at")),
        }
    )


@require_GET
def slow(request: HttpRequest) -> JsonResponse:
    form = SecondsForm(request.GET)
    if not form.is_valid():
        return refuse(form.errors)
    seconds = form.cleaned_data["seconds"]
    time.sleep(seconds)
    return JsonResponse({"slept": seconds, "version": settings.VERSION})


@require_GET
def stream(request: HttpRequest) -> HttpResponseBase:
    form = SecondsForm(request.GET)
    if not form.is_valid():
        return refuse(form.errors)
    until = time.monotonic() + form.cleaned_data["seconds"]

    def chunks() -> Iterator[str]:
        number = 0
        while time.monotonic() < until:
            number += 1
            yield f"{number} {settings.VERSION}\n"
            time.sleep(STREAM_PAUSE)
        yield "end\n"

    response = StreamingHttpResponse(chunks(), content_type="text/plain")
    response["X-Accel-Buffering"] = "no"
    return response


@csrf_exempt
@require_POST
def upload(request: HttpRequest) -> JsonResponse:
    size, digest = 0, hashlib.sha256()
    while chunk := request.read(UPLOAD_CHUNK):
        size += len(chunk)
        digest.update(chunk)
    return JsonResponse({"bytes": size, "sha256": digest.hexdigest(), "version": settings.VERSION})
