"""Reads catalogues of translations, and finds the texts in the sources that they must have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import django_import_progress

PACKAGE = Path(django_import_progress.__file__).parent
LOCALES = PACKAGE / "locale"
LANGUAGES = sorted(folder.name for folder in LOCALES.iterdir())
CONTEXT = "\x04"
"""What a compiled catalogue has between a message's context and its text."""
_CALLS = {"gettext": 1, "gettext_lazy": 1, "_": 1, "ngettext": 2}
_TAG = re.compile(r'{%\s*translate\s+"([^"]+)"')


@dataclass
class Message:
    """One message of a catalogue, by the keywords that it is written with."""

    flags: str = ""
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What a compiled catalogue has it by."""
        context = self.texts.get("msgctxt")
        return ("" if context is None else context + CONTEXT) + self.texts["msgid"]

    @property
    def translations(self) -> list[str]:
        """Its text in the catalogue's language: one, or as many as there are plural forms."""
        return [text for name, text in self.texts.items() if name.startswith("msgstr")]


def catalogue(language: str) -> Path:
    """Return where the language's catalogue is, without the ending."""
    return LOCALES / language / "LC_MESSAGES" / "django"


def messages(language: str) -> dict[str, Message]:
    """Return what the language's catalogue has, its header under the empty key."""
    text = catalogue(language).with_suffix(".po").read_text(encoding="utf-8")
    return {message.key: message for message in map(_parsed, text.strip().split("\n\n"))}


def _parsed(block: str) -> Message:
    message, name = Message(), ""
    for line in block.splitlines():
        if line.startswith("#"):
            message.flags += line[1:]
            continue
        begins = re.match(r"(msg[a-z_]+(?:\[\d\])?) ", line)
        if begins:
            name = begins[1]
            message.texts[name] = ""
        message.texts[name] += ast.literal_eval(line[begins.end() if begins else 0 :])
    return message


@cache
def texts_of_sources() -> set[str]:
    """Return every text that the sources have translated, by its key."""
    found = set(_texts_of_modules())
    for template in (PACKAGE / "templates").rglob("*.html"):
        text = template.read_text(encoding="utf-8")
        in_tags = _TAG.findall(text)
        assert len(in_tags) == text.count("{% translate") + text.count("{% blocktranslate")
        found.update(in_tags)
    return found


def _texts_of_modules() -> Iterator[str]:
    for module in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_bytes())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            if node.func.id in {"pgettext", "pgettext_lazy"}:
                yield CONTEXT.join(map(str, texts))
            elif node.func.id in _CALLS:
                assert len(texts) == _CALLS[node.func.id], f"{module.name}:{node.lineno}"
                yield str(texts[0])
