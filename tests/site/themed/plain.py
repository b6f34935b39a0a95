"""Django's admin, whose templates Jazzmin and Grappelli replace."""

from django.contrib import admin
from django.contrib.auth.models import Group
from django.urls import include, path

from django_import_progress.admin import ProgressAdminMixin
from django_import_progress.history.admin import ImportRunAdmin
from django_import_progress.history.models import ImportRun

from ..urls import urlpatterns as of_the_site

site = admin.AdminSite()

site.register(ImportRun, ImportRunAdmin)


@admin.register(Group, site=site)
class GroupAdmin(ProgressAdminMixin, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "import_progress")
    readonly_fields = ("import_progress",)
    progress_job_field = "name"


urlpatterns = [
    *of_the_site,
    path("admin/", site.urls),
    path("grappelli/", include("grappelli.urls")),
]
