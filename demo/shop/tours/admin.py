# SPDX-License-Identifier: GPL-3.0-or-later
from django.contrib import admin

from .models import Order, Tour


@admin.register(Tour)
class TourAdmin(admin.ModelAdmin):
    list_display = ["name", "place", "days", "price"]


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ["reference", "tour", "email", "created_at"]
    search_fields = ["reference", "email"]
