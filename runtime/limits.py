"""What the operating system and the interpreter give this process, set to what a large fleet needs."""

from __future__ import annotations

import gc
import logging

log = logging.getLogger("main")


def raise_open_files(wanted: int) -> None:
    """Raise the soft limit on open files towards ``wanted``; each server holds one connection open."""
    try:
        import resource
    except ImportError:
        # Windows has no such limit.
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, reachable), hard))
    if reachable < wanted:
        log.warning("only %d files may be open, %d are wanted for this fleet: raise LimitNOFILE", reachable, wanted)


def calm_collector() -> None:
    """Let the cyclic collector run less often.

    A cycle makes and drops many objects and keeps few. At the usual 700 the collector would walk the whole
    fleet's connections again and again, which is up to half of a poll's cost with thousands of servers.
    """
    gc.set_threshold(50_000, 20, 20)
