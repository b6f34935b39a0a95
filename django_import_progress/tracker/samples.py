"""Samples of a running import: which of their fields are the tracker's, and which are news."""

from __future__ import annotations

from ..core.snapshot import KNOWN, RATES, TRACKED, Fields


def own_fields(fields: Fields) -> Fields:
    """Leave out what the user added."""
    return {name: value for name, value in fields.items() if name in KNOWN | TRACKED}


def steady(fields: Fields) -> Fields:
    """Leave out what changes by the mere passing of time: it is no reason to write.

    That there is a rate now, or none any more, is one.
    """
    return {
        name: bool(value) if name in RATES else value
        for name, value in fields.items()
        if value is not None or name in RATES  # An absent field is as good as a null.
    }
