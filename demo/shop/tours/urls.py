# SPDX-License-Identifier: GPL-3.0-or-later
from django.urls import path

from . import views

urlpatterns = [
    path("", views.index),
    path("api/tours/", views.tours),
    path("api/tours/<int:tour_id>/", views.tour),
    path("api/orders/", views.orders),
    path("api/orders/<str:reference>/", views.order),
    path("api/slow/", views.slow),
    path("api/stream/", views.stream),
    path("api/upload/", views.upload),
]
