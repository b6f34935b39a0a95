"""Origin check of WebSocket handshakes, which carry cookies but no CSRF token.

Source: RFC 6455, section 10.2, and https://fetch.spec.whatwg.org/#origin-header
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.utils.http import is_same_domain

_NO_HOST = frozenset("@\\?#")
"""Characters that some parsers take for the start or end of a host name."""
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def is_foreign(headers: Iterable[tuple[bytes, bytes]], server: tuple[str, int] | None) -> bool:
    """Return whether the handshake comes from a page of another site.

    A page belongs to this site if its origin has the request's host, which must be in
    `ALLOWED_HOSTS`, or is in `CSRF_TRUSTED_ORIGINS`. A request without an origin does not come from
    a browser and carries no user's cookies, so it is not foreign.

    Args:
        headers: the handshake's headers.
        server: host and port that received the handshake.
    """
    origins = [value.decode("latin-1") for name, value in headers if name.lower() == b"origin"]
    if not origins:
        return False
    if len(origins) > 1:
        return True
    try:
        text = origins[0].lower()
        origin = urlsplit(text)
        # Anything besides scheme, host and port may be parsed differently by others.
        is_origin = text == f"{origin.scheme}://{origin.netloc}" and not _NO_HOST & set(text)
        is_ours = _is_trusted(origin) or _is_own(origin, _host(headers, server))
        return not (is_origin and is_ours)
    except (DisallowedHost, ValueError):
        return True


def _host(headers: Iterable[tuple[bytes, bytes]], server: tuple[str, int] | None) -> str:
    """Return the request's host as Django does: from the configured header, and only if allowed."""
    request = HttpRequest()
    name, port = server or ("", 80)
    request.META = {"SERVER_NAME": name, "SERVER_PORT": str(port)}
    for header, value in headers:
        key = header.decode("latin-1").upper().replace("-", "_")
        request.META[f"HTTP_{key}"] = value.decode("latin-1")
    return request.get_host().lower()


def _is_own(origin: SplitResult, host: str) -> bool:
    port = _DEFAULT_PORTS.get(origin.scheme)
    # Accept http and https: a server behind a proxy does not know which one the page used.
    return port is not None and origin.netloc.removesuffix(port) == host.removesuffix(port)


def _is_trusted(origin: SplitResult) -> bool:
    trusted = (urlsplit(pattern.lower()) for pattern in settings.CSRF_TRUSTED_ORIGINS)
    return any(
        origin.scheme == pattern.scheme
        and is_same_domain(origin.netloc, pattern.netloc.removeprefix("*"))
        for pattern in trusted
    )
