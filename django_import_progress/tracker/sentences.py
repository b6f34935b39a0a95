"""Sentences for the end user about a job that has failed, by the job's kind."""

from __future__ import annotations

from django.utils.translation import gettext, ngettext

from ..kinds import EXPORT, IMPORT, TASK


def failed(job_id: str, kind: str = IMPORT) -> str:
    """Return the error message for a failure whose reason is not for the end user."""
    text = {
        IMPORT: gettext(
            "The import failed. Please give this number when you ask for help: %(job_id)s"
        ),
        EXPORT: gettext(
            "The export failed. Please give this number when you ask for help: %(job_id)s"
        ),
        TASK: gettext("The task failed. Please give this number when you ask for help: %(job_id)s"),
    }[kind]
    return text % {"job_id": job_id}


def rolled_back(kind: str) -> str:
    """Return the error message of a job whose transaction was rolled back."""
    return {
        IMPORT: gettext("The import was rolled back."),
        EXPORT: gettext("The export was rolled back."),
        TASK: gettext("The task was rolled back."),
    }[kind]


def timed_out(kind: str) -> str:
    """Return the error message of a job that exceeded its time limit."""
    return {
        IMPORT: gettext("The import exceeded its time limit and was stopped."),
        EXPORT: gettext("The export exceeded its time limit and was stopped."),
        TASK: gettext("The task exceeded its time limit and was stopped."),
    }[kind]


def waited_too_long(kind: str) -> str:
    """Return the error message of a job that no worker has started in time."""
    return {
        IMPORT: gettext("The import waited too long in the queue and was not started."),
        EXPORT: gettext("The export waited too long in the queue and was not started."),
        TASK: gettext("The task waited too long in the queue and was not started."),
    }[kind]


def too_many_rejects(limit: int, kind: str) -> str:
    """Return the error message of a job with more rejected rows than it may have."""
    return {
        IMPORT: ngettext(
            "The import was stopped because more than %(limit)d row was rejected.",
            "The import was stopped because more than %(limit)d rows were rejected.",
            limit,
        ),
        EXPORT: ngettext(
            "The export was stopped because more than %(limit)d row was rejected.",
            "The export was stopped because more than %(limit)d rows were rejected.",
            limit,
        ),
        TASK: ngettext(
            "The task was stopped because more than %(limit)d row was rejected.",
            "The task was stopped because more than %(limit)d rows were rejected.",
            limit,
        ),
    }[kind] % {"limit": limit}
