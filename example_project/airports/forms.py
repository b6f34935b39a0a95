"""Forms for an import and for the search."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.files import File

from .importer import SAMPLE
from .reading import COLUMNS, BadFile, count_rows


class ImportForm(forms.Form):
    """Asks for a file: the sample or an upload."""

    source = forms.ChoiceField(
        choices=[("sample", "The sample: 28,298 airports of the world"), ("own", "My own file")],
        initial="sample",
        widget=forms.RadioSelect,
    )
    # Not required, and may be empty: the messages of `clean` are more helpful.
    file = forms.FileField(
        label="CSV file",
        help_text=f"UTF-8; the first line names the columns: {', '.join(COLUMNS)}.",
        required=False,
        allow_empty_file=True,
        widget=forms.FileInput(attrs={"accept": ".csv,text/csv"}),
    )

    def clean(self) -> dict[str, Any]:
        """Reject a file that cannot be imported, so that the user can fix it now."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if data.get("source") == "own":
            if not data.get("file"):
                self.add_error("file", "Choose a CSV file, or use the sample.")
            else:
                self._check(data["file"])
        return data

    def _check(self, file: File[bytes]) -> None:
        try:
            if count_rows(file) == 0:
                self.add_error("file", "This file has only a header line. Add rows.")
        except BadFile as error:
            self.add_error("file", str(error))

    def open_file(self) -> File[bytes]:
        """Return the chosen file."""
        if self.cleaned_data["source"] == "sample":
            return File(SAMPLE.open("rb"), name=SAMPLE.name)
        file: File[bytes] = self.cleaned_data["file"]
        return file


class SearchForm(forms.Form):
    """Asks for a search term."""

    q = forms.CharField(
        label="Search",
        required=False,
        max_length=80,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": "Code, name or city"}),
    )
