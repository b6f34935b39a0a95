"""`ImportRun`: one attempt at an import, as the database remembers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.files.storage import InvalidStorageError, Storage, default_storage, storages
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from ..core.commands import clean_owner

STORAGE = "import_progress"
"""Alias in `STORAGES` of the storage of reports, if the project has one of its own."""


def report_storage() -> Storage:
    """Return the storage that keeps the reports of rejected rows."""
    try:
        return storages[STORAGE]
    except InvalidStorageError:
        return default_storage


class Status(models.TextChoices):
    """How a run stands; the job's own free texts are mapped to these."""

    QUEUED = "queued", pgettext_lazy("import", "queued")
    RUNNING = "running", pgettext_lazy("import", "running")
    INTERRUPTED = "interrupted", pgettext_lazy("import", "interrupted")
    DONE = "done", pgettext_lazy("import", "done")
    FAILED = "failed", pgettext_lazy("import", "failed")
    CANCELLED = "cancelled", pgettext_lazy("import", "cancelled")
    LOST = "lost", pgettext_lazy("import", "lost")
    """Its worker died."""
    SUPERSEDED = "superseded", pgettext_lazy("import", "superseded")
    """Another attempt took the job from a worker that was alive."""


ENDED = frozenset(set(Status) - {Status.QUEUED, Status.RUNNING})
"""Statuses of runs that are over. A job that was interrupted continues with another run."""


if TYPE_CHECKING:
    TextField = models.CharField[str | None, str | None]
else:
    TextField = models.CharField  # It cannot be subscripted.


class ExactCharField(TextField):
    """A text that is compared exactly: MySQL's default collations ignore upper and lower case.

    Source: https://dev.mysql.com/doc/refman/8.4/en/charset-unicode-sets.html
    """

    def db_parameters(self, connection: Any) -> Any:
        """Return the column's type, with a binary collation on MySQL and MariaDB."""
        parameters = super().db_parameters(connection)
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_bin"
        return parameters


class ImportRunQuerySet(models.QuerySet["ImportRun"]):
    """Runs."""

    def for_owner(self, owner: Any) -> ImportRunQuerySet:
        """Return the runs of an owner: a user or a primary key."""
        return self.filter(owner=clean_owner(owner))


class ImportRun(models.Model):
    """One attempt at an import. It is written outside the import's own transactions."""

    job_id = ExactCharField(_("job"), max_length=128)
    namespace = ExactCharField(_("namespace"), max_length=255)
    attempt = models.PositiveIntegerField(_("attempt"), default=1)
    run_id = ExactCharField(max_length=64, null=True, unique=True, editable=False)
    """The attempt's fencing token, which finds the row whatever number Redis knows; None if the job
    is queued."""
    label = models.CharField(_("label"), max_length=255, blank=True)
    kind = models.CharField(_("kind"), max_length=32, default="import")
    owner = ExactCharField(_("owner"), max_length=255, null=True, blank=True)
    status = models.CharField(_("status"), max_length=16, choices=Status, default=Status.QUEUED)
    outcome = models.CharField(_("outcome"), max_length=16, null=True, blank=True)
    total_rows = models.BigIntegerField(_("rows in total"), null=True, blank=True)
    processed_rows = models.BigIntegerField(_("processed rows"), default=0)
    rejected_rows = models.BigIntegerField(_("rejected rows"), default=0)
    counters = models.JSONField(_("counters"), default=dict, encoder=DjangoJSONEncoder)
    stage = models.CharField(_("stage"), max_length=255, blank=True)
    error_message = models.TextField(_("error message"), blank=True)
    queued_at = models.DateTimeField(_("queued at"), null=True, blank=True)
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)
    snapshot = models.JSONField(_("snapshot"), default=dict, encoder=DjangoJSONEncoder)
    report = models.FileField(
        _("report"),
        storage=report_storage,
        upload_to="import_progress/%Y/%m/",
        max_length=255,
        blank=True,
    )

    missing_since = models.DateTimeField(null=True, editable=False)
    """When the job was first found to be missing in Redis, although this run has not ended."""

    objects = ImportRunQuerySet.as_manager()

    class Meta:
        verbose_name = _("import")
        verbose_name_plural = _("imports")
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["namespace", "job_id", "attempt"], name="import_progress_one_attempt"
            )
        ]
        indexes = [
            models.Index(fields=["job_id"], name="import_progress_job"),
            models.Index(fields=["owner", "-id"], name="import_progress_owner"),
            models.Index(fields=["status", "-id"], name="import_progress_status"),
            models.Index(fields=["outcome", "-id"], name="import_progress_outcome"),
            models.Index(fields=["kind", "-id"], name="import_progress_kind"),
            models.Index(fields=["started_at"], name="import_progress_started"),
            models.Index(fields=["ended_at"], name="import_progress_ended"),
        ]

    def __str__(self) -> str:
        return str(self.label or self.job_id)
