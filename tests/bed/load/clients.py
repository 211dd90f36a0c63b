# SPDX-License-Identifier: GPL-3.0-or-later
"""The clients: what each asks, on which connection, and when it is content with the answer."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from typing import Any
from urllib.parse import urlsplit

from .options import ORDINARY, Options
from .orders import Acknowledged, OrderBook
from .record import Entry, Recorder
from .wire import AGENT, Answer, Connection, Request, connect_failure

IDLE_CLOSE_SECONDS = 0.02
"""Within how many seconds of sending a close counts as nginx's keep-alive race: later, someone had begun to work.

Measured with 80 reloads of an nginx behind a published port at 250 requests/s, on a machine that was busy
otherwise: 24 closes crossed a request, after 0.4 to 4.5 ms (half of them within 0.7 ms).
"""

UPLOAD_BYTES = 65_536
ASSETS_KEPT = 64
ASSETS_A_PAGE = 4

_ASSET = re.compile(r"""(?:href|src)\s*=\s*["']([^"'<>\s]*/static/[^"'<>\s]+)["']""", re.IGNORECASE)

_ASKS = {"page": 2, "tours": 3, "tour": 3, "asset": 1, "order": 2}
"""What `new`, `keepalive` and `strict_keepalive` ask, by weight."""


def assets_of(page: str) -> list[str]:
    """The paths of the static files a page names, each once, those on other hosts left out."""
    found: dict[str, None] = {}
    for match in _ASSET.finditer(page):
        parts = urlsplit(unescape(match[1]))
        if not parts.netloc and parts.path.startswith("/static/"):
            found[parts.path + (f"?{parts.query}" if parts.query else "")] = None
    return list(found)


