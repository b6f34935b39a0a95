"""The page security.md: its settings separate the tenants of a site."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections

from django_import_progress import SyncProgressManager, get_sync_progress_manager

from ..kit.documented import blocks


def test_each_tenant_has_its_own_jobs(
    jobs: SyncProgressManager, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    [block] = [block for block in blocks("docs/security.md") if block.file]
    names: dict[str, Any] = {}
    exec(block.code, names)  # noqa: S102
    settings.IMPORT_PROGRESS |= names["IMPORT_PROGRESS"]
    for tenant in ("acme", "other"):
        monkeypatch.setitem(vars(connections["default"]), "schema_name", tenant)
        get_sync_progress_manager().create("job", data={"of": tenant})
    for tenant in ("acme", "other"):
        snapshot = SyncProgressManager(jobs.redis, namespace=tenant).get_progress("job")
        assert (snapshot or {})["of"] == tenant
