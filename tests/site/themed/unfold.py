"""Unfold's admin, which has classes of its own."""

from django.contrib.auth.models import Group
from django.urls import path
from unfold.admin import ModelAdmin
from unfold.sites import UnfoldAdminSite

from django_import_progress.admin import ProgressAdminMixin
from django_import_progress.history.admin import ImportRunAdmin
from django_import_progress.history.models import ImportRun

from ..urls import urlpatterns as of_the_site

site = UnfoldAdminSite()


class GroupAdmin(ProgressAdminMixin, ModelAdmin):
    list_display = ("name", "import_progress")
    readonly_fields = ("import_progress",)
    progress_job_field = "name"


class RunAdmin(ImportRunAdmin, ModelAdmin):
    pass


site.register(Group, GroupAdmin)
site.register(ImportRun, RunAdmin)
urlpatterns = [*of_the_site, path("admin/", site.urls)]
