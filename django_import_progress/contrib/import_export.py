"""django-import-export integration: mixins for resources and for the admin.

`ProgressImportMixin` is imported on first access: resources do not need `django.contrib.admin`.
"""

from __future__ import annotations

import uuid
from contextvars import ContextVar
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
"""The stages: of a dry run, and of an import."""

_job: ContextVar[ImportTracker | None] = ContextVar("tracker of this import", default=None)
"""Not an attribute of the resource, which may be used in several threads."""


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(import_module(f"{__name__}_admin"), name)


class ProgressResourceMixin(Resource):  # type: ignore[misc]  # It has no types.
    """Mix it into a resource: ``class ProductResource(ProgressResourceMixin, ModelResource)``.

    Each row is counted, also by its result: ``new``, ``update``, ``delete``, ``skip``, ``error``
    or ``invalid``. An import whose result has errors ends ``failed``.
    """

    def import_data(
        self,
        dataset: Dataset,
        dry_run: bool = False,
        *args: Any,
        progress_job: JobId | None = None,
        progress_owner: Any = None,
        **kwargs: Any,
    ) -> Result:
        """Import and report progress: see `import_export.resources.Resource.import_data`.

        A cancelled import is rolled back if it uses a transaction, and returns a result with an
        error.

        Args:
            dataset: the rows.
            dry_run: whether to only check the rows.
            args: further arguments of import-export.
            progress_job: the job's id; a UUID4 by default.
            progress_owner: the job's owner: a user or a primary key.
            kwargs: further arguments of import-export.

        Raises:
            ImportSuperseded: another attempt has taken the job.
        """
        result = None
        job = ImportTracker(
            progress_job or uuid.uuid4(),
            total=len(dataset),
            owner=progress_owner,
            stage=CHECKING if dry_run else ROWS,
        )
        token = _job.set(job)
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
            _job.reset(token)
        if result is None:
            result = self.get_result_class()()
            cancelled = ImportCancelled(gettext("Cancelled"))
            result.append_base_error(self.get_error_result_class()(cancelled))
        return result

    def import_row(self, row: Any, instance_loader: Any, **kwargs: Any) -> Any:
        """Import a row and count it."""
        row_result = super().import_row(row, instance_loader, **kwargs)
        if (job := _job.get()) is not None:
            job.count(row_result.import_type)
            job.advance()
        return row_result

    def after_import(self, dataset: Dataset, result: Result, **kwargs: Any) -> None:
        """Set the stage after the last row. Call `super()` if you override this."""
        super().after_import(dataset, result, **kwargs)
        if (job := _job.get()) is not None and not kwargs.get("dry_run"):
            job.set(stage=COMMITTING)


def _problem_of(result: Result, is_strict: bool) -> str:
    """Return why nothing was or will be imported, in import-export's words; empty if no problem."""
    if result.has_errors():
        return gettext("Errors")
    if is_strict and result.has_validation_errors():
        return gettext("Some rows failed to validate")
    return ""
