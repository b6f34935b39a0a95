"""Each verb as data: what is sent, how an answer is read, what is refused before."""

from __future__ import annotations

import dataclasses
import json
import types
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from django_import_progress import InvalidProgress, JobExists, JobFinished, JobNotFound
from django_import_progress.core.commands import (
    ENDED_SECONDS,
    MAX_TTL_SECONDS,
    NOBODY,
    QUEUED_SECONDS,
    JobCommands,
    check_ttl,
    clean_owner,
)
from django_import_progress.core.keys import Keys
from django_import_progress.core.lease import Attempt, Lease, WriteResult
from django_import_progress.core.lua import scripts
from django_import_progress.core.outcome import PreviousRun
from django_import_progress.core.snapshot import MAX_BYTES

NOW = "2025-11-19T14:30:00.000000+00:00"
NOW_JSON = f'"{NOW}"'


CALLS = JobCommands(Keys("ns"), 3600, json.JSONEncoder().default)
KEYS = ("ns:hash:j1", "ns:end:j1")


def test_get_reads_the_hash_and_the_clock() -> None:
    call = CALLS.get("j1")
    assert call.command == ("EVALSHA", scripts.READ.sha, 2, *KEYS)
    assert call.parse([b"50", [], b""]) is None
    stored = call.parse([b"50", [b"a", b"1", b"_v", b"2", b"_l", b"9", b"_d", b"40"], b""])
    assert stored is not None
    assert (stored.fields, stored.order) == ({"a": 1}, (9, 2, 0))
    assert (stored.read_at, stored.lease, stored.stalled) == (50, 40, True)


def test_set_sends_the_times_to_live_and_the_fields() -> None:
    call = CALLS.set("j1", {"a": 1, "b": "x"}, NOW, 60)
    fields = ("", "a", "1", "b", '"x"', "updated_at", NOW_JSON)
    args = (3600, 60, QUEUED_SECONDS, ENDED_SECONDS, 0, "ns:channel:j1")
    assert call.command == ("EVALSHA", scripts.SET.sha, 2, *KEYS, *args, *fields)
    assert call.with_text == ("EVAL", scripts.SET.text, *call.command[2:])
    assert CALLS.set("j1", {}, NOW, None).command[5:7] == (3600, "")


def test_set_answers_the_fields_as_they_were_stored() -> None:
    parse = CALLS.set("j1", {}, NOW, None).parse
    stored = parse(b'"a":1,"b":"x","_l":9,"_v":2')
    assert (stored.fields, stored.written) == ({"a": 1, "b": "x"}, (9, 2))
    assert parse('"_l":9,"_v":2').fields == {}


def test_an_updated_at_of_the_callers_is_replaced_where_something_is_stored() -> None:
    call = CALLS.set("j1", {"updated_at": "yesterday"}, NOW, None)
    assert call.command[-2:] == ("updated_at", NOW_JSON)
    assert '"yesterday"' not in call.command


def test_update_sends_the_channel_and_the_limit() -> None:
    call = CALLS.update("j1", {"a": 1}, NOW, None)
    assert call.command[:5] == ("EVALSHA", scripts.UPDATE.sha, 2, *KEYS)
    assert call.command[10:] == ("ns:channel:j1", MAX_BYTES, "", "a", "1", "updated_at", NOW_JSON)


