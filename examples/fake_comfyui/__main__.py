"""``python -m examples.fake_comfyui``: fake ComfyUI servers until TERM, INT or the end of the leash."""

from __future__ import annotations

if __name__ == "__main__":
    # Before the imports: Ctrl-C during them is as quiet as later.
    import entry

    entry.begin()

import argparse
import os
import signal
import sys
import threading
import time

from examples.fake_comfyui.demo import FLAVOURS, Role, role_of, sample_settings
from examples.fake_comfyui.fleet import FakeFleet


def main(arguments: list[str] | None = None) -> int:
    """Prints ``URL <tab> what it is`` per server once all of them listen. Returns 1 when a port is taken."""
    options = _parser().parse_args(arguments)
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    roles = [role_of(index) for index in range(options.servers)] if options.scenario else []
    flavours = FLAVOURS[options.flavour]
    if roles:
        settings = [role.settings(options.load_seconds) for role in roles]
    else:
        chosen = [flavours[index % len(flavours)] for index in range(options.servers)]
        settings = [sample_settings(flavour, options.load_seconds) for flavour in chosen]
    fleet = FakeFleet(options.servers, base_port=options.base_port, control=options.control, settings=settings)
    try:
        fleet.start()
    except OSError as taken:
        ports = f"{options.base_port}–{options.base_port + options.servers - 1}"
        print(f"fake ComfyUI: a port of {ports} is taken ({taken.strerror}); try --base-port 0", file=sys.stderr)
        return 1
    try:
        for index, server in enumerate(fleet):
            if roles:
                roles[index].prepare(server)
            story = roles[index].story if roles else server.settings.flavour
            print(f"{server.url}\t{story}", flush=True)
        if options.leash:
            threading.Thread(target=_hold_leash, args=(over,), daemon=True).start()
        _play(fleet, roles, over)
    finally:
        fleet.close()
    return 0


def _play(fleet: FakeFleet, roles: list[Role], over: threading.Event) -> None:
    """The events of the roles at their times, then nothing until the end."""
    started = time.monotonic()
    events = [(role, server) for role, server in zip(roles, fleet, strict=False) if role.event is not None]
    for role, server in sorted(events, key=lambda pair: pair[0].at_seconds):
        if over.wait(max(0.0, started + role.at_seconds - time.monotonic())):
            return
        print(f"{server.url}\tnow / 现在: {role.story}", flush=True)
        if role.event is not None:
            try:
                role.event(server)
            except KeyError:
                pass  # the key that was to be lost is not loaded anyway
    over.wait()


def _hold_leash(over: threading.Event) -> None:
    # os.read, not sys.stdin: a buffered read would hold a lock that the interpreter needs to end.
    while os.read(0, 4096):
        pass
    over.set()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.fake_comfyui",
        description="Simulated ComfyUI servers on 127.0.0.1. / 本机上的模拟 ComfyUI 服务器。",
    )
    add = parser.add_argument
    add("--servers", type=int, default=6, metavar="N", help="how many / 数量 (6)")
    add(
        "--base-port",
        type=int,
        default=0,
        metavar="PORT",
        help="first port, 0: free ones / 起始端口，0 为自动 (0)",
    )
    add(
        "--flavour",
        choices=sorted(FLAVOURS),
        default="stock",
        help="which kind of server / 服务器类型 (stock)",
    )
    add("--scenario", choices=["demo"], help="a mixed fleet with a story; ignores --flavour / 演示场景")
    add(
        "--load-seconds",
        type=float,
        default=2.0,
        metavar="S",
        help="time of each loader / 每个加载器的秒数 (2)",
    )
    add("--leash", action="store_true", help="end when standard input closes / 标准输入关闭时退出")
    add("--control", action="store_true", help="serve /_fake/… for tests / 提供测试控制接口")
    return parser


if __name__ == "__main__":
    sys.exit(entry.run(main))
