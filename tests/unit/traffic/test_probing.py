# SPDX-License-Identifier: GPL-3.0-or-later
"""One question to a real server on loopback, and every way in which its answer can be wrong."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.answer import Answer
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import Probe
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.usual_answers import (
    as_usual,
    without_new_faults,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host.probing import ask

Handler = Callable[[socket.socket], None]


@contextmanager
def server(handle: Handler, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A listener whose connections are each given to `handle`; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    plain, _peer = listener.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(plain, server_side=True) if context else plain as connection:
                        handle(connection)
                except OSError:
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(60)


def answering(text: bytes, seen: list[bytes] | None = None) -> Handler:
    def handle(connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            part = connection.recv(65536)
            if not part:
                break
            request += part
        if seen is not None:
            seen.append(request)
        connection.sendall(text)

    return handle


def answer(status: str, body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("status", "probe", "ready", "proven"),
    [
        ("200 OK", Probe("/"), True, True),
        ("204 No Content", Probe("/"), True, False),
        ("204 No Content", Probe("/", 204), True, True),
        ("302 Found", Probe("/"), True, False),
        ("399 Odd", Probe("/"), True, False),
        ("400 Bad Request", Probe("/"), False, False),
        ("404 Not Found", Probe("/", 404), False, True),
        ("500 Internal Server Error", Probe("/"), False, False),
    ],
)
def test_statuses(status: str, probe: Probe, ready: bool, proven: bool) -> None:
    text = answer(status) if not status.startswith("204") else b"HTTP/1.1 204 No Content\r\n\r\n"
    with server(answering(text)) as port:
        assert ask("127.0.0.1", port, probe, {}, any_success=True).ok is ready
        told = ask("127.0.0.1", port, probe, {})
    assert (told.ok, told.text) == (proven, f"GET / answered {status[:3]}")


def test_what_is_sent() -> None:
    seen: list[bytes] = []
    with server(answering(answer("200 OK"), seen)) as port:
        ask(
            "127.0.0.1",
            port,
            Probe("/tours/m\u00fcnchen/?a=b&c=%20", method="POST"),
            {"Host": "shop.org", "X-N": "\u00e9"},
        )
        ask("127.0.0.1", port, Probe("/health/"), {"Host": "shop.org"})
    first, second = (text.decode("utf-8").split("\r\n") for text in seen)
    assert first[0] == "POST /tours/m%C3%BCnchen/?a=b&c=%20 HTTP/1.1"
    assert set(first[1:-2]) == {
        "Host: shop.org",
        "X-N: \u00e9",
        "User-Agent: evenkeel",
        "Connection: close",
        "Content-Length: 0",
    }
    assert set(second[:-2]) == {"GET /health/ HTTP/1.1", "Host: shop.org", "User-Agent: evenkeel", "Connection: close"}


def test_contents() -> None:
    with server(answering(answer("200 OK", "caf\u00e9 \u20ac 5".encode()))) as port:
        assert ask("127.0.0.1", port, Probe("/", contains="caf\u00e9 \u20ac"), {}).ok
        told = ask("127.0.0.1", port, Probe("/", contains="tea"), {})
    assert (told.ok, told.text) == (False, "GET / answered 200, but without 'tea'")


def test_a_chunked_and_a_closed_body_are_read_whole() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
    closed = b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100_000 + b"def"
    for text in (chunked, closed):
        with server(answering(text)) as port:
            assert ask("127.0.0.1", port, Probe("/", contains="def"), {}).ok


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    told = ask("127.0.0.1", port, Probe("/health/"), {})
    assert (told.ok, told.text) == (False, "GET /health/ was not answered: Connection refused")


def test_silence_ends_in_time() -> None:
    done = threading.Event()
    with server(lambda _connection: done.wait(60) and None) as port:
        began = time.monotonic()
        told = ask("127.0.0.1", port, Probe("/"), {}, timeout=0.2)
        done.set()
    assert (told.ok, told.text) == (False, "GET / was not answered within 0.2 s")
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
    ],
    ids=["headers", "body", "body of no length"],
)
def test_what_drips_in_ends_in_time_too(head: bytes, drop: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(head)
        for _drop in range(1200):
            connection.sendall(drop)
            time.sleep(0.05)

    with server(drip) as port:
        began = time.monotonic()
        told = ask("127.0.0.1", port, Probe("/"), {}, timeout=0.3)
        took = time.monotonic() - began
    assert (told.ok, told.text) == (False, "GET / was not answered within 0.3 s")
    assert took < 30


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["nothing", "garbage", "half", "bad chunk"],
)
def test_no_proper_answer(text: bytes) -> None:
    with server(answering(text)) as port:
        told = ask("127.0.0.1", port, Probe("/"), {}, timeout=2)
    assert not told.ok
    assert told.text.startswith("GET / was not answered: ") and len(told.text) > 26


def test_what_cannot_be_sent_is_an_answer_too() -> None:
    with server(answering(answer("200 OK"))) as port:
        assert not ask("127.0.0.1", port, Probe("/"), {"X-Two": "a\nb"}).ok


def test_tls_with_whatever_certificate(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other.org", "-days", "1"]
    subprocess.run([*request, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    with server(answering(answer("200 OK")), context) as port:
        assert ask("127.0.0.1", port, Probe("/"), {}, tls_name="shop.org").ok
        told = ask("127.0.0.1", port, Probe("/"), {}, timeout=2)
    assert asked == ["shop.org"]
    assert not told.ok, "plain HTTP to a TLS port"


def uwsgi_values(packet: bytes) -> dict[str, str]:
    """What a uwsgi server would make of a packet, read by the protocol's own description."""
    assert packet[0] == 0 and packet[3] == 0
    assert int.from_bytes(packet[1:3], "little") == len(packet) - 4
    words, at = [], 4
    while at < len(packet):
        size = int.from_bytes(packet[at : at + 2], "little")
        words.append(packet[at + 2 : at + 2 + size].decode())
        at += 2 + size
    return dict(zip(words[::2], words[1::2]))


