"""Authorization to watch and cancel jobs: tickets, the `AUTHORIZE` rule, allowed origins."""

from .permissions import Job, Permission, make_ticket, owner_or_staff

__all__ = ["Job", "Permission", "make_ticket", "owner_or_staff"]
