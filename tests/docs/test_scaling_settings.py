"""The settings of `docs/scaling.md` for nginx lead all who watch a job to the same process."""

from __future__ import annotations

import httpx
import pytest

from django_import_progress.access import make_ticket

from ..conftest import missing
from ..faults.conftest import defence
from ..kit import http
from ..kit.controls import without
from ..kit.documented import blocks
from ..kit.nginx import Nginx, nginx_binary
from ..kit.processes import free_port

__all__ = ["defence"]

[DOCUMENTED] = [block.code for block in blocks("docs/scaling.md") if block.language == "nginx"]
SITES = ("8001", "8002")


@pytest.fixture
def nginx() -> str:
    binary = nginx_binary()
    if binary is None:  # pragma: no cover - where the machine has everything
        missing("nginx")
    return str(binary)


def settings_of(port: int) -> str:
    """Return the documented settings, and two sites that say who they are."""
    text = DOCUMENTED.replace("8080", f"127.0.0.1:{port}")
    for name in SITES:
        at = f"127.0.0.1:{free_port()}"
        text = text.replace(f"127.0.0.1:{name}", at)
        text += f"server {{ listen {at}; location / {{ return 200 {name}; }} }}"
    return text


def it_goes_by_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each ticket be led elsewhere."""
    by_address = DOCUMENTED.replace('/stream/$" $ticket_job;', '/stream/$" $uri;')
    assert by_address != DOCUMENTED
    monkeypatch.setattr(f"{__name__}.DOCUMENTED", by_address)


@without(it_goes_by_the_address)
def test_the_watchers_of_a_job_are_led_to_one_process(nginx: str) -> None:
    port = free_port()
    with Nginx(nginx, free_port(), beside=settings_of(port)), http.Client() as client:

        def led_to(reference: str) -> str:
            url = f"http://127.0.0.1:{port}/progress/jobs/{reference}/stream/"
            answer: httpx.Response = client.get(url)
            return answer.text

        jobs = ["a:b", *(f"job-{number}" for number in range(20))]
        tickets = {
            job_id: [
                make_ticket(job_id, cancel=cancel, owner=owner)
                for cancel in (False, True)
                for owner in (None, 7, 8)
            ]
            for job_id in jobs
        }
        found = {job_id: {led_to(ticket) for ticket in each} for job_id, each in tickets.items()}
        assert all(len(each) == 1 for each in found.values()), found
        assert set().union(*found.values()) == set(SITES)
        several = f"http://127.0.0.1:{port}/progress/stream/?job=a&job=b"
        assert client.get(several).text in SITES
