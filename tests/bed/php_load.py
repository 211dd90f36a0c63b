# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers of a page that is made of many files: did they get it, of one release, and of which."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Seen:
    """What came back: ``stale`` are whole answers of a release that was left before they were asked for.

    ``slowest`` in seconds.
    """

    requests: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    mixed: int = 0
    stale: int = 0
    slowest: float = 0.0
    releases: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)


class PageLoad:
    """An open loop of new connections, to several ports in turn.

    :param ports: name → port.
    :param rate: requests a second to each.
    """

    def __init__(self, ports: dict[str, int], rate: float = 100.0, path: str = "/index.php") -> None:
        self._ports, self._rate, self._path = ports, rate, path
        self.seen = {name: Seen() for name in ports}
        self._gone: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._loop()), daemon=True)

    def __enter__(self) -> PageLoad:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def left(self, release: str) -> None:
        """From now on nobody should be given a release any more."""
        self._gone[release] = time.monotonic()

    async def _loop(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        began, number = time.monotonic(), 0
        while not self._stop.is_set():
            due = began + number / self._rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            number += 1
            for name, port in self._ports.items():
                task = asyncio.create_task(self._ask(self.seen[name], port))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    async def _ask(self, seen: Seen, port: int) -> None:
        began = time.monotonic()
        seen.requests += 1
        try:
            answer = await asyncio.wait_for(self._answer(port), 20)
        except (OSError, asyncio.TimeoutError, EOFError) as error:
            seen.failed[type(error).__name__] += 1
            return
        seen.slowest = max(seen.slowest, time.monotonic() - began)
        head, _gap, body = answer.partition(b"\r\n\r\n")
        status = head.split(b" ")[1].decode() if b" " in head else "no answer"
        try:
            ids = json.loads(body) if status == "200" else None
        except ValueError:
            ids = None
        if not isinstance(ids, dict):
            seen.failed[status] += 1
            return
        found = set(ids.values())
        if len(found) > 1:
            seen.mixed += 1
            seen.examples = [*seen.examples, json.dumps(ids)][:5]
            return
        release = found.pop()
        seen.releases[release] += 1
        seen.stale += began > self._gone.get(release, began)

    async def _answer(self, port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"GET {self._path} HTTP/1.0\r\nHost: blog.example\r\n\r\n".encode())
            return await reader.read()
        finally:
            writer.close()
