"""Carries out what tasks and commands of other processes have wished through the journal: warm this server now."""

from __future__ import annotations

import asyncio
import logging

from checker.poll import Checker
from core.errors import StoreError
from core.model import Wish
from store.journal import Journal

log = logging.getLogger("main")


class Wishes:
    """Looked at in every tick of the loop: a wish that is carried out goes from the journal, and only then."""

    def __init__(self, journal: Journal, checker: Checker) -> None:
        self._journal = journal
        self._checker = checker
        self._in_hand: dict[int, asyncio.Task[None]] = {}
        self._carried_out: set[int] = set()
        self._problem = ""

    def look(self) -> None:
        """Begin what has been wished since the last look; a journal that cannot be read is said once."""
        try:
            wishes = self._journal.wishes()
            self._problem = ""
        except StoreError as error:
            if str(error) != self._problem:
                log.warning("wishes wait: %s", error)
            self._problem = str(error)
            return
        self._carried_out &= {wish.number for wish in wishes}
        for wish in wishes:
            if wish.number not in self._in_hand:
                self._in_hand[wish.number] = asyncio.create_task(self._carry_out(wish))

    async def _carry_out(self, wish: Wish) -> None:
        try:
            # Carried out and still there: its end could not be written, and only that is tried again.
            if wish.number not in self._carried_out:
                self._carried_out.add(wish.number)
                await self._checker.warm([wish.server], wish.set_name or None, force=wish.force)
            self._journal.end_wish(wish.number)
        except StoreError as error:
            log.warning("a wish cannot be ended: %s", error)
        except Exception:
            log.exception("wish failed server=%s", wish.server)
        finally:
            self._in_hand.pop(wish.number, None)
