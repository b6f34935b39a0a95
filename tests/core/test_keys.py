"""What may be a job id, and what keys and channels are called."""

from __future__ import annotations

import enum
import re
import string
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from django_import_progress import InvalidJobId, ProgressError
from django_import_progress.core.keys import Keys, clean_job_id, is_clean, is_namespace

BAD_IDS: list[Any] = [
    "", " ", "a b", "a\n", "\na", "a/b", "*", "{}", "a?", "é", "\u0661", "a\x00", "x" * 129,
    "x" * 1_000_000, "\ud800", "%41", b"abc", 1, 1.5, None, True, object(), ["a"], ("a",), 10**5000,
]  # fmt: skip


class _Mixed(str, enum.Enum):  # noqa: UP042 - its str() is "_Mixed.A", which is the point
    A = "abc"


@pytest.mark.parametrize(
    "job_id", ["a", "A-Z.a_z:0~9", "-", "x" * 128, "550e8400-e29b-41d4-a716-446655440000"]
)
def test_an_id_of_the_alphabet_is_kept_as_it_is(job_id: str) -> None:
    assert clean_job_id(job_id) == job_id


def test_a_uuid_becomes_its_canonical_text() -> None:
    job_id = uuid.UUID("550E8400E29B41D4A716446655440000")
    assert clean_job_id(job_id) == "550e8400-e29b-41d4-a716-446655440000"


@pytest.mark.parametrize("job_id", BAD_IDS, ids=range(len(BAD_IDS)))
def test_anything_else_is_refused(job_id: Any) -> None:
    with pytest.raises(InvalidJobId):
        clean_job_id(job_id)


def test_an_id_that_is_a_kind_of_str_is_taken_by_its_text() -> None:
    cleaned = clean_job_id(_Mixed.A)
    assert (cleaned, type(cleaned)) == ("abc", str)


def test_the_error_shows_the_id_cut_short_and_says_the_fix() -> None:
    with pytest.raises(InvalidJobId, match="must be a uuid") as caught:
        clean_job_id("/" * 1000)
    assert len(str(caught.value)) < 250
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, ProgressError)


def test_keys_and_channels_are_as_promised() -> None:
    keys = Keys("import_progress")
    assert keys.hash("j1") == "import_progress:hash:j1"
    assert keys.channel("j1") == "import_progress:channel:j1"


def test_a_sharded_channel_is_named_so_that_it_is_in_the_hash_slot_of_the_jobs_key() -> None:
    keys = Keys("import_progress", sharded=True)
    assert keys.channel("j1") == keys.hash("j1") == "import_progress:hash:j1"


def test_each_owner_has_an_index_of_its_own_under_the_namespace() -> None:
    keys = Keys("ns")
    assert len({keys.index(), keys.index("7"), keys.index("8")}) == 3
    assert all(name.startswith("ns:") for name in (keys.index(), keys.index("7")))


def _text(alphabet: str) -> st.SearchStrategy[str]:
    # Some of a few letters, too, that make collisions likely.
    words = st.sampled_from(["a", "hash", "jobs", "owner", "channel", "job", "ended"])
    joined = st.lists(words, min_size=1, max_size=4).flatmap(
        lambda parts: st.sampled_from(alphabet).map(lambda by: by.join(parts))
    )
    return (
        st.text(string.ascii_letters + string.digits + alphabet, min_size=1, max_size=128) | joined
    )


_NAMESPACE, _ID = _text("._-"), _text("._:~-")
_GROUPED = st.tuples(_NAMESPACE, st.none() | _ID)
_KINDS: dict[str, Callable[[Keys, str], str]] = {
    "jobs": lambda keys, _: keys.index(),
    "owner": lambda keys, owner: keys.index(owner),
    "hash": lambda keys, job_id: keys.hash(job_id),
    "channel": lambda keys, job_id: keys.channel(job_id),
    "message": lambda keys, job_id: keys.message(job_id),
    "claim": lambda keys, job_id: keys.claim(job_id),
}
_NAMED = st.tuples(st.sampled_from(sorted(_KINDS)), _NAMESPACE, _ID)


@given(_NAMED, _NAMED)
@example(("hash", "a", "hash:b"), ("hash", "a.hash", "b"))
@example(("owner", "a", "b"), ("hash", "a", "b"))
@example(("jobs", "a", "b"), ("owner", "a", "jobs"))
def test_no_two_things_have_the_same_name_in_redis(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    names = [_KINDS[kind](Keys(namespace), what) for kind, namespace, what in (one, other)]
    what = [it[:2] if it[0] == "jobs" else it for it in (one, other)]
    assert (names[0] == names[1]) is (what[0] == what[1])


@given(_NAMED)
def test_a_name_can_be_parted_into_what_it_was_made_of(named: tuple[str, str, str]) -> None:
    kind, namespace, what = named
    name = _KINDS[kind](Keys(namespace), what)
    assert name.split(":", 2) == [namespace, kind, what][: 2 if kind == "jobs" else 3]


@given(_GROUPED, _GROUPED)
@example(("a", "b.c"), ("a.job.b", "c"))
@example(("a", "jobs"), ("a.job", None))
@example(("import_progress", "digest"), ("import_progress", None))
@example(("n" * 128, "x" * 128), ("n" * 128, None))
def test_groups_are_legal_for_channels_and_no_two_jobs_share_one(
    one: tuple[str, str | None], other: tuple[str, str | None]
) -> None:
    names = [Keys(namespace).group(job_id) for namespace, job_id in (one, other)]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,99}", name, re.ASCII) for name in names)
    assert (names[0] == names[1]) is (one == other)


def test_a_group_is_readable_where_it_can_be() -> None:
    assert Keys("orders").group() == "orders.jobs"
    assert Keys("orders").group("a.b_1-c") == "orders.job.a.b_1-c"
    for namespace, job_id in [("orders", "a:b"), ("orders", "x" * 99), ("or.ders", "a")]:
        assert re.fullmatch(r"import_progress\.digest\.[0-9a-f]{64}", Keys(namespace).group(job_id))


@pytest.mark.parametrize("namespace", ["a", "A-Z.a_z-0", "-", "x" * 128])
def test_a_namespace_of_the_alphabet_is_taken(namespace: str) -> None:
    assert is_namespace(namespace)
    assert Keys(namespace).index() == f"{namespace}:jobs"


@pytest.mark.parametrize(
    "namespace", ["", "a b", "a*", "a:hash", ":", "a~b", "a\n", "é", "x" * 129, None, 7, b"ns"]
)
def test_a_namespace_that_cannot_be_is_refused(namespace: Any) -> None:
    shown = re.escape(repr(namespace)[:70])
    with pytest.raises(ValueError, match=f"namespace {shown}.*: must be 1 to 128 characters"):
        Keys(namespace)


def test_is_clean_takes_only_text() -> None:
    assert is_clean("a")
    assert not is_clean(b"a")
    assert not is_clean("a\n")
