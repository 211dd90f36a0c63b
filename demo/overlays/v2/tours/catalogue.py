# SPDX-License-Identifier: GPL-3.0-or-later
"""What we show of a tour, on the page and in the API."""

from typing import Any

from .models import Tour


def describe(tour: Tour) -> dict[str, Any]:
    return {
        "id": tour.id,
        "name": tour.name,
        "place": tour.place,
        "days": tour.days,
        "price": str(tour.price),
        "currency": "EUR",
        "summary": tour.summary,
    }


def listing() -> list[dict[str, Any]]:
    return [describe(tour) for tour in Tour.objects.all()]
