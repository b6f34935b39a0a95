"""HTML as JsonML."""

from __future__ import annotations

import pytest

from django_import_progress.widget.jsonml import elements_with


@pytest.mark.parametrize(
    ("html", "elements"),
    [
        ("", []),
        ("<p>no</p>text", []),
        ("<p x>a &amp; <b>&lt;b&gt;</b> c</p>", [["p", {"x": ""}, "a & ", ["b", {}, "<b>"], " c"]]),
        ("<p><i x=1></i><b><i x='2'></i></b></p>", [["i", {"x": "1"}], ["i", {"x": "2"}]]),
        ("<p x><i x></i></p>", [["p", {"x": ""}, ["i", {"x": ""}]]]),
        (
            "<p x>a<br>b<img src=c>d</p>",
            [["p", {"x": ""}, "a", ["br", {}], "b", ["img", {"src": "c"}], "d"]],
        ),
        ("<p x><br/><b/>a</p>", [["p", {"x": ""}, ["br", {}], ["b", {}], "a"]]),
        ("<p x><b>a</p></b></i><p x></p>", [["p", {"x": ""}, ["b", {}, "a"]], ["p", {"x": ""}]]),
        ("<p x><script>a<b>&amp;</script></p>", [["p", {"x": ""}, ["script", {}, "a<b>&amp;"]]]),
        ("<P X='A' onClick=b></P>", [["p", {"x": "A", "onclick": "b"}]]),
        (
            "<svg x viewBox='0 0 1 1'><linearGradient/><a gradientUnits='ID'></a></svg><B X></B>",
            [
                [
                    "svg",
                    {"x": "", "viewBox": "0 0 1 1"},
                    ["linearGradient", {}],
                    ["a", {"gradientUnits": "ID"}],
                ],
                ["b", {"x": ""}],
            ],
        ),
    ],
)
def test_elements_are_found_and_become_lists(html: str, elements: object) -> None:
    assert elements_with("x", html) == elements
