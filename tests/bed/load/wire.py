# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP/1.1 connection with nothing hidden: no retry, no redirect, no second address.

Ordinary client libraries repeat a request when a kept-alive connection turns out dead, which is just what a
measurement must not do. So this is `h11` (which only parses) on asyncio's streams, and each way of failing
has its own name.
"""

from __future__ import annotations

import asyncio
import errno
import select
import ssl
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, TypeVar

import h11

from .target import Target

AGENT = "evenkeel-load"

PIECES = 20
"""In how many pieces a paced body is sent."""

_READ = 65_536

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. `pace` and `timeout` are seconds; `close` asks the server to close afterwards.

    `agent` is the User-Agent: one of its own for each request, so that the proxy's log tells which it has read.
    """

    method: str
    path: str
    body: bytes = b""
    content_type: str = ""
    pace: float = 0.0
    timeout: float = 30.0
    expected: int = 200
    close: bool = False
    agent: str = AGENT


@dataclass(slots=True)
class Answer:
    """What came back. `kind` is empty if the answer is complete, else how it failed.

    `received` counts response bytes; `sent` is true once anything of the request was written; `took` is the
    seconds from there to the end; `nth` is the number of the request on its connection; `stale` says that the
    close of the connection was already there to be seen before the request was written.
    """

    kind: str = ""
    detail: str = ""
    status: int = 0
    version: str = ""
    body: bytes = b""
    received: int = 0
    sent: bool = False
    took: float = 0.0
    nth: int = 1
    stale: bool = False


class _ClosedBeforeResponse(Exception):
    """The peer closed and not one byte of an answer had come."""


class _Truncated(Exception):
    """The peer closed in the midst of an answer."""


class _WatchedReader(asyncio.StreamReader):
    """A StreamReader that remembers whether anything reached it since it was last asked."""

    touched = False

    def feed_data(self, data: Any) -> None:
        """Bytes arrived."""
        self.touched = True
        super().feed_data(data)

    def feed_eof(self) -> None:
        """The peer closed."""
        self.touched = True
        super().feed_eof()

    def set_exception(self, exc: Any) -> None:
        """The connection broke."""
        self.touched = True
        super().set_exception(exc)


async def _within(seconds: float, what: Awaitable[_T]) -> _T:
    """What comes within so many seconds, else TimeoutError (which asyncio's own is not before Python 3.11)."""
    try:
        return await asyncio.wait_for(what, seconds)
    except asyncio.TimeoutError as error:
        raise TimeoutError(f"nothing within {seconds:g} s") from error


