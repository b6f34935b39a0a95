"""URL patterns: ``path("progress/", include("django_import_progress.urls"))``."""

from __future__ import annotations

from django.urls import path

from .web import views
from .web.rejects import rejects
from .widget.job_list import list_items

app_name = "import_progress"

urlpatterns = [
    path("jobs/<str:job>/", views.snapshot, name="snapshot"),
    path("jobs/<str:job>/stream/", views.stream, name="stream"),
    path("jobs/<str:job>/cancel/", views.cancel, name="cancel"),
    path("jobs/<str:job>/rejects/", rejects, name="rejects"),
    path("stream/", views.streams, name="streams"),
    path("list/<str:listing>/", list_items, name="list"),
]