class Clients:
    """All clients of one run, with their pools of connections and the assets that pages have named so far.

    `clock` gives seconds after the start. `admit` is asked before each request beyond the first of a session.
    """

    def __init__(
        self,
        options: Options,
        recorder: Recorder,
        orders: OrderBook,
        clock: Callable[[], float],
        admit: Callable[[], bool],
    ) -> None:
        self._options = options
        self._recorder = recorder
        self._orders = orders
        self._clock = clock
        self._admit = admit
        self._random = random.Random(options.seed)
        self._pools: dict[str, deque[Connection]] = {"keepalive": deque(), "strict_keepalive": deque()}
        self._assets: dict[str, None] = {}
        self._upload = random.Random(options.seed).randbytes(UPLOAD_BYTES)
        self._upload_sha = hashlib.sha256(self._upload).hexdigest()
        self.reconnects = 0
        self._asked = 0

    async def serve(self, client: str, due: float) -> None:
        """One arrival of this client, which the schedule wanted at `due` (seconds after the start)."""
        if client == "static":
            await self._session(due)
        elif client in ORDINARY:
            await self._ask(client, self._choose(), due)
        else:
            await self._ask(client, self._long(client), due)

    def close(self) -> None:
        """Close the idle connections."""
        for pool in self._pools.values():
            while pool:
                pool.popleft().close()

    def _get(self, path: str, extra: float = 0.0) -> Request:
        return Request("GET", path, timeout=self._options.timeout + extra)

    def _choose(self) -> Request:
        ask = self._random.choices(list(_ASKS), list(_ASKS.values()))[0]
        if ask == "order":
            return Request("POST", "/api/orders/", timeout=self._options.timeout, expected=201)
        if ask == "asset" and self._assets:
            return self._get(self._random.choice(list(self._assets)))
        if ask == "tours":
            return self._get("/api/tours/")
        return self._get(f"/api/tours/{self._random.randint(1, 12)}/" if ask == "tour" else "/")

    def _long(self, client: str) -> Request:
        seconds = self._options.durations[client]
        if client == "upload":
            kind = "application/octet-stream"
            timeout = self._options.timeout + seconds
            return Request("POST", "/api/upload/", self._upload, kind, pace=seconds, timeout=timeout, close=True)
        path = "/api/stream/" if client == "stream" else "/api/slow/"
        return replace(self._get(f"{path}?seconds={seconds:g}", seconds), close=True)

    async def _session(self, due: float) -> None:
        """A browser: the page, then the files it names, on one connection as long as that is open."""
        connection, answer = await self._once("static", self._get("/"), due, None)
        named = assets_of(answer.body.decode("utf-8", "replace")) if not answer.kind else []
        for path in self._random.sample(named, min(len(named), ASSETS_A_PAGE)):
            if not self._admit():
                break
            if connection and (not connection.reusable() or connection.looks_closed()):
                connection.close()
                connection = None
            connection, _answer = await self._once("static", self._get(path), self._clock(), connection)
        if connection:
            connection.close()

    async def _ask(self, client: str, request: Request, due: float) -> None:
        """One request on the kind of connection this client uses; a good one goes back to its pool."""
        pool = self._pools.get(client)
        connection = self._take(client, pool) if pool is not None else None
        if pool is None:
            request = replace(request, close=True)
        connection, _answer = await self._once(client, request, due, connection)
        if connection is None:
            return
        if pool is not None and connection.reusable() and len(pool) < self._options.pool:
            pool.append(connection)
        else:
            connection.close()

    def _take(self, client: str, pool: deque[Connection]) -> Connection | None:
        """The connection that has been idle longest. Only a strict client takes it without a look."""
        while pool:
            connection = pool.popleft()
            if client == "strict_keepalive" or not connection.looks_closed():
                return connection
            connection.close()
            self.reconnects += 1
        return None

    async def _once(
        self, client: str, request: Request, due: float, connection: Connection | None
    ) -> tuple[Connection | None, Answer]:
        """Connect if there is no connection, exchange, judge, record. No second try of any kind."""
        reference = ""
        if request.expected == 201:
            reference = self._orders.begin()
            order = {"tour": self._random.randint(1, 12), "reference": reference, "email": f"{reference}@example.com"}
            request = replace(request, body=json.dumps(order).encode(), content_type="application/json")
        self._asked += 1
        request = replace(request, agent=f"{AGENT}/{self._options.seed}.{self._asked}")
        begun = self._clock()
        try:
            connection = connection or await Connection.open(self._options.target, self._options.connect_timeout)
        except OSError as error:
            answer = connect_failure(error)
        else:
            answer = await connection.exchange(request)
        ended = self._clock()
        if not answer.kind:
            self._judge(client, request, reference, answer, ended)
        if reference and answer.kind:
            if answer.sent:
                self._orders.unknown(reference, f"{answer.kind}: {answer.detail}")
            else:
                self._orders.never_sent(reference)
        doubtful = (
            client in ORDINARY
            and answer.kind in ("reset", "closed_before_response")
            and answer.nth > 1
            and answer.received == 0
        )
        raced = doubtful and answer.took <= IDLE_CLOSE_SECONDS
        self._recorder.record(
            Entry(
                client,
                request.method,
                request.path,
                due,
                begun,
                ended,
                kind=answer.kind,
                detail=answer.detail,
                status=answer.status,
                version=answer.version,
                ordinary=client in ORDINARY,
                idle_close=raced and client == "strict_keepalive",
                race=raced,
                stale=answer.stale,
                agent=request.agent if doubtful else "",
            )
        )
        return connection, answer

    def _judge(self, client: str, request: Request, reference: str, answer: Answer, at: float) -> None:
        """Look into a complete answer; what does not belong there makes it a `bad_body`."""
        wrong = ""
        if request.path == "/":
            named = assets_of(answer.body.decode("utf-8", "replace"))
            wrong = "" if named else "the page names no static file"
            self._remember(named)
        elif client == "stream":
            wrong = "" if answer.body.endswith(b"end\n") else f"no `end` after {len(answer.body)} bytes"
        elif request.path.startswith("/api/"):
            wrong = self._judge_json(client, reference, answer, at)
        if wrong:
            answer.kind, answer.detail = "bad_body", wrong

    def _judge_json(self, client: str, reference: str, answer: Answer, at: float) -> str:
        try:
            data: Any = json.loads(answer.body)
        except ValueError as error:
            return f"not JSON: {error}"
        if client == "upload":
            got = (data.get("bytes"), data.get("sha256")) if isinstance(data, dict) else None
            same = got == (UPLOAD_BYTES, self._upload_sha)
            return "" if same else f"bytes and sha256 {got} are not those of what was sent"
        if reference:
            if not isinstance(data, dict) or not isinstance(data.get("id"), int):
                return "an order was acknowledged without an id"
            if data.get("reference", reference) != reference:
                return "another order was acknowledged than the one sent"
            self._orders.acknowledge(Acknowledged(reference, data["id"], answer.version), at)
        return ""

    def _remember(self, named: list[str]) -> None:
        """Files that a page named stay wanted for the whole run: someone has that page open still."""
        for path in named:
            self._assets.setdefault(path)
        while len(self._assets) > ASSETS_KEPT:
            del self._assets[next(iter(self._assets))]
