"""A page with bars, under a strict Content-Security-Policy."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import get_language, get_language_bidi, override
from django.views.decorators.csrf import ensure_csrf_cookie

NONCE = "bm9uY2U"
POLICIES = {
    "self": "script-src 'self'; style-src 'self'",
    "nonce": f"script-src 'nonce-{NONCE}'; style-src 'nonce-{NONCE}'",
    "strict-dynamic": f"script-src 'nonce-{NONCE}' 'strict-dynamic'; style-src 'nonce-{NONCE}'",
}


@ensure_csrf_cookie
def bars(request: HttpRequest) -> HttpResponse:
    """Draw a bar for each ``?job=``, in the language of ``?language=``."""
    asked, policy = request.GET, request.GET.get("policy", "self")
    with override(asked.get("language", "en")):
        context = {
            "job_ids": asked.getlist("job"),
            "language": get_language(),
            "is_bidi": get_language_bidi(),
            "cancel": "cancel" in asked,
            "transport": asked.get("transport"),
            "csp_nonce": None if policy == "self" else NONCE,
        }
        response = render(request, "bars.html", context)
    response["Content-Security-Policy"] = (
        f"default-src 'none'; connect-src 'self'; {POLICIES[policy]}"
    )
    return response


def mine(request: HttpRequest) -> HttpResponse:
    """List the imports of who is logged in, in the language of ``?language=``."""
    with override(request.GET.get("language", "en")):
        response = render(request, "list.html", {"owner": request.user})
    response["Content-Security-Policy"] = (
        f"default-src 'none'; connect-src 'self'; {POLICIES['self']};"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return response
