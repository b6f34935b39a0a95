"""The Lua scripts, as far as they can be tested without a server."""

from __future__ import annotations

import hashlib

import pytest

from django_import_progress.core.lua import scripts
from django_import_progress.core.lua.scripts import Script

ALL = {name: value for name, value in vars(scripts).items() if isinstance(value, Script)}


def test_there_is_a_script_for_each_verb_that_writes() -> None:
    assert {"SET", "UPDATE", "CREATE", "CANCEL", "DELETE", "ENLIST", "BEGIN", "WRITE"} <= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_the_digest_is_that_of_the_text_as_sent(name: str) -> None:
    script = ALL[name]
    assert script.sha == hashlib.sha1(script.text.encode(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("name", ALL)
def test_a_script_is_ascii_so_that_no_encoding_can_change_its_digest(name: str) -> None:
    assert ALL[name].text.isascii()


def test_no_two_scripts_and_no_two_codes_are_the_same() -> None:
    assert len({script.sha for script in ALL.values()}) == len(ALL)
    codes = {scripts.OK, scripts.MISSING, scripts.FINISHED, scripts.TOO_LARGE, scripts.EXISTS}
    assert len(codes) == 5
