"""What is imported, and the imports themselves."""

from __future__ import annotations

import uuid
from pathlib import PurePath
from typing import Any

from django.conf import settings
from django.core.validators import (
    MaxValueValidator,
    MinValueValidator,
    ProhibitNullCharactersValidator,
    RegexValidator,
)
from django.db import models
from django.db.models import Q
from django.urls import reverse

# PostgreSQL takes no null characters in a text; forms refuse them, but a CSV file is no form.
no_null_characters = ProhibitNullCharactersValidator()


def pattern(regex: str, message: str) -> RegexValidator:
    """Return a validator for a whole value: `$` alone would let a line break pass at the end."""
    return RegexValidator(rf"\A(?:{regex})\Z", message)


def between(lowest: int, highest: int) -> list[Any]:
    """Return the validators for a number from `lowest` to `highest`."""
    return [MinValueValidator(lowest), MaxValueValidator(highest)]


class Airport(models.Model):
    """An airport, known by its ICAO code."""

    icao = models.CharField(
        "ICAO code",
        max_length=4,
        unique=True,
        # Where an airport has no code, the data set makes one of "_" and the IATA code.
        validators=[pattern("[A-Z0-9_][A-Z0-9]{3}", "Write four capital letters or digits.")],
    )
    iata = models.CharField(
        "IATA code",
        max_length=3,
        blank=True,
        validators=[pattern("[A-Z]{3}", "Write three capital letters, or nothing.")],
    )
    name = models.CharField(max_length=120, validators=[no_null_characters])
    city = models.CharField(max_length=80, blank=True, validators=[no_null_characters])
    subd = models.CharField("region", max_length=80, blank=True, validators=[no_null_characters])
    country = models.CharField(
        max_length=2,
        validators=[pattern("[A-Z]{2}", "Write the two capital letters of ISO 3166, as in FR.")],
    )
    # Decimals: a float field would take "nan" from a file, which passes every comparison.
    elevation = models.DecimalField(
        "elevation in feet", max_digits=7, decimal_places=2, validators=between(-1500, 20000)
    )
    lat = models.DecimalField(
        "latitude", max_digits=11, decimal_places=8, validators=between(-90, 90)
    )
    lon = models.DecimalField(
        "longitude", max_digits=11, decimal_places=8, validators=between(-180, 180)
    )
    tz = models.CharField(
        "time zone",
        max_length=40,
        validators=[pattern(r"[A-Za-z]+(/[A-Za-z0-9_+-]+)*", "Write it as in Europe/Paris.")],
    )
    lid = models.CharField(
        "local code",
        max_length=10,
        blank=True,
        validators=[pattern("[A-Z0-9-]+", "Write capital letters, digits and hyphens.")],
    )

    class Meta:
        """In the order of the list."""

        ordering = ("icao",)

    def __str__(self) -> str:
        """Return the code and the name."""
        return f"{self.icao} {self.name}"


class ImportQuerySet(models.QuerySet["Import"]):
    """Imports."""

    def visible_to(self, user: Any) -> ImportQuerySet:
        """Return those that `user` may see: nobody's, which are everybody's, and their own."""
        return self.filter(Q(owner=None) | Q(owner=user.pk))


def upload_path(instance: Import, filename: str) -> str:
    """Return a path that no other upload has, so that the file keeps its name."""
    return f"imports/{instance.pk}/{filename}"


class Import(models.Model):
    """One file on its way into the database."""

    # The id of the job whose progress is shown, too: one thing less to store and to look up.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    file = models.FileField(upload_to=upload_path, max_length=255)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True
    )
    created_at = models.DateTimeField(auto_now_add=True)

    # Progress is forgotten an hour after the end; what shall last stands here.
    finished_at = models.DateTimeField(null=True, editable=False)
    rows_created = models.PositiveIntegerField(default=0, editable=False)
    rows_updated = models.PositiveIntegerField(default=0, editable=False)
    rows_refused = models.PositiveIntegerField(default=0, editable=False)
    # The first of them, each as {"line": 7, "reason": "…"}.
    refused = models.JSONField(default=list, editable=False)

    objects = ImportQuerySet.as_manager()

    class Meta:
        """Newest first."""

        ordering = ("-created_at",)

    def __str__(self) -> str:
        """Return the file's name."""
        return self.filename

    def get_absolute_url(self) -> str:
        """Return the page that shows how far it is."""
        return reverse("airports:import", args=[self.pk])

    @property
    def filename(self) -> str:
        """The file's name as its owner knows it."""
        return PurePath(self.file.name or "").name

    @property
    def rows_saved(self) -> int:
        """How many rows are in the database by this import."""
        return self.rows_created + self.rows_updated

    @property
    def rows_refused_untold(self) -> int:
        """How many refused rows `refused` has no room for."""
        return self.rows_refused - len(self.refused)

    def discard(self) -> None:
        """Forget it, saved or not, and remove its file."""
        self.file.delete(save=False)
        Import.objects.filter(pk=self.pk).delete()
