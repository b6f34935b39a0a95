"""What a job does, its label, and the link to its result: fields of a snapshot that the bar shows.

They come from the project's code or from another program, so that each is checked again where it is
shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .core.errors import InvalidProgress
from .core.snapshot import text_of

IMPORT, EXPORT, TASK = KINDS = ("import", "export", "task")
"""What a job may be. Its texts depend on it."""

_SAFE_URL = re.compile(r"([hH][tT][tT][pP][sS]?://(?=[^/?#])|/(?!/))[^\s\\\x00-\x20\x7f-\xa0]*")
"""A URL that cannot run a script. Browsers read a backslash as a slash and skip control characters.

Source: https://url.spec.whatwg.org/#url-parsing. The script has the same rule,
without the maximum length.
"""
MAX_URL = 2000
"""The maximum length of a link's URL, in characters."""
MAX_TEXT = 500
"""Longer texts of links, and longer labels, are cut to this number of characters."""


def kind_of(fields: Mapping[str, Any]) -> str:
    """Return the kind of a job: an import if it has none, a task if it is not one of `KINDS`."""
    kind = text_of(fields.get("kind")) or IMPORT
    return kind if kind in KINDS else TASK


def description_fields(label: object, kind: object) -> dict[str, str]:
    """Return `label` and `kind` as fields, without those that are None or empty.

    Args:
        label: a text, also a lazily translated one.
        kind: one of `KINDS`, or a text of your own, which reads as ``task``.

    Raises:
        InvalidProgress: one of them is not a text.
    """
    fields = {"label": label, "kind": kind}
    for name, value in fields.items():
        # A translation that is made later is no `str` yet, but has its methods.
        if value is not None and not (isinstance(value, str) or hasattr(value, "casefold")):
            raise InvalidProgress(f"Invalid {name} {value!r}: pass a text")
    return {name: str(value)[:MAX_TEXT] for name, value in fields.items() if value}


def link_field(text: object, url: object) -> dict[str, str]:
    """Return a link as the value of the field `link`.

    Raises:
        ValueError: `text` is empty; or `url` is not an http or https URL or a path of this site
            that starts with one slash, has spaces, control characters or backslashes, or is too
            long.
    """
    link = {"text": str(text).strip()[:MAX_TEXT], "url": str(url)}
    if not link["text"]:
        raise ValueError("A link needs a text")
    if not _is_safe(link["url"]):
        raise ValueError(
            f"Invalid URL {str(url)[:200]!a} of a link: pass http://…, https://… or a path such as"
            f" /exports/1.csv, without spaces and backslashes, of at most {MAX_URL} characters"
        )
    return link


def safe_link(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Return text and URL of a job's link; both are empty if there is none, or an unsafe one."""
    link = fields.get("link")
    if not isinstance(link, Mapping):
        return "", ""
    text, url = text_of(link.get("text")), text_of(link.get("url"))
    return (text, url) if text and _is_safe(url) else ("", "")


def _is_safe(url: str) -> bool:
    return len(url) <= MAX_URL and _SAFE_URL.fullmatch(url) is not None
