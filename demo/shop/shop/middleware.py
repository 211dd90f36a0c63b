# SPDX-License-Identifier: GPL-3.0-or-later
"""Every answer says which version gave it."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from .version import VERSION


class VersionHeader:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response["X-Shop-Version"] = VERSION
        return response
