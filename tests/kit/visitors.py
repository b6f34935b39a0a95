"""Who looks at the site, and who is seen to watch."""

from __future__ import annotations

from typing import Any

import httpx
from django.contrib.auth.models import User
from django.test import Client

from django_import_progress import SyncProgressManager

from . import http


def login(user: User) -> httpx.Client:
    """Return a client with the cookies of a browser in which `user` is logged in."""
    browser = Client()
    browser.force_login(user)
    return http.Client(
        cookies={"sessionid": browser.cookies["sessionid"].value},
        limits=httpx.Limits(max_connections=None),
    )


def subscribers(jobs: SyncProgressManager, job_id: str) -> int:
    """Return how many subscriptions Redis counts for a job."""
    reply: Any = jobs.redis.pubsub_numsub(f"import_progress:channel:{job_id}")
    return int(reply[0][1])
