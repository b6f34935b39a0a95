"""The site's URLs."""

from django.urls import include, path

urlpatterns = [
    path("", include("airports.urls")),
    # The endpoints from which the widget gets the progress.
    path("progress/", include("django_import_progress.urls")),
]
