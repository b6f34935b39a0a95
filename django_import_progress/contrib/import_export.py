"""django-import-export: a resource's imports report themselves, and the admin shows the bar.

`ProgressImportMixin` is imported when it is asked for: resources need no `django.contrib.admin`.
"""

from __future__ import annotations

import threading
import uuid
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from import_export.resources import Resource
from import_export.results import Result
from tablib import Dataset

from ..core.errors import ImportCancelled
from ..core.keys import JobId
from ..tracker.tracker import ImportTracker

if TYPE_CHECKING:
    from .import_export_admin import ProgressImportMixin

__all__ = ["ProgressImportMixin", "ProgressResourceMixin"]

CHECKING, ROWS, COMMITTING = "checking", "rows", "committing"
"""The stages: of a dry run, and of an import, whose status says already that it is importing."""


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(import_module(f"{__name__}_admin"), name)


class ProgressResourceMixin(Resource):  # type: ignore[misc]  # It has no types.
    """Mix it into a resource: ``class ProductResource(ProgressResourceMixin, ModelResource)``.

    Each row counts, as what has become of it too: ``new``, ``update``, ``delete``, ``skip``,
    ``error``, ``invalid``. An import whose result has errors has failed.
    """

    @property
    def _job(self) -> ImportTracker | None:
        """What tracks this thread's import: a resource may be used in several."""
        return getattr(self._own, "job", None)

    @_job.setter
    def _job(self, job: ImportTracker | None) -> None:
        self._own.job = job

    @property
    def _own(self) -> Any:
        return self.__dict__.setdefault("_of_each_thread", threading.local())

    def import_data(
        self,
        dataset: Dataset,
        dry_run: bool = False,
        *args: Any,
        progress_job: JobId | None = None,
        progress_owner: Any = None,
        **kwargs: Any,
    ) -> Result:
        """Import, and report it: see `import_export.resources.Resource.import_data`.

        One that is cancelled is rolled back where it uses a transaction, and gives a result with
        an error.

        Args:
            dataset: the rows.
            dry_run: whether to check only.
            args: as import-export has them.
            progress_job: the job's id; a UUID4 where not given.
            progress_owner: the job's owner: a user, or a primary key.
            kwargs: as import-export has them.

        Raises:
            ImportSuperseded: another attempt has taken the job meanwhile.
        """
        result = None
        self._job = job = ImportTracker(
            progress_job or uuid.uuid4(),
            total=len(dataset),
            owner=progress_owner,
            stage=CHECKING if dry_run else ROWS,
        )
        try:
            with job:
                result = super().import_data(dataset, dry_run, *args, **kwargs)
                is_strict = dry_run or kwargs.get("rollback_on_validation_errors", False)
                if problem := _problem_of(result, is_strict):
                    raise ValidationError(problem)
        except ValidationError:
            if result is None:
                raise
        finally:
            self._job = None
        if result is None:
            result = self.get_result_class()()
            cancelled = ImportCancelled(gettext("Cancelled"))
            result.append_base_error(self.get_error_result_class()(cancelled))
        return result

    def import_row(self, row: Any, instance_loader: Any, **kwargs: Any) -> Any:
        """Import one row, and count it."""
        row_result = super().import_row(row, instance_loader, **kwargs)
        if (job := self._job) is not None:
            job.count(row_result.import_type)
            job.advance()
        return row_result

    def after_import(self, dataset: Dataset, result: Result, **kwargs: Any) -> None:
        """Tell that all rows are through. Call it where you override it."""
        super().after_import(dataset, result, **kwargs)
        if (job := self._job) is not None and not kwargs.get("dry_run"):
            job.set(stage=COMMITTING)


def _problem_of(result: Result, is_strict: bool) -> str:
    """Return in import-export's own words why nothing was, or will be, imported; or nothing."""
    if result.has_errors():
        return gettext("Errors")
    if is_strict and result.has_validation_errors():
        return gettext("Some rows failed to validate")
    return ""
