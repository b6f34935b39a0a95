"""URLs of the tests' site with an admin in which a group's name is the id of a job."""

from django.contrib import admin
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

from django_import_progress.admin import ProgressAdminMixin

from .urls import urlpatterns as of_the_site

site = admin.AdminSite()


@admin.register(Group, site=site)
class GroupAdmin(ProgressAdminMixin, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "import_progress")
    readonly_fields = ("import_progress",)
    progress_job_field = "name"


def with_htmx(request: HttpRequest) -> HttpResponse:
    """Show a page to which htmx adds the bar of `?job=`."""
    script = f"django_htmx/{request.GET['version']}.min.js"
    return render(request, "htmx.html", {"job": request.GET["job"], "script": script})


def with_turbo(request: HttpRequest, place: str, job_id: str) -> HttpResponse:
    """Show a job's bar in the `page`, in a `frame`, or `nowhere`."""
    return render(request, "turbo.html", {"place": place, "job": job_id})


def fragment(request: HttpRequest, job_id: str) -> HttpResponse:
    """Give a bar alone."""
    return render(request, "htmx_bar.html", {"job_id": job_id})


def after(request: HttpRequest) -> HttpResponse:
    """Give what is shown when an import has ended."""
    return HttpResponse("It is over.")


urlpatterns = [
    *of_the_site,
    path("admin/", site.urls),
    path("htmx/", with_htmx),
    path("htmx/bar/<str:job_id>/", fragment),
    path("turbo/<str:place>/<str:job_id>/", with_turbo),
    path("htmx/after/", after, name="after"),
]
