# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules that keep others out of a container, in a network namespace that has nothing else in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host import firewall


@pytest.fixture
def pid() -> Iterator[int]:
    """A process in a network namespace of its own, ended with the test."""
    with subprocess.Popen(["unshare", "--net", "sleep", "60"]) as made:
        deadline = time.monotonic() + 10
        while _namespace(made.pid) == _namespace("self") and time.monotonic() < deadline:
            time.sleep(0.01)
        yield made.pid
        made.kill()


def _namespace(pid: int | str) -> int:
    return os.stat(f"/proc/{pid}/ns/net").st_ino


@pytest.fixture
def other(pid: int) -> Iterator[int]:
    """Another such process, which reaches the first by 10.7.0.1 and fd07::1, ``nodad``: at once."""
    with subprocess.Popen(["unshare", "--net", "sleep", "60"]) as made:
        deadline = time.monotonic() + 10
        while _namespace(made.pid) == _namespace("self") and time.monotonic() < deadline:
            time.sleep(0.01)
        words = [
            "ip",
            "link",
            "add",
            "way",
            "netns",
            str(pid),
            "type",
            "veth",
            "peer",
            "name",
            "way",
            "netns",
            str(made.pid),
        ]
        subprocess.run(words, check=True)
        for number, main in enumerate((pid, made.pid), 1):
            for line in (
                f"address add 10.7.0.{number}/24 dev way", f"address add fd07::{number}/64 dev way nodad", "link set way up"
            ):  # fmt: skip
                subprocess.run(["nsenter", f"--net=/proc/{main}/ns/net", "ip", *line.split()], check=True)
        yield made.pid
        made.kill()


_SERVER = """
import socket, threading
def serve(connection, port):
    while connection.recv(1):
        connection.sendall(port.encode() + b"\\n")
def listen(port):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0], str(port)), daemon=True).start()
threading.Thread(target=listen, args=(41987,), daemon=True).start()
listen(8000)
"""
_CLIENT = """
import socket, sys
kept = {}
for line in sys.stdin:
    name, address = line.split()
    try:
        if name not in kept:
            kept[name] = socket.create_connection((address, 8000), timeout=3)
            kept[name].settimeout(3)
        kept[name].sendall(b"?")
        print(kept[name].recv(99).decode().strip() or "closed", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


@pytest.mark.parametrize("address", ["10.7.0.1", "fd07::1"])
def test_who_is_connected_when_others_are_led_elsewhere_goes_on_and_so_do_they(
    pid: int, other: int, address: str
) -> None:
    """In namespaces in which nothing else has the kernel remember connections, as IPv6 has it in most containers."""
    servers = subprocess.Popen(["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", _SERVER])
    argv = ["nsenter", f"--net=/proc/{other}/ns/net", sys.executable, "-c", _CLIENT]
    with servers, subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdin is not None and client.stdout is not None
        time.sleep(1)

        def ask(*names: str) -> list[str]:
            said = []
            for name in names:
                print(name, address, file=client.stdin, flush=True)
                said.append(client.stdout.readline().strip())
            return said

        try:
            assert ask("first") == ["8000"]
            firewall.divert(pid, [8000], 41987, 60)
            assert ask("first", "second", "first", "second") == ["8000", "41987", "8000", "41987"]
            firewall.divert_none_new(pid)
            assert ask("first", "second", "third") == ["8000", "41987", "8000"]
            firewall.divert_no_more(pid)
            assert firewall.tables(pid) == [] and ask("first", "third", "fourth") == ["8000"] * 3
        finally:
            client.kill()
            servers.kill()


def _left(pid: int, expected: list[str]) -> list[str]:
    """What is left once it is what is expected, or after 10 seconds."""
    deadline = time.monotonic() + 10
    while (found := firewall.tables(pid)) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


@pytest.mark.parametrize(
    ("begin", "end", "there", "over"),
    [
        (firewall.hold, firewall.let_in, "requests that wait", "a hold that has ended by itself"),
        (firewall.close, firewall.open_again, "a gate", "a gate that has ended by itself"),
    ],
)
def test_what_ends_by_itself_is_told_as_ended(
    pid: int, begin: Callable[..., None], end: Callable[[int], None], there: str, over: str
) -> None:
    begin(pid, [8000], seconds=60, passing=["192.0.2.1", "2001:db8::1"])
    assert firewall.tables(pid) == [there]
    begin(pid, [8000], seconds=1, passing=[])
    assert _left(pid, [over]) == [over]
    end(pid)
    assert firewall.tables(pid) == []


def test_a_number_that_is_another_processs_by_now_closes_nothing_of_this_host() -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            with pytest.raises(firewall.FirewallFailed, match="no container's"):
                firewall.close(other.pid, [8000], [], 60)
            assert firewall.tables(os.getpid()) == []
        finally:
            other.kill()


def test_unused_addresses_are_refused_beside_those_that_are_known(pid: int) -> None:
    run = ["nsenter", f"--net=/proc/{pid}/ns/net"]
    subprocess.run([*run, "ip", "link", "set", "lo", "up"], check=True)

    def answer(address: str) -> str:
        script = (
            "import socket\ns = socket.socket()\ns.settimeout(0.5)\n"
            f"try:\n    s.connect(('{address}', 9))\nexcept OSError as error:\n    print(type(error).__name__)"
        )
        return subprocess.run(
            [*run, "python3", "-c", script], check=True, capture_output=True, text=True
        ).stdout.strip()

    subprocess.run([*run, "ip", "address", "add", "10.7.0.1/24", "dev", "lo"], check=True)
    # Nobody has it, and nobody says so: it would be waited for.
    subprocess.run([*run, "ip", "link", "add", "way", "type", "veth", "peer", "name", "end"], check=True)
    for link in ("way", "end"):
        subprocess.run([*run, "ip", "link", "set", link, "up"], check=True)
    subprocess.run([*run, "ip", "route", "add", "10.8.0.0/24", "dev", "way"], check=True)
    assert answer("10.8.0.5") == "TimeoutError"
    firewall.refuse(pid, "api", {"10.8.0.9": 60})
    firewall.refuse_unused(pid, "api", ["10.8.0.2-10.8.0.7", "fd00::3-fd00::ffff"], 60)
    assert [answer(f"10.8.0.{n}") for n in (5, 9, 8)] == [
        "ConnectionRefusedError",
        "ConnectionRefusedError",
        "TimeoutError",
    ]
    assert set(firewall.refused(pid, "api") or {}) == {"10.8.0.9"}
    # What is known of late changes nothing of it, and it ends without that.
    firewall.refuse(pid, "api", {"10.8.0.8": 60})
    assert [answer(f"10.8.0.{n}") for n in (5, 9, 8)] == [
        "ConnectionRefusedError",
        "TimeoutError",
        "ConnectionRefusedError",
    ]
    firewall.refuse_unused(pid, "api", [], 60)
    assert [answer(f"10.8.0.{n}") for n in (5, 8)] == ["TimeoutError", "ConnectionRefusedError"]
    firewall.refuse_nobody(pid, "api")
    assert firewall.tables(pid) == []
