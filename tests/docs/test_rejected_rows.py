"""The page on rejected rows, followed to the letter in a new project."""

from __future__ import annotations

from ..kit.project import Project

IMPORTS = """
import csv, io
from pathlib import Path
from django.test import Client
from django_import_progress import get_sync_progress_manager
from django_import_progress.access import make_ticket
from products.importing import import_in_batches, import_products, import_with_a_form
from products.models import Product

Path("products.csv").write_text('sku,price\\na,1.50\\n"b\\n2",x\\nc,-1\\nd,3\\n')
import_products("one", "products.csv")
assert set(Product.objects.values_list("sku", flat=True)) == {"a", "d"}
jobs = get_sync_progress_manager()
found = [(reject["row"], reject["line"], reject["data"]["sku"]) for reject in jobs.rejects("one")]
assert found == [(2, 4, "b\\n2"), (3, 5, "c")], found
shown = jobs.describe("one")
assert (shown["outcome"], shown["processed_rows"], shown["rejected_rows"]) == ("partial", 4, 2)
response = Client(HTTP_HOST="localhost").get(f"/progress/jobs/{make_ticket('one')}/rejects/")
lines = list(csv.reader(io.StringIO(response.content.decode("utf-8-sig"))))
assert lines[0] == ["row", "line", "reason", "sku", "price"]
assert lines[2][:3] == ["3", "5", "price: Ensure this value is greater than or equal to 0."]

Path("more.csv").write_text("sku,price\\n" + "".join(f"n{n},1\\n" for n in range(600)) + "a,1\\n")
import_in_batches("two", "more.csv")
assert Product.objects.count() == 602
assert [(reject["row"], reject["data"]["sku"]) for reject in jobs.rejects("two")] == [(601, "a")]

import_with_a_form("three", "products.csv")
reasons = [reject["reason"] for reject in jobs.rejects("three")]
assert reasons[0] == "sku: Product with this Sku already exists.", reasons
assert reasons[1] == "price: Enter a number.", reasons
assert [reject["line"] for reject in jobs.rejects("three")] == [2, 4, 5, 6]
"""


def test_the_examples_import_the_good_rows_and_report_the_bad_ones(project: Project) -> None:
    project.follow("docs/rejected-rows.md")
    project.run("manage.py", "makemigrations", "--verbosity", "0", "products")
    project.migrate()
    project.script(IMPORTS)
