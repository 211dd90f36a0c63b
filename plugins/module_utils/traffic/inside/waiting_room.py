# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server in which requests wait while nobody can answer them. It runs in a container of its own, with the standard library alone.

What comes in waits unread until it is told where to pass it on, byte for byte; whoever would wait too long, or is one too many,
is answered 503 with a page.  It is told by a file, which is written whole and looked at again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import sys
import time
from typing import Any, Callable

#: Where the file is in the container.
STATE = "/evenkeel/room.json"
MARK = "EVENKEEL "
# Seconds: between two looks at the file; between two looks of each request that waits, of which there may be thousands; until
# whoever is answered has said what it wants, and has taken the answer; for which whoever is passed on is tried again where nobody
# listens yet.
_LOOK, _GLANCE, _PATIENCE, _TRIES = 0.05, 1.0, 5.0, 5.0
# Bytes of one request that are kept while it waits.
_KEPT = 65536
_METHODS = (b"GET ", b"POST ", b"PUT ", b"HEAD ", b"PATCH ", b"DELETE ", b"OPTIONS ")
# Level and name under which the kernel says where a connection was going before a rule led it here (linux/netfilter_ipv4.h).
_BEFORE = {socket.AF_INET: (socket.SOL_IP, 80, 16), socket.AF_INET6: (socket.IPPROTO_IPV6, 80, 28)}
# Seconds that an answer names at least, when to come again.
_SOON = 5


class Reader(asyncio.StreamReader):
    """What comes over a connection.

    :ivar ended: whether its other end has closed it, be it that what came before is unread.
    """

    ended = False

    def feed_eof(self) -> None:
        self.ended = True
        super().feed_eof()


class Room:
    """What it was told, and what it has done."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}
        self.seen: tuple[int, ...] = ()
        self.news = asyncio.Event()
        self.waiting = 0
        self.counts = {"waited": 0, "longest": 0.0, "page": 0, "left": 0, "failed": 0}

    def look(self) -> None:
        """Read the file where it is another one, and tell who waits; one that is being written is read at the next look."""
        with contextlib.suppress(OSError, ValueError):
            found = os.stat(STATE)
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen != self.seen:
                with open(STATE, encoding="utf-8") as stream:
                    self.told = json.load(stream)
                self.seen = seen
                self.news.set()
                self.news = asyncio.Event()

    async def watch(self) -> None:
        """Look at the file for ever; print what was done whenever that has changed."""
        printed = ""
        while True:
            self.look()
            line = json.dumps(self.counts)
            if line != printed and not self.waiting:
                printed = line
                sys.stdout.write(MARK + line + "\n")
                sys.stdout.flush()
            await asyncio.sleep(_LOOK)

    async def target(self, gone: Callable[[], bool]) -> str:
        """The address that a request is to be passed on to, after waiting for it; empty where it is answered with the page.

        :param gone: tells whether whoever sent it has left.
        """
        began = time.time()
        late, full = began >= float(self.told.get("until") or 0), self.waiting >= int(self.told.get("most") or 0)
        if (late or full) and not self.told.get("to"):
            return ""
        self.waiting += 1
        try:
            while not self.told.get("to"):
                # Each has its own time: if all got the page at one moment, the first of them would wait for the last.
                left = began + float(self.told.get("hold") or 0) - time.time()
                if gone() or left <= 0:
                    return ""
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self.news.wait(), min(left, _GLANCE))
        finally:
            self.waiting -= 1
            took = time.time() - began
        self.counts["waited"] += 1
        self.counts["longest"] = round(max(self.counts["longest"], took), 3)
        targets = self.told["to"]
        return str(targets[self.counts["waited"] % len(targets)])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            target = await self.target(lambda: has_left(reader))
            if has_left(reader):
                self.counts["left"] += 1
            elif target:
                await self.pass_on(reader, writer, target, port_of(writer))
            else:
                await self.answer(reader, writer)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            self.counts["failed"] += 1
        finally:
            writer.close()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str, port: int) -> None:
        """Lead a connection to where it is answered, until both sides have ended."""
        until = time.time() + _TRIES
        while True:
            try:
                inner, outer = await asyncio.open_connection(target, port)
                break
            except OSError:
                if time.time() > until:
                    await self.answer(reader, writer)
                    return
                await asyncio.sleep(0.2)
        try:
            # Whoever has the answer and ends needs nothing more; a client that has said all may still wait for its answer.
            back = asyncio.ensure_future(copy(inner, writer))
            there = asyncio.ensure_future(copy(reader, outer))
            await back
            there.cancel()
            await asyncio.gather(there, return_exceptions=True)
        finally:
            outer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say that it goes on later, to whoever speaks HTTP/1, or uwsgi's protocol, whose answers are the same."""
        said = b""
        with contextlib.suppress(asyncio.TimeoutError):
            said = await asyncio.wait_for(reader.read(_KEPT), _PATIENCE)
        if not said.startswith((*_METHODS, b"\0")):
            # TLS, or a preface of HTTP/2: whoever speaks that takes no other answer.
            self.counts["failed"] += 1
            return
        self.counts["page"] += 1
        page = str(self.told.get("page") or "").encode()
        wait = max(_SOON, int(float(self.told.get("ends") or 0) - time.time() + 0.999))
        head = (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html; charset=utf-8\r\n"
            f"Content-Length: {len(page)}\r\nRetry-After: {wait}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + (b"" if said.startswith(b"HEAD ") else page))
        await writer.drain()
        writer.write_eof()
        # A connection that is closed over what is unread is reset, and the answer may be lost with it.
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(exhaust(reader), _PATIENCE)


def has_left(reader: asyncio.StreamReader) -> bool:
    """Whether the other end has closed a connection."""
    return isinstance(reader, Reader) and reader.ended


def port_of(writer: asyncio.StreamWriter) -> int:
    """The port that a connection was for, before it was led here."""
    made = writer.get_extra_info("socket")
    level, name, size = _BEFORE[made.family]
    return int(struct.unpack_from("!H", made.getsockopt(level, name, size), 2)[0])


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until it ends, and say that it has."""
    while True:
        data = await reader.read(65536)
        if not data:
            break
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


async def exhaust(reader: asyncio.StreamReader) -> None:
    """Read what nobody wants until it ends."""
    while await reader.read(65536):
        pass


async def listen(room: Room, host: str, port: int) -> asyncio.AbstractServer:
    """Let a room have the connections to a port."""
    loop = asyncio.get_event_loop()

    def made() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(Reader(limit=_KEPT, loop=loop), room.serve, loop=loop)

    return await loop.create_server(made, host, port, backlog=4096)


async def run(port: int) -> None:
    """Serve for ever."""
    room = Room()
    room.look()
    listening = []
    for host in ("::", "0.0.0.0"):
        with contextlib.suppress(OSError):
            listening.append(await listen(room, host, port))
    if not listening:
        raise SystemExit(f"port {port} is taken")
    await room.watch()


def main(port: int) -> None:
    """Listen at a port of all addresses."""
    asyncio.get_event_loop().run_until_complete(run(port))
