"""The site's URLs."""

from django.urls import include, path

urlpatterns = [
    path("", include("airports.urls")),
    # Where the widget on the import page asks how far the import is.
    path("progress/", include("django_import_progress.urls")),
]
