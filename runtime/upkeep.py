"""What the daemon does for the records by itself: publishes the audit log's head, prunes what is too old."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from config import Settings
from core.audit import AuditLog
from core.audit_chain import head_line
from core.errors import StoreError
from store.issued_tokens import IssuedTokens

_TOKENS_KEPT_SECONDS = 90 * 86400.0

log = logging.getLogger("audit")
# Whatever LOG_LEVEL says: the head in the daemon's log is what a cut audit log is compared with.
log.setLevel(logging.INFO)


class Upkeep:
    """Called by the timetable, in a thread. Trouble is told in the log, and tried again the next time."""

    def __init__(self, audit_log: AuditLog, tokens: IssuedTokens) -> None:
        self._audit_log = audit_log
        self._tokens = tokens

    def publish_head(self) -> None:
        """Write the head of the audit log into the daemon's, where whoever cuts the one may not reach."""
        self._try(self._publish)

    def prune(self, settings: Settings) -> None:
        """Forget audit records past their retention, and tokens that ended long ago."""
        self._try(lambda: self._prune(settings.audit_retention_days))
        self._try(lambda: self._tokens.forget_before(time.time() - _TOKENS_KEPT_SECONDS))

    def _publish(self) -> None:
        head = self._audit_log.head()
        if head is not None:
            log.info("%s", head_line(head))

    def _prune(self, days: float) -> None:
        now = time.time()
        count = self._audit_log.prune(now - days * 86400, now)
        if count:
            log.info("audit pruned records=%d older_than_days=%g", count, days)
            self._publish()

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except StoreError as error:
            log.error("upkeep of records failed: %s", error)
