"""URLs of the pages."""

from django.contrib.auth.views import LoginView
from django.urls import path

from . import views

app_name = "airports"

urlpatterns = [
    path("", views.ImportCreate.as_view(), name="home"),
    path("imports/<uuid:pk>/", views.ImportDetail.as_view(), name="import"),
    path("imports/now/", views.ImportsNow.as_view(), name="now"),
    path("imports/now/row/", views.ImportRow.as_view(), name="now-row"),
    path(
        "login/",
        LoginView.as_view(template_name="airports/login.html", next_page="airports:now"),
        name="login",
    ),
    path("airports/", views.AirportList.as_view(), name="list"),
]
