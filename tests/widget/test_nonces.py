"""The nonces of real policies, which are false until they are rendered: our tags may be first."""

from __future__ import annotations

import re
from typing import Any

import django
import pytest
from csp.constants import NONCE
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
from django.test import Client
from django.urls import include, path

from django_import_progress import SyncProgressManager
from django_import_progress.widget import context, job_list
from tests.faults.conftest import defence
from tests.kit.admin import ADMIN, add_admin
from tests.kit.controls import without

__all__ = ["defence"]

PAGE = "{% load import_progress %}{% import_progress_assets %}{% import_progress_list owner=1 %}"
TAGS = re.compile(r"<(?:script|link)\b[^>]*>")
DIRECTIVES = ("script-src", "style-src")
POLICIES: dict[str, dict[str, Any]] = {
    "django-csp": {
        "MIDDLEWARE": "csp.middleware.CSPMiddleware",
        "CONTENT_SECURITY_POLICY": {
            "DIRECTIVES": {name: [NONCE] for name in DIRECTIVES},
        },
    },
    "Django": {
        "MIDDLEWARE": "django.middleware.csp.ContentSecurityPolicyMiddleware",
        "PROCESSOR": "django.template.context_processors.csp",
        "SECURE_CSP": {name: ["<CSP_NONCE_SENTINEL>"] for name in DIRECTIVES},
    },
}
"""By the package that makes the nonce: what a site has to set."""
each_policy = pytest.mark.parametrize(
    "policy", ["django-csp", "Django"] if django.VERSION >= (6, 0) else ["django-csp"]
)


def page(request: HttpRequest) -> HttpResponse:
    """Show the tags as the first, and only, ones that need a nonce."""
    return HttpResponse(Template(PAGE).render(RequestContext(request)))


urlpatterns = [path("", page), path("progress/", include("django_import_progress.urls"))]


def set_policy(settings: Any, policy: str) -> None:
    """Set the policy of a site."""
    values = dict(POLICIES[policy])
    settings.MIDDLEWARE = [values.pop("MIDDLEWARE"), *settings.MIDDLEWARE]
    [templates] = settings.TEMPLATES
    processors = [
        *templates["OPTIONS"]["context_processors"],
        *filter(None, [values.pop("PROCESSOR", None)]),
    ]
    settings.TEMPLATES = [{**templates, "OPTIONS": {"context_processors": processors}}]
    for name, value in values.items():
        setattr(settings, name, value)


def tags_of(response: Any) -> list[str]:
    """Return what a policy may block, if it is not on the page without a reason."""
    return [tag for tag in TAGS.findall(response.text) if "application/json" not in tag]


def takes_it_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask whether the nonce is true."""

    def nonce_of(page: Any) -> Any:
        return page.get("csp_nonce") or getattr(page.get("request"), "csp_nonce", None) or None

    monkeypatch.setattr(context, "nonce_of", nonce_of)
    monkeypatch.setattr(job_list, "nonce_of", nonce_of)


@each_policy
@without(takes_it_for_none)
def test_the_tags_have_the_nonce_of_the_policy(
    jobs: SyncProgressManager, settings: Any, policy: str
) -> None:
    settings.ROOT_URLCONF = __name__
    set_policy(settings, policy)
    response = Client().get("/")
    found = re.findall("'nonce-([^']+)'", response["Content-Security-Policy"])
    assert len(found) == len(DIRECTIVES)
    assert [f'nonce="{found[0]}"' in tag for tag in tags_of(response)] == [True] * 3


@each_policy
def test_the_tags_have_no_nonce_where_there_is_none(
    jobs: SyncProgressManager, settings: Any, policy: str
) -> None:
    settings.ROOT_URLCONF = __name__
    set_policy(settings, policy)
    settings.MIDDLEWARE = settings.MIDDLEWARE[1:]
    assert "nonce" not in "".join(tags_of(Client().get("/")))


@pytest.mark.django_db
@each_policy
@pytest.mark.parametrize("place", ["", "{pk}/change/"])
def test_the_admin_adds_its_nonce_to_our_assets_as_to_its_own(
    jobs: SyncProgressManager, settings: Any, policy: str, place: str
) -> None:
    add_admin(settings)
    settings.ROOT_URLCONF = "tests.site.uploads"
    set_policy(settings, policy)
    group = Group.objects.create(name=jobs.create())
    client = Client()
    client.force_login(User.objects.create_user(**ADMIN))
    tags = tags_of(client.get(f"/admin/auth/group/{place.format(pk=group.pk)}"))
    ours = [tag for tag in tags if "import-progress" in tag]
    assert [re.split(" |=", tag)[0] for tag in ours] == ["<link", "<script"]
    # Before Django 6.1 the admin has no nonces, and it never has those of another package.
    assert {"nonce=" in tag for tag in tags} == {policy == "Django" and django.VERSION >= (6, 1)}


@pytest.mark.django_db
@each_policy
def test_the_page_of_import_export_has_it_too(
    jobs: SyncProgressManager, settings: Any, policy: str
) -> None:
    add_admin(settings)
    set_policy(settings, policy)
    client = Client()
    client.force_login(User.objects.create_user(**ADMIN))
    tags = tags_of(client.get("/admin/auth/group/import/"))
    ours = [tag for tag in tags if "/django_import_progress/" in tag]
    assert ["nonce=" in tag for tag in ours] == [True] * 3
