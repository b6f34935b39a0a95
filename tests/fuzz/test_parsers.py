"""What comes from outside is read or refused, and never raises anything else."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import pytest
from django.test import override_settings
from hypothesis import example, given
from hypothesis import strategies as st

from django_import_progress import InvalidJobId
from django_import_progress.access.origins import is_foreign
from django_import_progress.access.tickets import Action, job_id_in, make_ticket, read_ticket
from django_import_progress.core import sse
from django_import_progress.core.job_state import State
from django_import_progress.core.keys import clean_job_id
from django_import_progress.core.reducer import JobStateReducer, JunkMessage
from django_import_progress.core.snapshot import decode
from django_import_progress.web.websocket import BadCommand, Command, parse_command
from tests.kit.sse import parse

from .strategies import EDITS, JSON, MESSAGES, SNAPSHOTS, VALUES, edited

NAMESPACE = "import_progress"
JOB_IDS = st.from_regex(r"\A[A-Za-z0-9._:~-]{1,128}\Z")


def _job_of(ticket: str, action: Action) -> str | None:
    grant = read_ticket(ticket, action, NAMESPACE)
    return None if grant is None else grant.job_id


@given(st.text() | JSON | JOB_IDS)
def test_a_job_id_is_of_its_alphabet_or_refused(text: Any) -> None:
    if isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9._:~-]{1,128}", text):
        assert clean_job_id(text) == text
    else:
        with pytest.raises(InvalidJobId, match="Invalid job id"):
            clean_job_id(text)


@given(JOB_IDS, st.booleans())
def test_a_ticket_is_good_for_what_it_was_made_for(job_id: str, cancel: bool) -> None:
    ticket = make_ticket(job_id, cancel=cancel)
    assert _job_of(ticket, "watch") == job_id
    assert _job_of(ticket, "cancel") == (job_id if cancel else None)
    assert job_id_in(ticket) == job_id
    assert read_ticket(ticket, "watch", "another") is None


@given(JOB_IDS, EDITS)
def test_a_ticket_with_a_character_changed_is_good_for_nothing(
    job_id: str, edit: tuple[str, int, str]
) -> None:
    ticket = make_ticket(job_id, cancel=True)
    forged = edited(ticket, edit)
    # The mark is no part of what is signed, and what lacks it is never taken for a ticket.
    is_same = forged.removeprefix("@") == ticket.removeprefix("@")
    assert _job_of(forged, "watch") == (job_id if is_same else None)


@given(st.text())
@example("@")
@example("@w:" + ":" * 50)
def test_whatever_is_no_ticket_is_good_for_nothing(text: str) -> None:
    assert read_ticket(text, "watch", NAMESPACE) is None
    job_id_in(text)


EVENT_IDS = st.text() | st.from_regex(r"\A[0-9]{1,25}-[0-9]{1,25}-[0-9]{1,25}(-end|-gone)?\Z")


@given(EVENT_IDS | st.from_regex(r"\Aend-[0-9a-f]{32}\Z"), SNAPSHOTS)
def test_a_last_event_id_names_an_end_or_nothing(event_id: str, fields: dict[str, Any]) -> None:
    stored = decode({name: json.dumps(value) for name, value in fields.items()})
    assert not (stored and sse.has_nothing_new(event_id, {"job": stored}))
    is_end = sse.is_end_id(event_id)
    assert sse.has_nothing_new(event_id, {"job": None}) is is_end


@given(EVENT_IDS | st.from_regex(r"\Apolled-[0-9a-f]{16}-[nsmgx]{0,4}\Z"))
def test_of_what_a_client_says_it_knows_only_what_we_told_it_counts(event_id: str) -> None:
    known = sse.poll_state(event_id, {"a": None, "b": None})
    assert known == {"a": sse.NEVER_SEEN, "b": sse.NEVER_SEEN}


@given(st.text() | JSON.map(json.dumps))
def test_what_is_no_command_is_told_what_one_is(text: str) -> None:
    with pytest.raises(BadCommand, match=r"\w"):
        parse_command(text)


@given(JSON | st.sampled_from(["watch", "unwatch", "cancel"]), JSON | st.text())
def test_a_command_is_read_or_refused(action: Any, job: Any) -> None:
    with suppress(BadCommand):
        assert parse_command(json.dumps({"action": action, "job": job})) == Command(action, job)


def _is_fit_to_be_shown(state: State) -> None:
    """See that what watchers get is one event, one line, strict JSON, and 0 to 100 percent."""
    (event,) = parse(iter(state.event.decode().split("\n")))
    assert "\r" not in event.data
    assert json.loads(event.data, parse_constant=pytest.fail) == json.loads(
        state.message if not state.gone else event.data
    )
    percent = state.representation["percent"]
    assert percent is None or 0 <= percent <= 100


@given(st.lists(MESSAGES, max_size=6))
def test_whatever_is_told_on_a_channel_is_shown_whole_or_dropped(messages: list[Any]) -> None:
    view = JobStateReducer("job")
    for message in messages:
        with suppress(JunkMessage):
            view.apply_message(message)
        if view.state is not None:
            _is_fit_to_be_shown(view.state)


@given(st.dictionaries(st.binary(), st.binary() | VALUES.map(json.dumps).map(str.encode)))
def test_whatever_stands_in_a_hash_is_shown(values: dict[bytes, bytes]) -> None:
    view = JobStateReducer("job")
    view.apply_read(decode(values), view.begin_read(), heartbeat=True)
    if view.state is not None:
        _is_fit_to_be_shown(view.state)


ORIGINS = st.text(st.characters(max_codepoint=255)) | st.from_regex(
    r"\Ahttps?://[a-z.@:\[\]/]{0,12}(example\.com)?[a-z.@:\[\]/0-9]{0,6}\Z"
)


@given(ORIGINS, ORIGINS)
def test_an_origin_is_the_hosts_own_or_foreign(origin: str, host: str) -> None:
    headers = [(b"origin", origin.encode("latin-1")), (b"host", host.encode("latin-1"))]
    with override_settings(ALLOWED_HOSTS=["*"]):
        is_own = origin.lower().partition("://")[2].split(":")[0] == host.lower().split(":")[0]
        assert is_own or is_foreign(headers, ("127.0.0.1", 80))
