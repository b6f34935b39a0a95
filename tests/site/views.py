"""A page with bars, under a strict Content-Security-Policy."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import get_language, override


def bars(request: HttpRequest) -> HttpResponse:
    """Draw a bar for each ``?job=``, in the language of ``?language=``."""
    with override(request.GET.get("language", "en")):
        context = {"job_ids": request.GET.getlist("job"), "language": get_language()}
        response = render(request, "bars.html", context)
    response["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"
    )
    return response