@pytest.mark.parametrize(
    ("reply", "error", "text"),
    [
        ([scripts.MISSING], JobNotFound, "Job j1 does not exist.*create it first"),
        ([scripts.FINISHED, b'"done"'], JobFinished, "Job j1 .* restart it"),
        ([scripts.TOO_LARGE, 70_000], InvalidProgress, "would be 70000 bytes of JSON; the maximum"),
    ],
)
def test_update_raises_what_the_script_says(reply: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        CALLS.update("j1", {}, NOW, None).parse(reply)


def test_publish_adds_the_time_where_it_is_missing() -> None:
    call = CALLS.publish("j1", {"a": 1}, NOW, (9, 2))
    text = f'{{"a":1,"updated_at":{NOW_JSON},"_l":1,"_v":1,"_m":[9,2],"_db":0}}'
    assert call.command == ("PUBLISH", "ns:channel:j1", text)
    assert call.parse(3) == 3


def test_publish_asks_for_the_version_that_is_stored_where_none_is_known() -> None:
    call = dataclasses.replace(CALLS, database=5).publish("j1", {}, None, None)
    start, end = '{"_l":1,"_v":1,"_m":', ',"_db":5}'
    assert call.script is scripts.PUBLISH_CURRENT
    assert call.command[2:] == (1, "ns:hash:j1", "ns:channel:j1", start, end)


def test_publish_is_sharded_where_all_is() -> None:
    sharded = dataclasses.replace(CALLS, keys=Keys("ns", sharded=True))
    assert sharded.publish("j1", {}, None, (9, 2)).command[:2] == ("SPUBLISH", "ns:hash:j1")


@pytest.mark.parametrize("now", [NOW, None])
def test_publish_keeps_the_callers_own_time(now: str | None) -> None:
    call = CALLS.publish("j1", {"updated_at": "then"}, now, (9, 2))
    assert str(call.command[2]).startswith('{"updated_at":"then","_l":')


def test_publish_without_a_time_adds_none() -> None:
    mapping = types.MappingProxyType({"a": "é"})
    text = str(CALLS.publish("j1", mapping, None, (9, 2)).command[2])
    assert text.startswith('{"a":"é","_l":')


def test_create_begins_queued_and_enters_the_indexes() -> None:
    call = CALLS.create("j1", "4\u00e9", {"a": 1}, NOW, None)
    keys = (*KEYS, "ns:jobs", CALLS.keys.index("4é"))
    assert call.command[:7] == ("EVALSHA", scripts.CREATE.sha, 4, *keys)
    assert call.command[12:15] == ("ns:channel:j1", "j1", '"4é"')
    assert call.command[-6:] == ("status", '"queued"', "a", "1", "updated_at", NOW_JSON)
    assert call.parse([scripts.OK, 0]) == "j1"


def test_create_without_an_owner_has_two_keys_and_takes_another_status() -> None:
    call = CALLS.create("j1", None, {"status": "parsing"}, NOW, None)
    assert call.command[2:6] == (3, *KEYS, "ns:jobs")
    assert call.command[13] == ""
    assert call.command[-4:-2] == ("status", '"parsing"')


def test_create_of_an_id_that_is_taken() -> None:
    with pytest.raises(JobExists, match="Job j1 already exists: choose another id"):
        CALLS.create("j1", None, {}, NOW, None).parse([scripts.EXISTS])


def test_delete_names_the_channel() -> None:
    call = CALLS.delete("j1")
    keys = (*KEYS, "ns:rejects:j1")
    assert call.command[:6] == ("EVALSHA", scripts.DELETE.sha, 3, *keys)
    assert call.command[-2:] == ("ns:channel:j1", "")
    assert (call.parse([0, 1]), call.parse([0, 0])) == (True, False)


@pytest.mark.parametrize("ttl_seconds", [0, -1, True, 1.0, "60", MAX_TTL_SECONDS + 1])
def test_a_time_to_live_that_is_none_is_refused(ttl_seconds: Any) -> None:
    for verb in (CALLS.set, CALLS.update):
        with pytest.raises(InvalidProgress, match="must be a positive integer"):
            verb("j1", {}, NOW, ttl_seconds)
    with pytest.raises(InvalidProgress, match="Invalid ttl_seconds"):
        CALLS.create("j1", None, {}, NOW, ttl_seconds)


def test_the_longest_and_the_shortest_time_to_live() -> None:
    check_ttl(1)
    check_ttl(MAX_TTL_SECONDS)
    with pytest.raises(InvalidProgress):
        check_ttl(None)


@pytest.mark.parametrize("data", [None, [], 7, "text"])
def test_data_that_is_no_mapping_is_refused_by_each_verb(data: Any) -> None:
    for verb in (
        lambda: CALLS.set("j1", data, NOW, None),
        lambda: CALLS.update("j1", data, NOW, None),
        lambda: CALLS.publish("j1", data, NOW, None),
        lambda: CALLS.publish("j1", data, None, None),
        lambda: CALLS.create("j1", None, data, NOW, None),
    ):
        with pytest.raises(InvalidProgress, match="Pass a mapping"):
            verb()


def test_an_owner_is_a_user_or_a_key_and_kept_as_text() -> None:
    user = types.SimpleNamespace(pk=7)
    owners = (None, user, 7, "7", "a b é😀", 0, "x" * 255)
    assert [clean_owner(owner) for owner in owners] == [
        None, "7", "7", "7", "a b é😀", "0", "x" * 255,
    ]  # fmt: skip


def test_a_lazy_owner_and_each_kind_of_key_are_known_by_their_text() -> None:
    key = uuid.UUID(int=7)
    owners = (User(pk=7), SimpleLazyObject(lambda: User(pk=7)), SimpleLazyObject(lambda: 7))
    assert [clean_owner(owner) for owner in owners] == ["7"] * 3
    assert [clean_owner(owner) for owner in (key, User(pk=key), Decimal("7.0"), (1, "a"))] == [
        str(key), str(key), "7.0", "(1, 'a')",
    ]  # fmt: skip


def test_an_anonymous_user_is_nobody_and_not_everybody() -> None:
    anonymous = types.SimpleNamespace(pk=None, is_anonymous=True)
    assert clean_owner(anonymous) == NOBODY
    assert clean_owner(SimpleLazyObject(AnonymousUser)) == NOBODY
    assert CALLS.create("j1", NOBODY, {}, NOW, None).command[2] == 3


@pytest.mark.parametrize(
    ("owner", "named"),
    [
        *(("", "''"), ("x" * 256, "'xxx"), ("a\nb", "'a"), ("a\0", "'a"), ("\ud800", "'.ud800'")),
        *(
            (True, "type bool"),
            (b"".join, "type builtin_function_or_method"),
            ([7], "type list"),
        ),
        *(
            (object(), "type object"),
            (HttpRequest(), "type HttpRequest"),
            (User, "type ModelBase"),
        ),
        *((User(), "type User"), (SimpleLazyObject(User), "type User")),
        (SimpleLazyObject(lambda: None), "type NoneType"),
        (User.objects.all(), "type QuerySet"),  # It is not asked: there is no database here.
    ],
)
def test_an_owner_that_cannot_be_is_refused(owner: Any, named: str) -> None:
    with pytest.raises(InvalidProgress, match=f"^Invalid owner .*{named}.*: must be a saved user"):
        clean_owner(owner)


LEASE = Lease("token", 30.0)


def test_a_worker_that_takes_a_job_is_told_its_attempt_and_what_was_there() -> None:
    call = CALLS.begin("j1", "7", LEASE, {"status": "importing"}, NOW)
    assert call.script is scripts.BEGIN
    assert call.command[17:19] == ('"token"', "30.0")
    answer = b'"status":"importing","_l":1,"_v":1'
    before = [b'["old","superseded",1,0]', b'"processed_rows":3,"_x":1']
    reply = [scripts.OK, [b"2", [b"1", b'"7"', b"60"], b"1", b"17"], answer, *before]
    base = {"status": "importing"}
    assert call.parse(reply) == Attempt(
        number=2,
        base=base,
        owner="7",
        ttl_seconds=60,
        lease=LEASE,
        begun=17,
        life=1,
        cancel_requested=True,
        previous=PreviousRun(
            run_id="old",
            attempt=1,
            status="superseded",
            was_just_lost=False,
            snapshot={"processed_rows": 3},
        ),
    )


def test_a_workers_write_is_told_what_has_become_of_the_job() -> None:
    attempt = Attempt(number=1, base={}, owner=None, ttl_seconds=None, lease=LEASE)
    call = CALLS.write(
        "j1", attempt, {"a": 1, "status": "importing"}, NOW, number=1, may_create=False
    )
    assert '["a"]' in call.command
    replies: list[list[Any]] = [
        [scripts.OK, b"0"],
        [scripts.OK, b"1"],
        [scripts.MISSING],
        [scripts.FINISHED],
        [scripts.SUPERSEDED],
        [scripts.DELETED],
    ]
    assert [call.parse(reply) for reply in replies] == [*WriteResult]
    with pytest.raises(InvalidProgress):
        call.parse([scripts.TOO_LARGE, 70_000])


def test_cancel_is_answered_by_whether_the_job_goes_on() -> None:
    call = CALLS.cancel("j1")
    assert call.command[3:6] == (*KEYS, 3600)
    assert (call.command[-2:], CALLS.cancel("j1", "7").command[-2:]) == (("", ""), ('"7"', ""))
    replies = ([scripts.OK], [scripts.MISSING], [scripts.FINISHED])
    assert [call.parse(reply) for reply in replies] == [True, False, False]
