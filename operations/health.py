"""Asks all backends for their health at once, and remembers the answers for some seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from core import cleaning_phrases as say
from core.listing import Availability, Backend

FRESH_SECONDS = 10.0
PATIENCE_SECONDS = 6.0
_NO_ANSWER = Availability(False, error=say.NO_ANSWER(seconds=6))


class HealthBoard:
    """Several callers share one look; a backend that hangs is told as such and holds up neither them nor the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="health")
        self._known: dict[str, tuple[float, Availability]] = {}

    def look(self, backends: Sequence[Backend]) -> list[tuple[Backend, Availability]]:
        """Return each backend with its health, asked anew where the last answer is older than FRESH_SECONDS."""
        with self._lock:
            now = time.monotonic()
            stale = [each for each in backends if self._age(each.name, now) > FRESH_SECONDS]
            asked = {self._pool.submit(each.health): each for each in stale}
            done, late = wait(asked, PATIENCE_SECONDS)
            for future in done:
                self._known[asked[future].name] = (time.monotonic(), future.result())
            for future in late:
                self._known[asked[future].name] = (time.monotonic(), _NO_ANSWER)
            return [(each, self._known[each.name][1]) for each in backends]

    def _age(self, name: str, now: float) -> float:
        known = self._known.get(name)
        return float("inf") if known is None else now - known[0]
