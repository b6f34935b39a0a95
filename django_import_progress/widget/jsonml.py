"""HTML as JsonML: a script can build elements from it without parsing HTML.

A page with Trusted Types forbids scripts to parse HTML. An element is a list of its name, its
attributes and its children; a text is a string.

Source: http://www.jsonml.org/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

Element = list[Any]

_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track"}
    | {"wbr"}
)
"""Elements without an end tag: https://html.spec.whatwg.org/multipage/syntax.html#void-elements."""


def elements_with(attribute: str, html: str) -> list[Element]:
    """Return the outermost elements of an HTML text that have an attribute, as JsonML.

    Args:
        attribute: the name of the attribute.
        html: elements that all have their end tags, unless they are void.
    """
    parser = _Parser()
    parser.feed(html)
    parser.close()
    return list(_find(parser.root, attribute))


def _find(element: Element, attribute: str) -> Iterator[Element]:
    for child in element[2:]:
        if isinstance(child, str):
            continue
        if attribute in child[1]:
            yield child
        else:
            yield from _find(child, attribute)


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root: Element = ["", {}]
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names: dict[str, str] = {}
        if "svg" in {tag, *self._open_names()}:
            # `HTMLParser` converts names to lower case, but those of SVG are case-sensitive.
            words = re.findall(r"[\w:-]+", self.get_starttag_text() or "")
            names = {word.lower(): word for word in reversed(words)}
        attributes = {names.get(name, name): value or "" for name, value in attrs}
        element: Element = [names.get(tag, tag), attributes]
        self._open[-1].append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        names = self._open_names()
        if tag in names:
            del self._open[len(names) - 1 - names[::-1].index(tag) :]

    def handle_data(self, data: str) -> None:
        self._open[-1].append(data)

    def _open_names(self) -> list[str]:
        return [element[0].lower() for element in self._open]
