"""System checks: what is wrong with the settings, or opens a door; said before any request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from asgiref.sync import async_to_sync
from django.conf import global_settings
from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import CheckMessage
from django.urls import URLResolver, get_resolver

from .access.permissions import Job, rule_allows
from .access.tickets import Action
from .access.visitors import Nobody
from .conf import problems, settings
from .core.keys import NAMESPACE_RULE, is_namespace
from .redis.factory import crosses_hosts_in_the_clear

STRANGERS_JOB = "a-job-of-the-system-checks"


def _id(number: str) -> str:
    return f"django_import_progress.{number}"


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Report every wrong key and value of `IMPORT_PROGRESS`."""
    return [
        checks.Error(problem.message, hint=problem.fix, id=_id(problem.id))
        for problem in problems()
    ]


def check_url_namespaces(**kwargs: Any) -> list[CheckMessage]:
    """Report each namespace of jobs that is given with the URLs and cannot be one."""
    if not getattr(django_settings, "ROOT_URLCONF", None):
        return []
    return [
        checks.Error(
            f"The URLs have progress_namespace={namespace!r}, which is no namespace.",
            hint=f"Use {NAMESPACE_RULE}, in include()'s namespace= as well.",
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


def check_doors(**kwargs: Any) -> list[CheckMessage]:
    """Report what lets in more than it should."""
    if problems():
        return []
    looks = (_authorize, _allowed_hosts, _plain_redis, _custom_signer)
    return [message for look in looks if (message := look()) is not None]


def _authorize() -> CheckMessage | None:
    actions = [action for action in get_args(Action) if _lets_a_stranger(action)]
    if not actions:
        return None
    return checks.Warning(
        f"AUTHORIZE allows everybody, logged in or not, to {' and '.join(actions)} every job.",
        hint="Have the rule look at `user` and `job.owner`; who shall watch without logging in"
        " is given a ticket by the template tag.",
        id=_id("W001"),
    )


def _lets_a_stranger(action: Action) -> bool:
    job = Job(
        job_id=STRANGERS_JOB, namespace=settings.namespace, owner="somebody else", snapshot={}
    )
    try:
        return async_to_sync(rule_allows)(Nobody(), job, action)
    except Exception:  # It wants to know more, of a user or a job that exists: no open door.
        return False


def _allowed_hosts() -> CheckMessage | None:
    if settings.websocket_url is None or "*" not in django_settings.ALLOWED_HOSTS:
        return None
    return checks.Warning(
        "With '*' in ALLOWED_HOSTS a page of any site that has its name resolve to this server"
        " counts as the server's own, for WebSockets too.",
        hint="Name the site's hosts in ALLOWED_HOSTS.",
        id=_id("W002"),
    )


def _plain_redis() -> CheckMessage | None:
    if settings.debug or not crosses_hosts_in_the_clear(settings.redis_url):
        return None
    return checks.Info(
        "REDIS_URL leads to another host without TLS: who is on the way can read and write"
        " every job.",
        hint="Use rediss://, or see to it that the network is yours alone.",
        id=_id("I001"),
    )


def _custom_signer() -> CheckMessage | None:
    if django_settings.SIGNING_BACKEND == global_settings.SIGNING_BACKEND:
        return None
    return checks.Info(
        "SIGNING_BACKEND is not Django's own; tickets are signed by SECRET_KEY with Django's"
        " TimestampSigner all the same.",
        hint="Silence this where that is as strong as you need it.",
        id=_id("I002"),
    )
