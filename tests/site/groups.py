"""An admin in which groups of users are imported by django-import-export, as urlconf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.urls import include, path
from import_export.admin import ImportExportModelAdmin
from import_export.resources import ModelResource

from django_import_progress.contrib.import_export import ProgressImportMixin, ProgressResourceMixin


class GroupResource(ProgressResourceMixin, ModelResource):
    """Takes a row at a time."""

    before_each: Callable[[Any, int], object] = staticmethod(lambda resource, number: None)
    """What is called before a row; a test can have it wait."""

    class Meta:
        """See `Resource`."""

        model = Group
        fields = ("name",)
        import_id_fields = ("name",)

    def before_import_row(self, row: dict[str, Any], **kwargs: Any) -> None:
        type(self).before_each(self, kwargs["row_number"])
        if row["name"] == "invalid":
            raise ValidationError("A group cannot be named so.")
        if row["name"] == "broken":
            raise RuntimeError("This row breaks.")


class GroupAdmin(ProgressImportMixin, ImportExportModelAdmin):
    """As the documentation has it."""

    resource_classes = (GroupResource,)
    skip_admin_log = True  # There is no table for it.


site = AdminSite()
site.register(Group, GroupAdmin)
urlpatterns = [
    path("admin/", site.urls),
    path("progress/", include("django_import_progress.urls")),
]
