"""URLs that do not include the app."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
