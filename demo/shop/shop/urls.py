# SPDX-License-Identifier: GPL-3.0-or-later
from django.contrib import admin
from django.urls import include, path

from .health import health

urlpatterns = [
    path("admin/", admin.site.urls),
    path("health/", health),
    path("", include("tours.urls")),
]
