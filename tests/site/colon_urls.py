"""URLs of the tests' site with namespaces that cannot be: of included URLs, and of a view alone."""

from django.urls import include, path

from django_import_progress.web import views

urlpatterns = [
    path(
        "orders/",
        include("django_import_progress.urls", namespace="orders"),
        {"progress_namespace": "orders:eu"},
    ),
    path(
        "more/",
        include([path("<str:job>/", views.snapshot, {"progress_namespace": "orders~us"})]),
    ),
]
