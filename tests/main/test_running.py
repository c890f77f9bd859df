"""main.py as a running process: what stops it, what it reloads, what it says to its supervisor, what it never says."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time

import pytest

from core.access import Role
from core.control import MARK, Beat, Control, Ready, StartWarning, parse
from examples.fake_comfyui import FakeFleet, FakeServer
from tests.workspace import Program, Workspace, ask, wait_for

KEYS = ("pulid_eva_clip", "pulid_face_analysis", "pulid_model", "ben2_base", "sam3")


def words(program: Program) -> list[Control]:
    """Return what main has said to its supervisor so far."""
    lines = (line for line in program.output().encode().split(b"\n") if line.startswith(MARK))
    return [word for word in map(parse, lines) if word is not None]


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "leash"])
def test_it_stops_with_0_at_once_also_in_the_middle_of_a_slow_cycle(workspace: Workspace, how: str) -> None:
    with FakeServer() as fake:
        fake.busy(60)
        workspace.settings |= {"SERVERS": fake.url, "PROBE_TIMEOUT_SECONDS": "60"}
        program = workspace.running(supervised=True)
        wait_for(lambda: fake.requests)
        asked = time.monotonic()
        if how == "leash":
            program.drop_leash()
        else:
            program.signal(getattr(signal, how))
        assert program.wait(10) == 0
        assert time.monotonic() - asked < 3
        assert "Traceback" not in program.output()


def test_a_request_in_hand_does_not_hold_up_the_end(workspace: Workspace) -> None:
    with FakeServer() as fake:
        fake.busy(60)
        workspace.settings |= {"SERVERS": fake.url, "PROBE_TIMEOUT_SECONDS": "60"}
        program = workspace.running()
        with socket.create_connection(("127.0.0.1", workspace.port)) as client:
            request = f"POST /check/0?wait=60 HTTP/1.1\r\nHost: 127.0.0.1:{workspace.port}\r\nContent-Length: 0\r\n\r\n"
            client.sendall(request.encode())
            wait_for(lambda: len(fake.requests) >= 1)
            asked = time.monotonic()
            program.signal(signal.SIGTERM)
            assert program.wait(10) == 0
            assert time.monotonic() - asked < 4


def test_a_reload_takes_the_new_fleet_and_a_bad_one_keeps_the_last_good(workspace: Workspace) -> None:
    with FakeFleet(2) as fleet:
        for fake in fleet:
            fake.store(*KEYS)
        first, second = fleet.urls
        group = '[[set]]\nname = "s"\nworkflow = "examples/warmup.json"\n[[group]]\nname = "g"\nservers = {}\n'
        workspace.write("fleet.toml", group.format(f'["{first}"]'))
        program = workspace.running()
        wait_for(lambda: workspace.states() == {first: "loaded"})

        workspace.write("fleet.toml", group.format(f'["{first}", "nonsense:x"]') + "speed = 3\n")
        program.signal(signal.SIGHUP)
        program.wait_for_output("Reload refused, the old settings stay:")
        program.wait_for_output("group[g].speed=")
        assert "nonsense:x" in program.output()
        seen = len(fleet[0].requests)
        wait_for(lambda: len(fleet[0].requests) > seen + 2)
        assert workspace.states() == {first: "loaded"}

        workspace.write("fleet.toml", "[[group]\n")
        program.signal(signal.SIGHUP)
        program.wait_for_output("fleet.toml")
        assert program.process.poll() is None

        workspace.write("fleet.toml", group.format(f'["{first}", "{second}"]'))
        program.signal(signal.SIGHUP)
        program.wait_for_output("Reloaded: 2 servers")
        wait_for(lambda: workspace.states() == {first: "loaded", second: "loaded"})


def test_a_reload_says_which_settings_only_a_restart_takes_up(workspace: Workspace) -> None:
    workspace.settings["SERVERS"] = "http://127.0.0.1:1"
    port = workspace.settings.pop("PORT")
    workspace.write(".env", f"PORT={port}\nCHECK_INTERVAL_SECONDS=9\nLOG_LEVEL=INFO\n")
    del workspace.settings["CHECK_INTERVAL_SECONDS"]
    program = workspace.running()
    workspace.write(".env", "PORT=1234\nCHECK_INTERVAL_SECONDS=7\n")
    program.signal(signal.SIGHUP)
    program.wait_for_output("PORT: changed, but only taken up by a restart")
    program.wait_for_output("Reloaded: 1 servers")
    assert workspace.ask("/api/detailed_status").json()["check_interval_seconds"] == 7


def test_a_taken_port_is_a_warning_and_the_page_comes_when_the_port_is_free(workspace: Workspace) -> None:
    with FakeServer() as fake, socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", workspace.port))
        stranger.listen()
        workspace.settings["SERVERS"] = fake.url
        program = workspace.start(supervised=True)
        program.wait_for_output("WARNING no page and no API on 127.0.0.1:")
        fake.wait_until(lambda server: set(server.keys()) == set(KEYS), 15)
        said = words(program)
        assert [word for word in said if isinstance(word, StartWarning) and "set HOST or PORT" in word.message]
        assert [word.page for word in said if isinstance(word, Ready)] == [""]
        stranger.close()
        wait_for(lambda: workspace.states() == {fake.url: "loaded"})
        # The supervisor, and so `status`, must learn of it too.
        wait_for(lambda: [word.page for word in words(program) if isinstance(word, Ready)][1:])
        assert [word.page for word in words(program) if isinstance(word, Ready)] == ["", f"{workspace.page}/status"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_the_page_can_be_opened_the_moment_its_address_is_told(workspace: Workspace, host: str) -> None:
    workspace.settings |= {"SERVERS": "http://127.0.0.1:1", "HOST": host}
    program = workspace.start(supervised=True)
    told = wait_for(lambda: [word.page for word in words(program) if isinstance(word, Ready)])
    assert told == [f"http://{host}:{workspace.port}/status"]
    assert ask(told[0]).status == 200
    bearer = {"Authorization": f"Bearer {workspace.token(Role.OPERATOR)}"}
    assert ask(told[0].replace("/status", "/check/all"), "POST", bearer).status == 200


@pytest.mark.parametrize("host", ["ü" * 64, "203.0.113.1"], ids=["no name", "another machine"])
def test_an_address_that_is_not_ours_is_a_warning(workspace: Workspace, host: str) -> None:
    workspace.settings |= {"SERVERS": "http://127.0.0.1:1", "HOST": host, "API_SECRET": secrets.token_urlsafe(48)}
    program = workspace.start(supervised=True)
    program.wait_for_output(f"WARNING no page and no API on {host}:")
    wait_for(lambda: any(isinstance(word, Ready) for word in words(program)))
    program.drop_leash()
    assert program.wait() == 0


def test_beats_carry_on_through_a_cycle_in_which_every_server_is_a_black_hole(workspace: Workspace) -> None:
    with FakeFleet(8) as fleet:
        for fake in fleet:
            fake.black_hole()
        workspace.settings |= {
            "SERVERS": ",".join(fleet.urls),
            "CONNECT_TIMEOUT_SECONDS": "30",
            "HEARTBEAT_TIMEOUT_SECONDS": "2",
        }
        program = workspace.running(supervised=True)
        wait_for(lambda: sum(isinstance(word, Beat) for word in words(program)) >= 3, 8)
        # Nothing has been polled to its end by then, so it is not the end of a cycle that beats.
        assert [word.last_poll for word in words(program) if isinstance(word, Beat)][:3] == [None] * 3


def test_the_secret_of_a_header_is_sent_to_the_server_and_seen_nowhere_else(workspace: Workspace) -> None:
    secret = "s3cret-of-the-proxy"
    with FakeServer(token=secret) as fake:
        workspace.write(".env", f"COMFY_AUTH=Bearer {secret}\n")
        workspace.settings["LOG_LEVEL"] = "DEBUG"
        workspace.write(
            "fleet.toml",
            '[[set]]\nname = "s"\nworkflow = "examples/warmup.json"\n[[group]]\nname = "g"\n'
            f'servers = ["{fake.url}"]\nheaders_from_env = {{ Authorization = "COMFY_AUTH" }}\n',
        )
        program = workspace.running(supervised=True)
        wait_for(lambda: workspace.states() == {fake.url: "loaded"})
        # A server, or the proxy before it, may repeat what it was sent.
        fake.misbehave("*", status=403, body=f"no entry for Authorization: Bearer {secret}".encode())
        wait_for(lambda: workspace.states() == {fake.url: "unknown"})
        fake.misbehave("*", status=500, body=f"token {secret} has expired".encode())
        wait_for(lambda: "500" in workspace.details()[0]["sets"][0]["reason"])
        shown = "".join(
            [
                program.output(),
                workspace.ask("/status").text,
                workspace.ask("/api/detailed_status").text,
                workspace.checker("status").stdout,
                workspace.checker("why", fake.url, "--json").stdout,
            ]
        )
        assert "answered status 500" in shown
        assert secret not in shown
        program.drop_leash()
        program.wait()
        assert secret.encode() not in (workspace.root / "cache_keeper.sqlite3").read_bytes()


@pytest.mark.needs_root
def test_a_name_server_that_never_answers_holds_up_neither_the_verdict_nor_the_end(workspace: Workspace) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give main.py a name server of its own")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        try:
            silent.bind(("127.0.0.1", 53))
        except OSError as error:
            pytest.skip(f"no port 53 here: {error}")
        resolver = workspace.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n")
        mount = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        if subprocess.run(["unshare", "-m", "sh", "-c", mount, resolver, "true"], check=False).returncode:
            pytest.skip("no mount namespace of our own here")
        workspace.prefix = ["unshare", "-m", "sh", "-c", mount, str(resolver)]
        workspace.settings |= {"SERVERS": "http://comfy.example:8188"}
        program = workspace.running(supervised=True)
        wait_for(lambda: workspace.states() == {"http://comfy.example:8188": "unreachable"})
        assert "no name server answers" in workspace.details()[0]["sets"][0]["reason"]
        assert silent.recv(4096, socket.MSG_DONTWAIT), "it was not asked: the test shows nothing"
        asked = time.monotonic()
        program.signal(signal.SIGTERM)
        assert program.wait(40) == 0
        assert time.monotonic() - asked < 4
