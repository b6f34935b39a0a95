"""Kinds, labels and links: what is accepted, and what is shown of what other programs wrote."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils.translation import gettext_lazy

from django_import_progress import InvalidProgress, kinds
from django_import_progress.kinds import description_fields, kind_of, link_field, safe_link

SAFE = [
    "/",
    "/exports/1.csv?x=1#top",
    "https://example.com/a.csv",
    "HTTP://example.com",
    "https://例え.jp/é.csv",
    "/a/%20//b",
]
UNSAFE = [
    "",
    "exports/1.csv",
    "javascript:alert(1)",
    " javascript:alert(1)",
    "\tjavascript:alert(1)",
    "java\nscript:alert(1)",
    "JaVaScRiPt://%0aalert(1)",
    "data:text/html,x",
    "vbscript:x",
    "blob:https://example.com/x",
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/a\x00b",
    "/a\x7fb",
    "/a\x85b",
    "/a b",
    "/a\u2028b",
    "/a\n",
    "https:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "https://",
    "http\u017f://example.com",
    "https:\\\\evil.example",
    "ftp://example.com",
    "mailto:a@example.com",
]


@pytest.mark.parametrize("url", SAFE)
def test_a_link_leads_to_the_web_or_into_the_site(url: str) -> None:
    link = link_field(" Download ", url)
    assert link == {"text": "Download", "url": url}
    assert safe_link({"link": link}) == ("Download", url)


@pytest.mark.parametrize("url", [*UNSAFE, "/" + "a" * 2000, None, 5, b"/a"])
def test_any_other_link_is_refused_and_never_shown(url: Any) -> None:
    with pytest.raises(ValueError, match=r"Invalid URL .* of a link: pass http://"):
        link_field("Download", url)
    assert safe_link({"link": {"text": "Download", "url": url}}) == ("", "")


def test_a_link_needs_a_text() -> None:
    with pytest.raises(ValueError, match="A link needs a text"):
        link_field(" ", "/a")


@pytest.mark.parametrize("link", [None, "/a", ["Download", "/a"], {}, {"url": "/a"}, 5])
def test_what_is_no_link_is_not_shown(link: Any) -> None:
    assert safe_link({"link": link}) == ("", "")


def test_an_unknown_kind_reads_as_a_task() -> None:
    found = ["import", "export", "task", "sync", "constructor", 5, ["export", "task"]]
    assert [kind_of({"kind": kind}) for kind in found] == ["import", "export", *["task"] * 5]
    assert kind_of({}) == kind_of({"kind": None}) == kind_of({"kind": ""}) == "import"


def test_label_and_kind_are_texts() -> None:
    lazy: Any = gettext_lazy("Progress")
    assert description_fields(lazy, "sync") == {"label": "Progress", "kind": "sync"}
    assert description_fields("a" * 600, None) == {"label": "a" * kinds.MAX_TEXT}
    assert description_fields("", None) == {}
    for wrong in (5, b"label", ["export"], True):
        with pytest.raises(InvalidProgress, match="pass a text"):
            description_fields(wrong, None)
        with pytest.raises(InvalidProgress, match="Invalid kind"):
            description_fields(None, wrong)