def _any_certificate() -> ssl.SSLContext:
    """TLS with whoever is there: only this machine is asked, and a bed's certificate is signed by itself."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_TLS = _any_certificate()


def connect_failure(error: OSError) -> Answer:
    """The answer that stands for a connection that did not come about."""
    if isinstance(error, ConnectionRefusedError):
        kind = "connect_refused"
    elif isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        kind = "connect_timeout"
    elif isinstance(error, ConnectionResetError):
        kind = "reset"
    else:
        kind = "connect_error"
    return Answer(kind=kind, detail=f"while connecting: {error or type(error).__name__}")


class Connection:
    """One connection and the requests made on it, one after the other."""

    def __init__(self, reader: _WatchedReader, writer: asyncio.StreamWriter, target: Target) -> None:
        self._reader = reader
        self._writer = writer
        self._target = target
        self._h11 = h11.Connection(h11.CLIENT)
        self.requests = 0

    @classmethod
    async def open(cls, target: Target, timeout: float) -> Connection:
        """Connect within `timeout` seconds to the one address there is; raises OSError."""
        loop = asyncio.get_running_loop()
        reader = _WatchedReader(limit=4 * _READ, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        tls = {"ssl": _TLS, "server_hostname": target.server_name} if target.tls else {}
        connecting = loop.create_connection(lambda: protocol, target.address, target.port, **tls)
        transport, _protocol = await _within(timeout, connecting)
        return cls(reader, asyncio.StreamWriter(transport, protocol, reader, loop), target)

    def looks_closed(self) -> bool:
        """Whether an ordinary client would not use this idle connection again: anything to read means closed.

        The socket itself is asked as well: the event loop may not have come round to a FIN that is there.
        """
        reader = self._reader
        if reader.touched or reader.at_eof() or reader.exception() or self._writer.is_closing():
            return True
        poll = select.poll()
        poll.register(self._writer.get_extra_info("socket").fileno(), select.POLLIN | select.POLLRDHUP)
        return bool(poll.poll(0))

    def reusable(self) -> bool:
        """Whether HTTP allows another request, as far as the last exchange tells."""
        states = (self._h11.our_state, self._h11.their_state)
        return states == (h11.DONE, h11.DONE) and not self._h11.trailing_data[0]

    def close(self) -> None:
        """Close without waiting."""
        self._writer.close()

    async def exchange(self, request: Request) -> Answer:
        """Send, and read the answer to its end. Never raises for what the server or network does."""
        if self.requests:
            self._h11.start_next_cycle()
        self.requests += 1
        answer = Answer(nth=self.requests, stale=self.looks_closed())
        begun = time.monotonic()
        try:
            await _within(request.timeout, self._converse(request, answer))
        except TimeoutError:
            answer.kind, answer.detail = "timeout", f"no complete answer within {request.timeout:g} s"
        except _ClosedBeforeResponse:
            answer.kind, answer.detail = "closed_before_response", "closed before any byte of an answer"
        except (_Truncated, h11.RemoteProtocolError) as error:
            answer.kind = "truncated" if isinstance(error, _Truncated) else "bad_body"
            answer.detail = str(error)
        except OSError as error:
            answer.kind, answer.detail = "reset", str(error) or type(error).__name__
        finally:
            answer.took = time.monotonic() - begun
            self._reader.touched = False
            if answer.kind:
                self._writer.transport.abort()
            elif not self.reusable():
                self.close()
        if not answer.kind and answer.status != request.expected:
            answer.kind, answer.detail = f"status_{answer.status // 100}xx", f"status {answer.status}"
        elif answer.kind:
            answer.detail += (
                f" (request {answer.nth} on its connection, {answer.received} bytes of an answer,"
                f" {answer.took * 1000:.1f} ms after sending{', close was already there' if answer.stale else ''})"
            )
        return answer

    async def _converse(self, request: Request, answer: Answer) -> None:
        head = self._head(request)
        answer.sent = True
        if not request.pace:
            body = self._h11.send(h11.Data(data=request.body)) if request.body else b""
            self._writer.write(head + (body or b"") + (self._h11.send(h11.EndOfMessage()) or b""))
            await self._receive(answer)
            return
        # An answer may come before the body is out (413, 502): it is read at the same time, and ends the sending.
        self._writer.write(head)
        reading = asyncio.create_task(self._receive(answer))
        try:
            await self._send_paced(request, reading)
            await reading
        finally:
            reading.cancel()

    def _head(self, request: Request) -> bytes:
        headers = [
            ("Host", self._target.host),
            ("User-Agent", request.agent),
            ("Accept", "*/*"),
            ("Accept-Encoding", "identity"),
        ]
        if request.body:
            headers += [("Content-Type", request.content_type), ("Content-Length", str(len(request.body)))]
        if request.close:
            headers.append(("Connection", "close"))
        return self._h11.send(h11.Request(method=request.method, target=request.path, headers=headers)) or b""

    async def _send_paced(self, request: Request, reading: asyncio.Task[None]) -> None:
        size = max(1, -(-len(request.body) // PIECES))
        pause = request.pace * size / len(request.body)
        for start in range(0, len(request.body), size):
            if reading.done():
                return
            try:
                self._writer.write(self._h11.send(h11.Data(data=request.body[start : start + size])) or b"")
                await self._writer.drain()
            except ConnectionError:
                return  # what the reader saw decides: an early answer, a close, or the same reset
            await asyncio.wait({reading}, timeout=pause)
        if not reading.done():
            self._h11.send(h11.EndOfMessage())

    async def _receive(self, answer: Answer) -> None:
        body = bytearray()
        ended = False
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as error:
                if ended:
                    raise _Truncated(f"closed in the midst of an answer: {error}") from error
                raise
            if event is h11.NEED_DATA:
                data = await self._reader.read(_READ)
                if not data and not answer.received:
                    raise _ClosedBeforeResponse
                answer.received += len(data)
                ended = not data
                self._h11.receive_data(data)
            elif isinstance(event, h11.Response):
                answer.status = event.status_code
                answer.version = dict(event.headers).get(b"x-shop-version", b"").decode("ascii", "replace")
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                answer.body = bytes(body)
                return
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                raise _Truncated("closed without a final answer")
