"""Hook for mkdocs: lets a page include a file outside `docs/`, so that its text is written once.

A line that is only a link to such a file, such as `[README](../README.md#quick-start)`, is replaced
by the file, or by the text below the heading that the link names. On GitHub it stays a link.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"^\[[^]]*\]\(\.\./(?P<file>\w+\.md)(?:#(?P<anchor>[\w-]+))?\)$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page's text, with the included texts in place of their links."""
    return LINE.sub(_included, markdown)


def _included(line: re.Match[str]) -> str:
    text = (ROOT / line["file"]).read_text(encoding="utf-8")
    if line["anchor"]:
        parts = (part.split("\n", 1) for part in text.split("\n## ")[1:])
        sections = {heading.lower().replace(" ", "-"): body for heading, body in parts}
        text = sections[line["anchor"]]
    return text.replace("](docs/", "](").strip()
