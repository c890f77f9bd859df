"""The fleet for a command: the running daemon's over its API, or, when none runs, one of the command's own.

The standard library's client, and nothing imported early: what is asked here is answered in milliseconds, and the
user would wait for the imports alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote, urlsplit

from checker.cli import Fleet
from config import Settings
from core import setting_phrases as say
from core.access import Role
from core.errors import CacheKeeperError


@contextmanager
def connect(settings: Settings, names: Sequence[str], *, acting: bool, dry_run: bool) -> Iterator[tuple[Fleet, str]]:
    """Yield the fleet of the named servers and a remark for the user, which is empty when the daemon answers.

    ``acting`` is False for a command that only shows; a dry run never goes to the daemon, which would act.
    """
    daemon = None if dry_run else DaemonFleet.reach(settings)
    if daemon is not None:
        daemon.refuse_unknown(names)
        yield daemon, ""
        return
    # Here: beside a daemon, a command need not pay for an event loop and its client.
    from runtime.own_fleet import OwnFleet

    with OwnFleet(settings, names, dry_run=dry_run) as own:
        yield own, ("" if dry_run else say.NO_DAEMON() if acting else say.NO_DAEMON_STATUS())


class DaemonFleet:
    """The daemon's fleet, over the API that it serves on this machine."""

    def __init__(self, base: str, settings: Settings) -> None:
        self._base = base
        self._settings = settings

    @classmethod
    def reach(cls, settings: Settings) -> DaemonFleet | None:
        """Return the daemon's fleet, None when nothing of ours answers there."""
        base = settings.page.removesuffix("/status")
        try:
            _, document = _request("GET", f"{base}/healthz", {}, 5)
        except (OSError, HTTPException, ValueError):
            return None
        return cls(base, settings) if isinstance(document, dict) and "last_poll" in document else None

    def refuse_unknown(self, names: Sequence[str]) -> None:
        """Raise CacheKeeperError when the daemon, which has the fleet of its last reload, lacks one of these."""
        known = {row["name"] for row in self._ask("GET", "/api/status")["servers"]}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise CacheKeeperError(say.OTHER_FLEET(url=self._base, names=", ".join(unknown[:10])))

    def details(self) -> list[dict[str, Any]]:
        servers = self._ask("GET", "/api/detailed_status")["servers"]
        return servers if isinstance(servers, list) else []

    def check(self, names: Sequence[str]) -> None:
        if len(names) == len(self.details()):
            self._ask("POST", "/check/all?wait=60")
            return
        for name in names:
            self._ask("POST", f"/check/{quote(name, safe='')}?wait=60")

    def warm(self, name: str, set_name: str | None, *, force: bool) -> None:
        query = f"?force={'true' if force else 'false'}&wait=10" + (f"&set={quote(set_name)}" if set_name else "")
        self._ask("POST", f"/execute/{quote(name, safe='')}{query}")

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        # Here: a command without a daemon needs no token, and need not pay for the library either.
        from runtime.access import local_token

        token = local_token(self._settings, Role.OPERATOR, time.time())
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            status, document = _request(method, self._base + path, headers, 90)
        except (OSError, HTTPException, ValueError) as error:
            raise CacheKeeperError(say.NO_ANSWER(words=error)) from None
        if status in (401, 403) and isinstance(document, dict):
            raise CacheKeeperError(say.REFUSED_AS_CALLER(detail=document.get("detail")))
        if status != 200 or not isinstance(document, dict):
            raise CacheKeeperError(say.REFUSED(detail=document))
        return document


def _request(method: str, url: str, headers: Mapping[str, str], timeout_seconds: float) -> tuple[int, Any]:
    """Return the status and the JSON document of an answer; raises OSError, HTTPException, ValueError.

    Past any proxy: one for the outside world (HTTP_PROXY) does not know this machine's loopback.
    """
    parts = urlsplit(url)
    with closing(HTTPConnection(parts.netloc, timeout=timeout_seconds)) as connection:
        connection.request(method, url.removeprefix(f"{parts.scheme}://{parts.netloc}"), headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
