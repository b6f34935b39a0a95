"""What outsiders may send: anything, and what looks much like the real thing."""

from __future__ import annotations

import json

from hypothesis import strategies as st

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)
NAMES = st.sampled_from(
    [
        *("status", "stage", "total_rows", "processed_rows", "error_message", "updated_at"),
        *("percent", "job_id", "_v", "_l", "_d", "_s", "_r", "_o", "_c", "_gone", "_", "__proto__"),
    ]
)
VALUES = JSON | st.sampled_from(["done", "failed", "queued", 0, 1, 10**30, -1, "2025-01-01T00:00"])
SNAPSHOTS = st.dictionaries(NAMES | st.text(), VALUES)
MESSAGES = (
    st.binary() | st.text() | SNAPSHOTS.map(json.dumps) | SNAPSHOTS.map(json.dumps).map(str.encode)
)
"""What a program may publish on a job's channel."""

EDITS = st.tuples(st.sampled_from(["insert", "replace", "delete"]), st.integers(0), st.characters())


def edited(text: str, edit: tuple[str, int, str]) -> str:
    """Return `text` with one character more, another one, or one less."""
    how, place, character = edit
    place %= len(text)
    return text[:place] + (character if how != "delete" else "") + text[place + (how != "insert") :]
