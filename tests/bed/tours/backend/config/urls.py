# SPDX-License-Identifier: GPL-3.0-or-later
from django.urls import include, path

urlpatterns = [path("api/", include("bookings.urls"))]
