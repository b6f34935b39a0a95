"""The lists of jobs: what is read and forgotten, and what a Cluster has to be sent besides."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from django_import_progress import InvalidProgress
from django_import_progress.core.commands import NOBODY, JobCommands
from django_import_progress.core.job_index import LENGTH, SECONDS, snapshots
from django_import_progress.core.keys import Keys
from django_import_progress.core.lease import Attempt, Lease
from django_import_progress.core.lua import scripts
from django_import_progress.core.snapshot import Stored

NOW = "2025-11-19T14:30:00.000000+00:00"
CALLS = JobCommands(Keys("ns"), 3600, json.JSONEncoder().default)
CLUSTERED = dataclasses.replace(CALLS, keys=Keys("ns", clustered=True))


def _stored(life: int, **fields: Any) -> Stored:
    return Stored(fields=fields, life=life, version=1, owner=None)


def _first(owner: str | None) -> tuple[str | int, ...]:
    (page,) = CALLS.jobs(owner, 50).send(None)  # type: ignore[arg-type]
    return page.command


def _page_of(limit: int) -> Any:
    plan = CALLS.jobs(None, limit)
    return plan, plan.send(None)[0]  # type: ignore[arg-type]


def test_a_list_is_read_by_its_newest() -> None:
    assert _first(None) == ("ZREVRANGE", "ns:jobs", 0, 49, "WITHSCORES")
    assert _first("7")[1] == CALLS.keys.index("7")
    assert _first(NOBODY)[1] != _first(None)[1]


@pytest.mark.parametrize(
    "reply",
    [
        [b"j1", b"1763555400123456", b"j2", b"9"],
        [[b"j1", 1763555400123456.0], [b"j2", 9.0]],
        [("j1", 1763555400123456.0), ("j2", 9.0)],
    ],
    ids=["resp2", "resp3", "decoded"],
)
def test_both_protocols_answers_are_read(reply: Any) -> None:
    _, page = _page_of(5)
    assert page.parse(reply) == [("j1", 1763555400123456), ("j2", 9)]
    assert page.parse([]) == []


def test_what_is_gone_or_made_anew_is_taken_out_and_the_next_page_read() -> None:
    plan, _ = _page_of(2)
    gets = plan.send([[("j3", 30), ("j2", 20)]])
    assert [get.command for get in gets] == [CALLS.get(job_id).command for job_id in ("j3", "j2")]
    removal, page = plan.send([_stored(30, job_id="x", a=1), None])
    assert removal.command == ("ZREMRANGEBYSCORE", "ns:jobs", 20, 20)
    assert page.command == ("ZREVRANGE", "ns:jobs", 1, 100, "WITHSCORES")
    plan.send([1, [("j1", 10), ("j0", 5)]])
    (removal,) = plan.send([_stored(11), _stored(5)])  # Of j1 there is another life now.
    assert removal.command == ("ZREMRANGEBYSCORE", "ns:jobs", 10, 10)
    with pytest.raises(StopIteration) as end:
        plan.send([1])
    assert snapshots(end.value.value) == [{"job_id": "j3", "a": 1}, {"job_id": "j0"}]


def test_a_job_that_slipped_to_the_next_page_meanwhile_is_listed_once() -> None:
    plan, _ = _page_of(3)
    plan.send([[("j3", 30), ("j2", 20), ("j1", 10)]])
    plan.send([_stored(30), _stored(20), None])
    plan.send([1, [("j2", 20), ("j0", 5)]])  # A page that is not full is the last.
    with pytest.raises(StopIteration) as end:
        plan.send([_stored(20), _stored(5)])
    assert list(end.value.value) == ["j3", "j2", "j0"]


@pytest.mark.parametrize("limit", [0, -1, True, 1.0, "5", None])
def test_a_limit_that_is_none_is_refused(limit: Any) -> None:
    with pytest.raises(InvalidProgress, match="must be a positive integer"):
        CALLS.jobs(None, limit)


def test_in_a_cluster_a_job_is_entered_into_each_list_after_it_was_made() -> None:
    call = CLUSTERED.create("j1", "7", {}, NOW, None)
    assert call.command[2:6] == (2, "ns:hash:j1", "ns:end:{ns:hash:j1}", 3600)
    assert call.follow is not None
    steps = call.follow([scripts.OK, [b"42", b'"7"', b"null"]])
    args = ("j1", 42, 3600, LENGTH, SECONDS)
    assert [step.command for step in steps] == [
        ("EVALSHA", scripts.ENLIST.sha, 1, key, *args) for key in ("ns:jobs", CALLS.keys.index("7"))
    ]
    own_ttl = call.follow([scripts.OK, [b"42", b"null", b"60"]])
    assert [step.command[3:7] for step in own_ttl] == [("ns:jobs", "j1", 42, 60)]


def test_on_one_server_nothing_has_to_follow() -> None:
    call = CALLS.create("j1", "7", {}, NOW, None)
    assert call.follow is not None
    assert call.follow([scripts.OK, [b"42", b'"7"', b"null"]]) == []


def test_in_a_cluster_a_worker_enters_what_it_has_made() -> None:
    lease = Lease("token", 30)
    begin = CLUSTERED.begin("j1", None, lease, {}, NOW)
    assert begin.follow is not None
    assert len(begin.follow([scripts.OK, [b"1", [b"42", b'"7"', b"null"], b"0"]])) == 2
    attempt = Attempt(number=1, base={}, owner=None, ttl_seconds=None, lease=lease)
    write = CLUSTERED.write("j1", attempt, {}, NOW, number=1, may_create=True)
    assert write.follow is not None
    assert write.follow([scripts.OK, b"0"]) == write.follow([scripts.MISSING]) == []
    assert len(write.follow([scripts.OK, b"0", [b"42", b"null", b"null"]])) == 1
