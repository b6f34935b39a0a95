"""URLs of the site with django-eventstream."""

from django.urls import include, path

urlpatterns = [
    path("jobs/<channel>/", include("django_eventstream.urls")),
]
