"""The text of an error for the end user: of exceptions, and of errors by field."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.utils.functional import Promise

from ..core.errors import InvalidProgress

WITHOUT_FIELD = {NON_FIELD_ERRORS, "non_field_errors"}
"""Names under which Django and Django REST framework list errors that belong to no field."""


def user_text(error: Any) -> str:
    """Return the messages of an error as one text, each after the name of its field if it has one.

    Raises:
        Exception: whatever `str()` of an exception raises.
    """
    if isinstance(error, ValidationError):
        error = error.message_dict if hasattr(error, "error_dict") else error.messages
    if isinstance(error, dict):
        texts = {name: user_text(messages) for name, messages in error.items()}
        return "; ".join(
            text if name in WITHOUT_FIELD else f"{name}: {text}"
            for name, text in texts.items()
            if text
        )
    if isinstance(error, list | tuple):
        return " ".join(filter(None, map(user_text, error)))
    return str(error)


def given_text(error: object) -> str:
    """Return `user_text` of an error that the caller's code has passed; empty if it has none.

    Args:
        error: a text, an exception, or errors such as `form.errors`.

    Raises:
        InvalidProgress: it is none of them.
    """
    if not isinstance(error, str | Promise | BaseException | dict | list | tuple):
        raise InvalidProgress(
            f"Invalid reason {error!r:.80}: pass a str, an exception, or errors such as"
            f" form.errors, not {type(error).__name__}"
        )
    try:
        return user_text(error)
    except Exception:  # `str()` of an exception may raise.
        return ""
