"""Any sequence of writes and messages: the last state of every watcher is what is stored."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import Phase, given, settings
from hypothesis.errors import FlakyFailure

from django_import_progress.core.reducer import JobStateReducer
from django_import_progress.core.snapshot import Stored
from django_import_progress.service import sync_manager
from django_import_progress.watch import subscriber
from tests.faults.naive import edit, tells_no_databases_apart
from tests.kit import waiting
from tests.kit.controls import FAILURES
from tests.kit.processes import RedisProcess

from .sequences import SEQUENCES, Stage, Steps

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "200")) // 2
"""With each heartbeat."""
QUICK = settings(
    max_examples=200, derandomize=True, phases=[Phase.generate], report_multiple_bugs=False
)
"""For a control: the first failure is enough."""
SILENCE = 3600.0
"""A heartbeat that never comes."""


@pytest.fixture(params=[0.05, SILENCE], ids=["heartbeats", "silence"])
def stage(
    request: pytest.FixtureRequest,
    defence: bool,
    server: RedisProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stage]:
    for module in (subscriber, sync_manager):
        monkeypatch.setattr(module, "READ_INTERVAL_SECONDS", 0.005)
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 20.0 if defence else 1.0)
    with Stage(server.port, request.param) as stage:
        yield stage


def never_drops_an_overlay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what was published over whatever is stored later."""
    replace = JobStateReducer._replace

    def replace_and_keep(self: JobStateReducer, stored: Stored) -> bool:
        overlay = self._overlay
        replace(self, stored)
        self._overlay = overlay
        return self._refresh()

    monkeypatch.setattr(JobStateReducer, "_replace", replace_and_keep)


def shows_an_end_without_a_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe each message that ends the job."""
    monkeypatch.setattr(JobStateReducer, "_is_confirmed", True)


def deletes_without_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember no deletion."""
    edit(monkeypatch, "DELETE", ("write_record('x', values, ended_seconds)", ""))


def perform(stage: Stage, how: settings) -> None:
    @how
    @given(SEQUENCES)
    def last_states_are_right(sequence: Steps) -> None:
        stage.perform(sequence)

    last_states_are_right()


@pytest.mark.timeout(0)
def test_the_last_state_of_every_watcher_is_what_is_stored(stage: Stage) -> None:
    perform(stage, settings(max_examples=EXAMPLES))


CONTROLS = (
    never_drops_an_overlay,
    shows_an_end_without_a_read,
    tells_no_databases_apart,
    deletes_without_a_record,
)


@pytest.mark.xfail(raises=(*FAILURES, FlakyFailure), strict=True)
@pytest.mark.parametrize("defence", CONTROLS, indirect=True)
@pytest.mark.parametrize("stage", [SILENCE], indirect=True)
def test_it_is_not_without_a_defence(stage: Stage) -> None:
    perform(stage, QUICK)


NOW = (0, "wait")
BEGIN = ("work", ("begin", 0, False, 30)), NOW
EXPIRE = ("expire", ("PEXPIRE",)), NOW
OVERWRITE = ("hset", ("status", b'"importing"')), NOW
DELETE = ("verb", ("sync", "delete", ("a",), None)), NOW


@pytest.mark.parametrize(
    "before",
    [[], [BEGIN, (("work", ("end", 0, False, 30)), NOW)]],
    ids=["nothing", "an ended run"],
)
def test_a_deletion_of_what_another_program_wrote_outlives_the_worker(
    stage: Stage, before: Steps
) -> None:
    late = ("work", ("advance", -1, True, 30)), NOW  # By the last worker that has begun.
    stage.perform([*before, BEGIN, EXPIRE, OVERWRITE, DELETE, late])
