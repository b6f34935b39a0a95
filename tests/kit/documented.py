"""The code blocks of the documentation: where each stands, its language, and the file it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .started import ROOT

FENCE = re.compile(r"^```(?P<language>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(
    r"(?:# |// |\{# |; )(?P<file>(?:[\w.-]+/)*(?:[\w-]+\.\w+|Dockerfile))"
    r"(?P<anew>, from scratch)?(?: #\})?\n"
)


@dataclass(frozen=True)
class Block:
    """One code block.

    Attributes:
        page: the page's path.
        line: where it begins in it.
        language: what stands behind the fence's beginning.
        code: its text; without the line that names a file.
        file: the file that it names; it is added to what stands there.
        is_anew: it takes the place of what stands there.
    """

    page: str
    line: int
    language: str
    code: str
    file: str = ""
    is_anew: bool = False

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(text: str, page: str = "") -> Iterator[Block]:
    """Yield the code blocks of a page's text."""
    for match in FENCE.finditer(text):
        line, code = text.count("\n", 0, match.start()) + 1, match["code"]
        file, is_anew = "", False
        if named := NAMED.match(code):
            file, is_anew, code = named["file"], bool(named["anew"]), code[named.end() :]
        yield Block(page, line, match["language"], code, file, is_anew)


def pages() -> list[str]:
    """Return the paths of all pages that have something to say to users or contributors."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def blocks(page: str, section: str = "") -> list[Block]:
    """Return the code blocks of a page, or of a section of it."""
    text = (ROOT / page).read_text(encoding="utf-8")
    before = ""
    if section:
        before, heading, after = text.partition(f"## {section}\n")
        assert heading, f"{page} has no section {section}"
        text = after.partition("\n## ")[0]
    begins = before.count("\n")
    return [
        Block(page, begins + block.line, block.language, block.code, block.file, block.is_anew)
        for block in blocks_of(text, page)
    ]
