"""URLs of the pages."""

from django.urls import path

from . import views

app_name = "airports"

urlpatterns = [
    path("", views.ImportCreate.as_view(), name="home"),
    path("imports/<uuid:pk>/", views.ImportDetail.as_view(), name="import"),
    path("airports/", views.AirportList.as_view(), name="list"),
]
