"""System checks for wrong and insecure settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args
from urllib.parse import urlsplit

from asgiref.sync import async_to_sync
from django.conf import global_settings
from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import CheckMessage
from django.templatetags.static import static
from django.urls import URLResolver, get_resolver

from .access.permissions import Job, rule_allows
from .access.tickets import Action
from .access.visitors import Nobody
from .conf import problems, settings
from .core.keys import NAMESPACE_RULE, is_namespace
from .redis.embedded import SCHEME
from .redis.factory import crosses_hosts_in_the_clear

SCRIPT = "django_import_progress/import-progress.js"
PROBE_JOB_ID = "a-job-of-the-system-checks"
PROBE_NAMESPACE = "a-namespace-of-the-system-checks"


def _id(number: str) -> str:
    return f"django_import_progress.{number}"


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Report every unknown key and wrong value of `IMPORT_PROGRESS`."""
    return [
        checks.Error(problem.message, hint=problem.fix, id=_id(problem.id))
        for problem in problems()
    ]


def check_url_namespaces(**kwargs: Any) -> list[CheckMessage]:
    """Report each invalid `progress_namespace` in the URLs."""
    if not getattr(django_settings, "ROOT_URLCONF", None):
        return []
    return [
        checks.Error(
            f"The URLs contain progress_namespace={namespace!r}, which is invalid.",
            hint=f"Use {NAMESPACE_RULE}, also for namespace= of include().",
            id=_id("E004"),
        )
        for namespace in _namespaces(get_resolver())
        if namespace is not None and not is_namespace(namespace)
    ]


def _namespaces(resolver: URLResolver) -> Iterator[Any]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            yield pattern.default_kwargs.get("progress_namespace")
            yield from _namespaces(pattern)
        else:
            yield pattern.default_args.get("progress_namespace")


def check_static_files(**kwargs: Any) -> list[CheckMessage]:
    """Report static files on another host: a browser may refuse to load the bar's script."""
    try:
        url = static(SCRIPT)
    except Exception:  # A storage may need files that `collectstatic` has not written yet.
        url = django_settings.STATIC_URL or ""
    host = urlsplit(url).hostname
    if host is None:
        return []
    return [
        checks.Warning(
            f"The static files are on another host ({host}). Browsers load the bar's script from"
            " there only if that host allows it; otherwise bars do not move.",
            hint="Let it send the header Access-Control-Allow-Origin with the site's origin for"
            " scripts, and then silence this check.",
            id=_id("W004"),
        )
    ]


def check_security(**kwargs: Any) -> list[CheckMessage]:
    """Report settings that allow more than they should."""
    if problems():
        return []
    found = (
        *(
            _authorize(),
            _allowed_hosts(),
            _redis_without_tls(),
            _embedded_server(),
            _custom_signer(),
        ),
        _shared_namespaces(),
    )
    return [message for message in found if message is not None]


def _authorize() -> CheckMessage | None:
    actions = [action for action in get_args(Action) if _allows_anybody(action)]
    if not actions:
        return None
    return checks.Warning(
        f"AUTHORIZE allows everyone, logged in or not, to {' and '.join(actions)} every job.",
        hint="Check `user` and `job.owner` in the rule. Visitors who are not logged in can watch"
        " with the ticket that the template tag puts into the page.",
        id=_id("W001"),
    )


def _allows_anybody(action: Action) -> bool:
    # A callable is not called: there is no tenant.
    namespace = PROBE_NAMESPACE if settings.has_tenants else settings.namespace
    job = Job(job_id=PROBE_JOB_ID, namespace=namespace, owner="somebody else", snapshot={})
    try:
        return async_to_sync(rule_allows)(Nobody(), job, action)
    except Exception:  # The rule needs a real user or job, so it does not allow everyone.
        return False


def _allowed_hosts() -> CheckMessage | None:
    if settings.websocket_url is None or "*" not in django_settings.ALLOWED_HOSTS:
        return None
    return checks.Warning(
        "With '*' in ALLOWED_HOSTS, any site whose domain resolves to this server counts as the"
        " same origin, also for WebSockets.",
        hint="List the site's hosts in ALLOWED_HOSTS.",
        id=_id("W002"),
    )


def _redis_without_tls() -> CheckMessage | None:
    if settings.debug or not crosses_hosts_in_the_clear(settings.redis_url):
        return None
    return checks.Info(
        "REDIS_URL connects to another host without TLS: others on the network can read and"
        " write every job.",
        hint="Use rediss://, or make sure that the network is private.",
        id=_id("I001"),
    )


def _embedded_server() -> CheckMessage | None:
    if settings.debug or not settings.redis_url.startswith(f"{SCHEME}:"):
        return None
    return checks.Warning(
        "REDIS_URL is embedded://, which is for development: its server keeps nothing on disk,"
        " stops a minute after the last process that used it, and serves one user of one machine.",
        hint="Set REDIS_URL to the URL of a Redis server.",
        id=_id("W005"),
    )


def _shared_namespaces() -> CheckMessage | None:
    if not (settings.has_tenants and getattr(django_settings, "ROOT_URLCONF", None)):
        return None
    names = sorted({name for name in _namespaces(get_resolver()) if is_namespace(name)})
    if not names:
        return None
    return checks.Warning(
        f"NAMESPACE depends on the tenant, but all tenants share the jobs of {', '.join(names)}:"
        " progress_namespace in the URLs does not.",
        hint="Remove it, or silence this check if the tenants may share these jobs.",
        id=_id("W003"),
    )


def _custom_signer() -> CheckMessage | None:
    if django_settings.SIGNING_BACKEND == global_settings.SIGNING_BACKEND:
        return None
    return checks.Info(
        "SIGNING_BACKEND is not Django's default, but tickets are still signed with SECRET_KEY by"
        " Django's TimestampSigner.",
        hint="Silence this check if that is strong enough for you.",
        id=_id("I002"),
    )
