"""Who calls when nobody brought a token: the person at this machine's terminal, or the timetable."""

from __future__ import annotations

import os
import secrets

from core.access import Caller, Channel, Role


def local_user() -> str:
    """Return ``local:<login>`` of whoever runs this process, by the system's word and not the environment's."""
    try:
        import pwd

        name = pwd.getpwuid(os.geteuid()).pw_name
    except (ImportError, KeyError):
        # Windows has no pwd, and a container's user may have no name.
        name = os.getlogin() if os.name == "nt" else str(os.geteuid())
    return f"local:{name}"


def command_caller() -> Caller:
    """Return the caller of a command: whoever may write CACHE_DIR may do everything, and is named."""
    return Caller(local_user(), Role.ADMIN, Channel.CLI, secrets.token_hex(8))


def schedule_caller() -> Caller:
    """Return the caller of what the timetable does."""
    return Caller("schedule", Role.OPERATOR, Channel.SCHEDULE, secrets.token_hex(8))
