# SPDX-License-Identifier: GPL-3.0-or-later
"""A shop made of nothing, that fails as it is told: what the generator is proved against.

It speaks on a raw socket, so that it can do what no web server does on purpose: reset, stop in the midst of
a body, promise keep-alive and close. It counts what it did, and the tests hold the generator's counts to that.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

PAGE = """<!doctype html><html><head><link rel="stylesheet" href="/static/site.0123456789ab.css">
<script src='/static/app.cdef01234567.js'></script></head>
<body><img src="https://elsewhere.example/static/not-ours.png"></body></html>"""

_GRACE = 0.03
"""Seconds between the bytes sent and a reset, which would else overtake them."""


@dataclass(frozen=True)
class Seen:
    """One request as the shop saw it. `number` counts all requests from 1, `nth` those of its connection."""

    number: int
    nth: int
    method: str
    path: str

    @property
    def order(self) -> bool:
        """Whether this is the posting of an order."""
        return self.path == "/api/orders/"


Fault = Callable[[Seen], str]
"""Says what goes wrong with a request: nothing (""), a status code, or one of

`close` no answer, then FIN · `late_close` the same 0.2 s later · `reset` no answer, then RST · `truncate`,
`reset_body` FIN or RST in mid-body · `cut_stream` FIN before the last chunk · `no_end` a stream that ends
well but early · `hang` no answer · `not_json` · `bad_sha` · `no_asset` · `no_id` · `not_http` · `idle_close`
a good answer that promises keep-alive, then FIN.
"""


def no_fault(_seen: Seen) -> str:
    """All is well."""
    return ""


@dataclass
class FakeShop:
    """`async with FakeShop(fault) as shop:` listens on `shop.url`. Its `gate` can be cleared to stall everybody."""

    fault: Fault = no_fault
    version: str = "v1"
    injected: Counter[str] = field(default_factory=Counter)
    seen: list[Seen] = field(default_factory=list)
    orders: list[tuple[int, str]] = field(default_factory=list)
    connections: int = 0
    arrived: list[float] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> FakeShop:
        self.gate.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._server.close()
        rest = [task for task in asyncio.all_tasks() if task.get_name() == "fake shop"]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task:
            task.set_name("fake shop")
        self.connections += 1
        nth = 0
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.arrived.append(asyncio.get_running_loop().time())
                nth += 1
                method, path, _http = head.split("\r\n", 1)[0].split(" ")
                seen = Seen(len(self.seen) + 1, nth, method, path)
                self.seen.append(seen)
                fault = self.fault(seen)
                if fault:
                    self.injected[fault] += 1
                if fault == "413":  # as nginx does: an answer before the body is there
                    await self._send(writer, 413, b"too large", close=True)
                    return
                lengths = [line[15:] for line in head.lower().split("\r\n") if line.startswith("content-length:")]
                body = await reader.readexactly(int(lengths[0])) if lengths else b""
                await self.gate.wait()
                if not await self._answer(writer, seen, fault, body) or "connection: close" in head.lower():
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or the test is over
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, seen: Seen, fault: str, body: bytes) -> bool:
        """Answer or fail; says whether the connection goes on."""
        if fault == "hang":
            await asyncio.sleep(60)
        elif fault == "late_close":
            await asyncio.sleep(0.2)
        elif fault == "reset":
            self._reset(writer)
        elif fault in ("truncate", "reset_body"):
            writer.write(self._head(200, 1000) + b"x" * 400)
            await writer.drain()
            await asyncio.sleep(_GRACE)
            if fault == "reset_body":
                self._reset(writer)
        elif fault == "not_http":
            writer.write(b"hello, I am a mail server\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(_GRACE)
        elif fault.isdecimal():
            await self._send(writer, int(fault), b"<h1>no</h1>")
            return True
        elif fault != "close":
            if seen.path.startswith("/api/stream/"):
                return await self._stream(writer, fault)
            await self._send(writer, 201 if seen.order else 200, self._body(seen, fault, body))
            return fault != "idle_close"
        return False

    def _body(self, seen: Seen, fault: str, body: bytes) -> bytes:
        if fault == "not_json":
            return b'{"half": '
        if seen.path == "/":
            return PAGE.encode() if fault != "no_asset" else b"<html></html>"
        if seen.order:
            number = len(self.orders) + 1
            reference = json.loads(body)["reference"]
            self.orders.append((number, reference))
            return json.dumps({"reference": reference} | ({} if fault == "no_id" else {"id": number})).encode()
        if seen.path == "/api/upload/":
            digest = hashlib.sha256(body + (b"!" if fault == "bad_sha" else b"")).hexdigest()
            return json.dumps({"bytes": len(body), "sha256": digest}).encode()
        return b'{"tours": []}' if seen.path.startswith("/api/") else b"body {}"

    def _head(self, status: int, length: int, close: bool = False) -> bytes:
        last = "Connection: close\r\n" if close else ""
        return (
            f"HTTP/1.1 {status} Whatever\r\nX-Shop-Version: {self.version}\r\nContent-Length: {length}\r\n{last}\r\n"
        ).encode()

    async def _send(self, writer: asyncio.StreamWriter, status: int, body: bytes, close: bool = False) -> None:
        writer.write(self._head(status, len(body), close) + body)
        await writer.drain()

    async def _stream(self, writer: asyncio.StreamWriter, fault: str) -> bool:
        writer.write(
            f"HTTP/1.1 200 OK\r\nX-Shop-Version: {self.version}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        for line in (b"1 v1\n", b"2 v1\n"):
            writer.write(b"%x\r\n%s\r\n" % (len(line), line))
            await writer.drain()
            await asyncio.sleep(_GRACE)
        if fault == "cut_stream":
            return False
        writer.write((b"" if fault == "no_end" else b"4\r\nend\n\r\n") + b"0\r\n\r\n")
        await writer.drain()
        return True

    @staticmethod
    def _reset(writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
