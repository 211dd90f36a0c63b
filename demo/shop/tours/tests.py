# SPDX-License-Identifier: GPL-3.0-or-later
"""``manage.py test``: what the API promises. Needs a database, no broker."""

import hashlib
from unittest import mock

from django.conf import settings
from django.test import TestCase, override_settings

from .models import Order, Tour
from .tasks import confirm_order, heartbeat

PLAIN_STATIC = {
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage",
    },
}


class Shop(TestCase):
    def setUp(self) -> None:
        self.tour = Tour.objects.first()
        self.order = {
            "tour": self.tour.id,
            "reference": "r-1",
            "email": "a@example.com",
        }

    def post(self, data: object):
        with mock.patch("tours.tasks.confirm_order.delay") as delay, self.captureOnCommitCallbacks(execute=True):
            answer = self.client.post("/api/orders/", data, content_type="application/json")
        return answer, delay

    @override_settings(STORAGES=PLAIN_STATIC)
    def test_page(self) -> None:
        answer = self.client.get("/")
        self.assertContains(answer, self.tour.name)
        self.assertEqual(answer["X-Shop-Version"], settings.VERSION)

    def test_tours(self) -> None:
        listed = self.client.get("/api/tours/").json()["tours"]
        self.assertEqual(len(listed), Tour.objects.count())
        one = self.client.get(f"/api/tours/{self.tour.id}/").json()
        self.assertEqual(one, listed[0])
        self.assertEqual(self.client.get("/api/tours/999999/").status_code, 404)

    def test_every_post_is_a_row_and_a_task(self) -> None:
        for _ in range(2):
            answer, delay = self.post(self.order)
            self.assertEqual(answer.status_code, 201)
            delay.assert_called_once_with(answer.json()["id"])
        self.assertEqual(Order.objects.filter(reference="r-1").count(), 2)

    def test_bad_orders(self) -> None:
        for data in (
            "no json",
            [],
            {},
            self.order | {"tour": 999999},
            self.order | {"email": "nobody"},
            self.order | {"reference": "x" * 65},
            self.order | {"reference": "../x"},
        ):
            answer, delay = self.post(data)
            self.assertEqual(answer.status_code, 400, data)
            delay.assert_not_called()

    def test_confirmation(self) -> None:
        order = Order.objects.create(tour=self.tour, reference="r-2", email="a@b.example")
        confirm_order.apply(args=[order.id])
        heartbeat.apply()
        answer = self.client.get("/api/orders/r-2/").json()
        self.assertEqual((answer["count"], len(answer["confirmations"])), (1, 1))

    def test_slow_stream_upload(self) -> None:
        self.assertEqual(self.client.get("/api/slow/?seconds=0").json()["slept"], 0)
        for wrong in ("31", "-1", "nan", "x"):
            answer = self.client.get("/api/slow/", {"seconds": wrong})
            self.assertEqual(answer.status_code, 400, wrong)
        answer = self.client.get("/api/stream/?seconds=0.1")
        self.assertEqual(answer.getvalue().splitlines()[-1], b"end")
        body = b"0123456789" * 20000
        answer = self.client.post("/api/upload/", body, content_type="text/plain").json()
        self.assertEqual(answer["bytes"], len(body))
        self.assertEqual(answer["sha256"], hashlib.sha256(body).hexdigest())
