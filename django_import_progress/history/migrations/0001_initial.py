"""Creates the table of runs."""

from __future__ import annotations

from django.core.serializers.json import DjangoJSONEncoder
from django.db import migrations, models

from ..models import ExactCharField, report_storage


class Migration(migrations.Migration):
    """Initial migration."""

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="ImportRun",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "job_id",
                    ExactCharField(max_length=128, verbose_name="job"),
                ),
                (
                    "namespace",
                    ExactCharField(max_length=255, verbose_name="namespace"),
                ),
                ("attempt", models.PositiveIntegerField(default=1, verbose_name="attempt")),
                (
                    "run_id",
                    ExactCharField(editable=False, max_length=64, null=True, unique=True),
                ),
                ("label", models.CharField(blank=True, max_length=255, verbose_name="label")),
                ("kind", models.CharField(default="import", max_length=32, verbose_name="kind")),
                (
                    "owner",
                    ExactCharField(blank=True, max_length=255, null=True, verbose_name="owner"),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "queued"),
                            ("running", "running"),
                            ("interrupted", "interrupted"),
                            ("done", "done"),
                            ("failed", "failed"),
                            ("cancelled", "cancelled"),
                            ("lost", "lost"),
                            ("superseded", "superseded"),
                        ],
                        default="queued",
                        max_length=16,
                        verbose_name="status",
                    ),
                ),
                (
                    "outcome",
                    models.CharField(blank=True, max_length=16, null=True, verbose_name="outcome"),
                ),
                (
                    "total_rows",
                    models.BigIntegerField(blank=True, null=True, verbose_name="rows in total"),
                ),
                (
                    "processed_rows",
                    models.BigIntegerField(default=0, verbose_name="processed rows"),
                ),
                ("rejected_rows", models.BigIntegerField(default=0, verbose_name="rejected rows")),
                (
                    "counters",
                    models.JSONField(
                        default=dict,
                        encoder=DjangoJSONEncoder,
                        verbose_name="counters",
                    ),
                ),
                ("stage", models.CharField(blank=True, max_length=255, verbose_name="stage")),
                ("error_message", models.TextField(blank=True, verbose_name="error message")),
                (
                    "queued_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="queued at"),
                ),
                (
                    "started_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="started at"),
                ),
                ("ended_at", models.DateTimeField(blank=True, null=True, verbose_name="ended at")),
                (
                    "snapshot",
                    models.JSONField(
                        default=dict,
                        encoder=DjangoJSONEncoder,
                        verbose_name="snapshot",
                    ),
                ),
                (
                    "report",
                    models.FileField(
                        blank=True,
                        max_length=255,
                        storage=report_storage,
                        upload_to="import_progress/%Y/%m/",
                        verbose_name="report",
                    ),
                ),
                ("missing_since", models.DateTimeField(editable=False, null=True)),
            ],
            options={
                "verbose_name": "import",
                "verbose_name_plural": "imports",
                "ordering": ["-pk"],
                "indexes": [
                    models.Index(fields=["job_id"], name="import_progress_job"),
                    models.Index(fields=["owner", "-id"], name="import_progress_owner"),
                    models.Index(fields=["status", "-id"], name="import_progress_status"),
                    models.Index(fields=["outcome", "-id"], name="import_progress_outcome"),
                    models.Index(fields=["kind", "-id"], name="import_progress_kind"),
                    models.Index(fields=["started_at"], name="import_progress_started"),
                    models.Index(fields=["ended_at"], name="import_progress_ended"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("namespace", "job_id", "attempt"),
                        name="import_progress_one_attempt",
                    )
                ],
            },
        ),
    ]
