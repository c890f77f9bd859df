"""Words to systemd: sd_notify(3) is a datagram on a Unix socket, so libsystemd is not needed."""

from __future__ import annotations

import socket


class Systemd:
    """Tells systemd how the supervisor is. Silent when there is no systemd that asked (``notify_socket`` is None)."""

    def __init__(self, notify_socket: str | None) -> None:
        self._address = notify_socket
        if notify_socket is not None and notify_socket.startswith("@"):
            self._address = "\0" + notify_socket[1:]  # abstract namespace, as sd_notify(3) writes it

    def tell(self, *assignments: str) -> None:
        """Send ``KEY=value`` assignments in one message; a systemd that does not listen is not our failure."""
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                # Never wait: a full queue must not stop the supervision.
                channel.setblocking(False)
                channel.connect(self._address)
                channel.send("\n".join(assignments).encode())
        except OSError:
            pass
