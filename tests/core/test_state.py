"""One moment of a job: its frame, its JSON and its id."""

from __future__ import annotations

import json

from django_import_progress.core.job_state import state_of
from django_import_progress.core.reducer import JobStateReducer
from django_import_progress.core.sse import NO_JOB, end_id, end_id_now
from tests.kit.jobviews import partial, stored, view_of


def frame_of(view: JobStateReducer) -> str:
    """Return the event-stream frame of what is shown."""
    assert view.state is not None
    return view.state.frame.decode()


def test_the_frame_of_a_state_is_made_once_for_all() -> None:
    view = view_of(stored(3, a="x\r\ny", processed_rows=1, total_rows=4))
    frame = frame_of(view)
    assert frame.startswith('id: 100-3-0\ndata: {"a":"x\\r\\ny",')
    assert frame.endswith("}\n\n")
    assert json.loads(frame.partition("data: ")[2])["percent"] == 25.0
    assert view.state is not None
    assert view.state.frame is view.state.frame


def test_the_frame_of_an_end_is_followed_by_the_event_that_says_so() -> None:
    frame = frame_of(view_of(stored(3, status="done")))
    last = end_id_now({"j1": stored(3, status="done")})
    assert frame.startswith(f"id: {last}\ndata: {{")
    assert frame.endswith("}\n\nevent: end\ndata: \n\n")


def test_the_frame_of_a_job_that_is_gone() -> None:
    view = view_of(stored(3, a=1))
    view.apply_message(b'{"_gone":100}')
    last = end_id({"j1": NO_JOB})
    assert frame_of(view) == f'event: gone\nid: {last}\ndata: {{"job_id":"j1"}}\n\n'


def test_a_partial_message_has_an_id_of_its_own() -> None:
    view = view_of(stored(3, a=1))
    ids = [view.state and view.state.event_id for _ in range(3) if view.apply_message(partial(b=1))]
    assert ids == ["100-3-1", "100-3-2", "100-3-3"]


def test_a_reader_who_watches_nothing_sees_the_same() -> None:
    state = state_of("j1", stored(3, a=1))
    assert state == view_of(stored(3, a=1)).state
    assert json.loads(state.json)["job_id"] == "j1"
