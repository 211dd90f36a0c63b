# SPDX-License-Identifier: GPL-3.0-or-later
from django import forms
from django.core.validators import RegexValidator

from .models import Order


class OrderForm(forms.ModelForm):
    reference = forms.CharField(
        max_length=64,
        validators=[RegexValidator(r"^[\w.:-]+\Z", "letters, digits and . : _ - only")],
    )

    class Meta:
        model = Order
        fields = ["tour", "reference", "email"]


class SecondsForm(forms.Form):
    seconds = forms.FloatField(min_value=0, max_value=30)
