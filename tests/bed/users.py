# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of a small stack, about a hundred requests a second: new and kept connections, POSTs, and long uploads in flight.

No request is sent twice. A kept connection that was closed while it was idle is opened anew, as browsers do; one that the
proxy closes in the very moment in which a request is sent is counted apart, as ``RACE``: that happens at each reload.
"""

from __future__ import annotations

import http.client
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import Engine
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.inspection import PROJECT_LABEL, pid_of
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host import firewall

#: A kept connection was closed by the proxy, without a word, as the next request was on its way.
RACE = "closed while idle"
_RACES = ("RemoteDisconnected", "ConnectionResetError", "BrokenPipeError")
_PAUSE = 0.035


@contextmanager
def users(port: int, host: str = "localhost", uploads: bool = True) -> Iterator[dict[str, int]]:
    """Ask all the time; yields how often each version, or a failure, was the answer.

    :param port: of 127.0.0.1.
    :param host: what they call the site.
    """
    answers: dict[str, int] = {}
    lock, ended = threading.Lock(), threading.Event()

    def note(said: str) -> None:
        with lock:
            answers[said] = answers.get(said, 0) + 1

    def ask(method: str, kept: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        while not ended.is_set():
            if not kept or _is_closed(connection):
                connection.close()
            used = connection.sock is not None
            said = _said(connection, method, host)
            note(RACE if used and any(word in said for word in _RACES) else said)
            ended.wait(_PAUSE)
        connection.close()

    def upload() -> None:
        note(_uploaded(port, host))

    threads = [
        threading.Thread(target=ask, args=(method, kept))
        for method, kept in (("GET", False), ("POST", False), ("GET", True), ("POST", True), ("POST", False))
    ]
    begun: list[threading.Thread] = []

    def begin() -> None:
        while not ended.is_set():
            begun.append(threading.Thread(target=upload))
            begun[-1].start()
            ended.wait(1)

    threads += [threading.Thread(target=begin)] if uploads else []
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        ended.set()
        for thread in [*threads, *begun]:
            thread.join(40)


_HTTP2 = ("curl", "--silent", "--insecure", "--http2", "--max-time", "20")


def by_http2(port: int, host: str) -> str:
    """What one of them gets as the answer to one request, empty for none."""
    argv = [*_HTTP2, "--resolve", f"{host}:{port}:127.0.0.1", f"https://{host}:{port}/"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


@contextmanager
def users_by_http2(port: int, host: str, seconds: int) -> Iterator[dict[str, int]]:
    """Three users who each keep one TLS connection and send their requests as streams of it, 20 a second.

    A stream that never got an answer is a failure. As browsers do, curl sends a request anew whose kept connection had ended before it.

    :param seconds: after which they end by themselves.
    :return: how often each version, or a failure, was the answer; whole when the block is left.
    """
    answers: dict[str, int] = {}
    argv = [*_HTTP2, "--no-buffer", "--rate", "20/s"]
    argv += ["--resolve", f"{host}:{port}:127.0.0.1", "--write-out", r" %{http_code} %{http_version} %{errormsg}\n"]
    argv += [f"https://{host}:{port}/?[1-{seconds * 20}]"]
    clients = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _user in range(3)]
    try:
        yield answers
    finally:
        for client in clients:
            client.send_signal(signal.SIGINT)
            said = client.communicate(timeout=40)[0].splitlines()
            # The last one is cut short by the signal.
            for line in said[:-1] if client.returncode else said:
                version, code, protocol = line.split(" ")[:3]
                told = version if (code, protocol) == ("200", "2") else f"failed: {line}"
                answers[told] = answers.get(told, 0) + 1


def _is_closed(connection: http.client.HTTPConnection) -> bool:
    """Whether the other side has closed a connection on which nothing is awaited."""
    return connection.sock is not None and bool(select.select([connection.sock], [], [], 0)[0])


def _said(connection: http.client.HTTPConnection, method: str, host: str) -> str:
    try:
        connection.request(method, "/", b"an order" if method == "POST" else None, {"Host": host})
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return f"failed: {method}: {error!r}"
    return text if answer.status == 200 else f"failed: {method}: {answer.status} {text[:40]}"


def _uploaded(port: int, host: str) -> str:
    """Send a body for four seconds; an answer before its end is no failure."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest("POST", "/", skip_host=True)
        connection.putheader("Host", host)
        connection.putheader("Content-Length", "64000")
        connection.endheaders()
        for _part in range(64):
            connection.send(b"x" * 1000)
            time.sleep(0.06)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        return text if answer.status == 200 else f"failed: upload: {answer.status}"
    except (OSError, http.client.HTTPException) as error:
        return f"failed: upload: {error!r}"
    finally:
        connection.close()


def failures(answers: dict[str, int]) -> dict[str, int]:
    """All that is no answer of v1 or v2; of what a client meets when a kept connection ends at most a few."""
    assert answers.get(RACE, 0) <= 5, answers
    return {said: count for said, count in answers.items() if said not in ("v1", "v2", RACE)}


def rules_of(project: str) -> list[str]:
    """Rules of ours in any running container of a project."""
    found = Engine().containers({PROJECT_LABEL: project})
    return [f"{i['Name']}: {table}" for i in found if (pid := pid_of(i)) for table in firewall.tables(pid)]


def until(met: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "it never came to be so"
        time.sleep(0.05)
