"""URLs of the tests' site."""

from django.urls import include, path

from .views import bars, mine

urlpatterns = [
    path("", include("airports.urls")),
    path("bars/", bars),
    path("mine/", mine),
    path("progress/", include("django_import_progress.urls")),
    path(
        "orders/",
        include("django_import_progress.urls", namespace="order_imports"),
        {"progress_namespace": "order_imports"},
    ),
]
