"""The export with a link to its file, as the page on the widget documents it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django_import_progress import SyncProgressManager

from ..kit.documented import blocks
from ..widget.test_context import render


def test_the_documented_export_ends_with_a_link_to_its_file(
    jobs: SyncProgressManager, tmp_path: Path
) -> None:
    [block] = [each for each in blocks("docs/widget.md") if "job.link(" in each.code]
    found: dict[str, Any] = {}
    exec(block.code, found)  # noqa: S102
    path = tmp_path / "products.csv"
    found["export_rows"]("j1", path, "/media/products.csv", [["a", 1], ["b", 2]])
    assert path.read_text().split() == ["a,1", "b,2"]
    html = render("{% import_progress 'j1' %}")
    assert 'href="/media/products.csv">Download the file</a>' in html
    assert ">Exported<" in html
    assert 'aria-label="All products"' in html
