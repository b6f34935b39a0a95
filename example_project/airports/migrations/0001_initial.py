"""The tables of the airports and of their imports."""

# ruff: noqa: RUF012

import uuid

import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import airports.models


class Migration(migrations.Migration):
    """The first one."""

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Airport",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "icao",
                    models.CharField(
                        max_length=4,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A(?:[A-Z0-9_][A-Z0-9]{3})\\Z",
                                "Write four capital letters or digits.",
                            )
                        ],
                        verbose_name="ICAO code",
                    ),
                ),
                (
                    "iata",
                    models.CharField(
                        blank=True,
                        max_length=3,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A(?:[A-Z]{3})\\Z", "Write three capital letters, or nothing."
                            )
                        ],
                        verbose_name="IATA code",
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        max_length=120,
                        validators=[django.core.validators.ProhibitNullCharactersValidator()],
                    ),
                ),
                (
                    "city",
                    models.CharField(
                        blank=True,
                        max_length=80,
                        validators=[django.core.validators.ProhibitNullCharactersValidator()],
                    ),
                ),
                (
                    "subd",
                    models.CharField(
                        blank=True,
                        max_length=80,
                        validators=[django.core.validators.ProhibitNullCharactersValidator()],
                        verbose_name="region",
                    ),
                ),
                (
                    "country",
                    models.CharField(
                        max_length=2,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A(?:[A-Z]{2})\\Z",
                                "Write the two capital letters of ISO 3166, as in FR.",
                            )
                        ],
                    ),
                ),
                (
                    "elevation",
                    models.DecimalField(
                        decimal_places=2,
                        max_digits=7,
                        validators=[
                            django.core.validators.MinValueValidator(-1500),
                            django.core.validators.MaxValueValidator(20000),
                        ],
                        verbose_name="elevation in feet",
                    ),
                ),
                (
                    "lat",
                    models.DecimalField(
                        decimal_places=8,
                        max_digits=11,
                        validators=[
                            django.core.validators.MinValueValidator(-90),
                            django.core.validators.MaxValueValidator(90),
                        ],
                        verbose_name="latitude",
                    ),
                ),
                (
                    "lon",
                    models.DecimalField(
                        decimal_places=8,
                        max_digits=11,
                        validators=[
                            django.core.validators.MinValueValidator(-180),
                            django.core.validators.MaxValueValidator(180),
                        ],
                        verbose_name="longitude",
                    ),
                ),
                (
                    "tz",
                    models.CharField(
                        max_length=40,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A(?:[A-Za-z]+(/[A-Za-z0-9_+-]+)*)\\Z",
                                "Write it as in Europe/Paris.",
                            )
                        ],
                        verbose_name="time zone",
                    ),
                ),
                (
                    "lid",
                    models.CharField(
                        blank=True,
                        max_length=10,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A(?:[A-Z0-9-]+)\\Z", "Write capital letters, digits and hyphens."
                            )
                        ],
                        verbose_name="local code",
                    ),
                ),
            ],
            options={
                "ordering": ("icao",),
            },
        ),
        migrations.CreateModel(
            name="Import",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("file", models.FileField(max_length=255, upload_to=airports.models.upload_path)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("finished_at", models.DateTimeField(editable=False, null=True)),
                ("rows_created", models.PositiveIntegerField(default=0, editable=False)),
                ("rows_updated", models.PositiveIntegerField(default=0, editable=False)),
                ("rows_rejected", models.PositiveIntegerField(default=0, editable=False)),
                (
                    "owner",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ("-created_at",),
            },
        ),
    ]
