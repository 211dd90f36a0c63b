# SPDX-License-Identifier: GPL-3.0-or-later
from django.urls import path

from . import views

urlpatterns = [
    path("health/", views.health),
    path("tours/", views.tours),
    path("tours/<int:tour_id>/", views.tour),
    path("orders/", views.orders),
    path("slow/", views.slow),
    path("upload/", views.upload),
]
