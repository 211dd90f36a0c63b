# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command in a container prints, from an engine that answers in every rhythm."""

from __future__ import annotations

import json
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import parse_headers
from itertools import count
from pathlib import Path

import pytest

docker = pytest.importorskip("docker")
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host import engine as engine_module  # noqa: E402
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.app_script import answer_in  # noqa: E402
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.exec_output import (  # noqa: E402
    LIMIT,
    apart,
    bounded,
)

HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n\r\n"


def part(kind: int, text: bytes) -> bytes:
    return struct.pack(">BxxxL", kind, len(text)) + text


def answer(content: object, status: str = "200 OK") -> bytes:
    body = json.dumps(content).encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """What an engine sends to a command that is started, one after the other; as soon as it was asked."""
    sends: list[bytes] = []

    class Talk(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(ConnectionError):  # hung up on with something still unread
                while request := self.rfile.readline().decode():
                    # a socket that is closed with something unread takes back what it sent
                    self.rfile.read(int(parse_headers(self.rfile).get("Content-Length", 0)))
                    if "/start" in request:
                        for piece in sends:
                            self.wfile.write(piece)
                        return
                    known = {"/version": {"ApiVersion": "1.45"}, "/json": {"ExitCode": 0, "Running": False}}
                    self.wfile.write(answer(next((v for k, v in known.items() if k in request), {"Id": "e"})))

    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "engine"), Talk) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine")
        yield sends
        server.shutdown()


WHOLE = part(1, b"out") + part(2, b"err") + part(1, b"put")


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(lambda whole: [HEADERS + whole], id="all at once"),
        pytest.param(lambda whole: [HEADERS, whole], id="headers first"),
        pytest.param(
            lambda whole: [HEADERS + whole[:5], *(whole[i : i + 1] for i in range(5, len(whole)))], id="byte by byte"
        ),
    ],
)
def test_nothing_is_lost_however_it_is_sent(said: list[bytes], cut: Callable[[bytes], list[bytes]]) -> None:
    said += cut(WHOLE)
    assert engine_module.Engine().run_inside("c", ["x"]) == (0, "outputerr")


def test_what_is_cut_off_is_no_answer(said: list[bytes]) -> None:
    said.append(HEADERS + WHOLE[:-1])
    assert engine_module.Engine().run_inside("c", ["x"]) == (
        126,
        "the engine did not send all that the command printed",
    )


def test_why_the_engine_does_not_run_it(said: list[bytes]) -> None:
    said.append(answer({"message": "no such file"}, "400 Bad Request"))
    assert engine_module.Engine().run_inside("c", ["x"]) == (126, "no such file")
    said[:] = [b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno"]
    assert engine_module.Engine().run_inside("c", ["x"]) == (126, "the engine answered 502 Bad Gateway")


def test_both_streams_of_every_answer() -> None:
    assert apart(b"") == (b"", b"")
    assert apart(part(1, b"") + part(2, b"x")) == (b"", b"x")
    with pytest.raises(OSError, match="did not send all"):
        apart(b"\1\0\0")


def test_a_command_that_prints_without_end_is_given_up(said: list[bytes]) -> None:
    said += [HEADERS, *([part(1, b"y\n" * 2**19)] * 80)]
    assert engine_module.Engine().run_inside("c", ["x"]) == (126, "it printed more than 64 MiB")


def test_of_a_container_that_prints_without_end_no_more_is_taken() -> None:
    taken = list(bounded((b"y" * 2**20, None) for _part in count()))
    assert len(taken) == LIMIT // 2**20 + 1


@pytest.mark.parametrize("line", ["EVENKEEL {", 'EVENKEEL {"a":' + "[" * 200_000, "EVENKEEL {} and more"])
def test_what_looks_like_an_answer_of_a_script_is_none(line: str) -> None:
    assert answer_in(line) is None
    assert answer_in(f'EVENKEEL {{"a": 1}}\n{line}\n') == {"a": 1}
