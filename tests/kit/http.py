"""HTTP clients for a site without TLS: to load all certificates takes each new one 30 ms."""

from __future__ import annotations

from functools import partial

import httpx

Client = partial(httpx.Client, verify=False)
AsyncClient = partial(httpx.AsyncClient, verify=False)
get = partial(httpx.get, verify=False)
post = partial(httpx.post, verify=False)
