"""Airports, and their imports."""

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

# PostgreSQL rejects null characters in text. Forms do so as well, but a CSV file is not a form.
no_null_characters = ProhibitNullCharactersValidator()


def pattern(regex: str, message: str) -> RegexValidator:
    """Return a validator for a whole value: `$` alone would accept a line break at the end."""
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
        # For an airport without a code, the data set has "_" and the IATA code.
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
    # Decimals: a float field would accept "nan" from a file, which passes every comparison.
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
        """Ordered by code."""

        ordering = ("icao",)

    def __str__(self) -> str:
        """Return the code and the name."""
        return f"{self.icao} {self.name}"


class ImportQuerySet(models.QuerySet["Import"]):
    """Imports."""

    def visible_to(self, user: Any) -> ImportQuerySet:
        """Return the imports that `user` may see: their own, and those without an owner."""
        return self.filter(Q(owner=None) | Q(owner=user.pk))


def upload_path(instance: Import, filename: str) -> str:
    """Return a unique path, so that the file keeps its name."""
    return f"imports/{instance.pk}/{filename}"


class Import(models.Model):
    """One import of a file."""

    # Also the id of its job, so that no second id has to be stored.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    file = models.FileField(upload_to=upload_path, max_length=255)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True
    )
    created_at = models.DateTimeField(auto_now_add=True)

    # What the site's own pages show of the result, without a look at the job.
    finished_at = models.DateTimeField(null=True, editable=False)
    rows_created = models.PositiveIntegerField(default=0, editable=False)
    rows_updated = models.PositiveIntegerField(default=0, editable=False)
    rows_rejected = models.PositiveIntegerField(default=0, editable=False)

    objects = ImportQuerySet.as_manager()

    class Meta:
        """Newest first."""

        ordering = ("-created_at",)

    def __str__(self) -> str:
        """Return the file's name."""
        return self.filename

    def get_absolute_url(self) -> str:
        """Return the page that shows its progress."""
        return reverse("airports:import", args=[self.pk])

    @property
    def filename(self) -> str:
        """The name of the uploaded file."""
        return PurePath(self.file.name or "").name

    @property
    def rows_saved(self) -> int:
        """The number of rows that this import saved."""
        return self.rows_created + self.rows_updated

    def discard(self) -> None:
        """Delete the import, saved or not, and its file."""
        self.file.delete(save=False)
        Import.objects.filter(pk=self.pk).delete()
