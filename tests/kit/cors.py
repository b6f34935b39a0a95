"""Cross-origin requests, as those of a sandboxed frame are."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


def allow_any_origin(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Allow pages of any origin to read the responses."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["Access-Control-Allow-Origin"] = "*"
        return response

    return middleware