def test_the_uwsgi_protocol_is_spoken_as_nginx_does() -> None:
    seen: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        seen.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\nEven Keel Travel")

    headers = {"Host": "shop.example", "X-Forwarded-Proto": "https"}
    with server(handle) as port:
        answer = ask("127.0.0.1", port, Probe("/a%20b?q=1", contains="Travel"), headers, uwsgi=True)
    assert answer.ok, answer
    values = uwsgi_values(seen[0])
    assert values["REQUEST_METHOD"] == "GET"
    assert (values["PATH_INFO"], values["QUERY_STRING"], values["REQUEST_URI"]) == ("/a b", "q=1", "/a%20b?q=1")
    assert (values["HTTP_HOST"], values["SERVER_NAME"], values["HTTPS"]) == ("shop.example", "shop.example", "on")


@pytest.mark.parametrize(
    ("status", "before", "ready"),
    [
        (200, [500], True),
        (404, [404], True),
        (404, [], True),
        (404, [0, 500], True),
        (401, [401, 200], True),
        (404, [200], False),
        (401, [404], False),
        (500, [500], False),
        (502, [], False),
        (0, [404], False),
    ],
)
def test_what_nobody_wrote_down_is_held_against_what_is_usual(status: int, before: list[int], ready: bool) -> None:
    assert as_usual(["/"], lambda _path: answered(status), lambda _path: [answered(s) for s in before]).ok is ready


def answered(status: int) -> Answer:
    return Answer(0 < status < 400, "it answered", status)


@pytest.mark.parametrize(
    ("health", "root", "health_before", "root_before", "ready"),
    [
        (200, 404, 200, 200, True),
        (302, 0, 500, 500, True),
        (404, 404, 200, 404, False),
        (404, 404, 404, 404, True),
        (404, 200, 200, 200, True),
        (404, 404, 0, 0, True),
        (500, 200, 200, 200, False),
        (500, 404, 200, 404, False),
        (500, 200, 500, 200, True),
        (500, 404, 500, 404, True),
        (500, 500, 500, 500, False),
        (0, 200, 200, 200, False),
    ],
)
def test_where_the_app_is_asked_for_its_health_comes_first(
    health: int, root: int, health_before: int, root_before: int, ready: bool
) -> None:
    now = {"/health/": answered(health), "/": answered(root)}
    then = {"/health/": [answered(health_before)], "/": [answered(root_before)]}
    assert as_usual(["/health/", "/"], now.__getitem__, then.__getitem__).ok is ready


@pytest.mark.parametrize(
    ("health", "root", "root_before", "ready"),
    [
        (200, 500, [200], False),
        (200, 502, [404, 301], False),
        (200, 500, [200, 500], True),
        (200, 500, [], True),
        (200, 500, [0], True),
        (200, 404, [200], True),
        (200, 0, [200], True),
        (503, 200, [200], False),
    ],
)
def test_of_one_that_its_own_check_calls_healthy_only_a_new_fault_is_told(
    health: int, root: int, root_before: list[int], ready: bool
) -> None:
    now = {"/health/": answered(health), "/": answered(root)}
    then = {"/health/": [answered(200)], "/": [answered(status) for status in root_before]}
    answer = without_new_faults(["/health/", "/"], now.__getitem__, then.__getitem__)
    assert answer.ok is ready
    assert ready or answer.text == "it answered, which the version from before does not"
