"""`manage.py import_progress` on a site whose namespace depends on the tenant."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError

from django_import_progress import get_sync_progress_manager
from django_import_progress.management.commands.import_progress import SUBCOMMANDS, has_all
from tests.kit.processes import RedisProcess
from tests.site import tenants

from .test_command import run


@pytest.fixture(autouse=True)
def tenant_site(site: RedisProcess, settings: Any) -> None:
    settings.IMPORT_PROGRESS |= {"NAMESPACE": tenants.by_context}


@pytest.mark.parametrize("arguments", [["--namespace", "alpha"], []])
def test_it_shows_the_jobs_of_one_tenant(arguments: list[str]) -> None:
    for tenant in tenants.HOSTS:
        get_sync_progress_manager(tenant).create("job", data={"stage": f"of {tenant}"})
    token = tenants.current.set("beta" if arguments else "alpha")
    shown = run("list", *arguments), run("show", "job", *arguments)
    tenants.current.reset(token)
    assert ["of alpha" in text for text in shown] == [True, True]


@pytest.mark.parametrize("name", [n for n, module in SUBCOMMANDS.items() if not has_all(module)])
def test_without_a_tenant_it_says_how_to_name_one(name: str) -> None:
    arguments = [] if name in {"list", "relay"} else ["job"]
    with pytest.raises(CommandError, match=r"NAMESPACE raised LookupError: .* pass --namespace"):
        run(name, *arguments)


def test_what_is_no_namespace_is_an_error_of_the_settings(settings: Any) -> None:
    settings.IMPORT_PROGRESS |= {"NAMESPACE": lambda: "a:b"}
    with pytest.raises(ImproperlyConfigured, match="returned 'a:b'"):
        run("list")
