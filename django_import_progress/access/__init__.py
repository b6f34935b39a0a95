"""Who may watch and cancel a job: tickets, rules for bare ids, and whose pages may connect."""

from .permissions import Job, Permission, make_ticket, owner_or_staff

__all__ = ["Job", "Permission", "make_ticket", "owner_or_staff"]
