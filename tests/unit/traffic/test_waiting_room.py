# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that wait for the end of a gap: the server in which they do, on real sockets, and what it is told."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic import waiting_room
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host import firewall
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.inside import waiting_room as server

GET = b"GET /api/tours/ HTTP/1.1\r\nHost: shop\r\n\r\n"
Ask = Callable[..., Awaitable[bytes]]


def in_room(
    scene: Callable[[server.Room, Ask], Awaitable[None]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **told: Any
) -> server.Room:
    """Play a scene with a room that was told something, in front of an app that answers with what it was asked.

    No rule has led anybody here, so the port that they wanted is the app's.
    """
    room = server.Room()

    async def play() -> None:
        async def app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            said = await reader.read(65536)
            writer.write(b"answered " + said)
            await writer.drain()
            writer.close()

        behind = await asyncio.start_server(app, "127.0.0.1", 0)
        port = behind.sockets[0].getsockname()[1]
        monkeypatch.setattr(server, "port_of", lambda _writer: port)
        door = await server.listen(room, "127.0.0.1", 0)
        at = door.sockets[0].getsockname()[1]
        state.write_text(json.dumps({**waiting_room.waiting(time.time(), 30.0), **told}), encoding="utf-8")
        room.look()
        watching = asyncio.ensure_future(room.watch())

        async def ask(what: bytes = GET, leaves: bool = False) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", at)
            writer.write(what)
            if leaves:
                await writer.drain()
                writer.close()
                return b""
            return await asyncio.wait_for(reader.read(), 10)

        try:
            await scene(room, ask)
        finally:
            watching.cancel()
            door.close()
            behind.close()

    state = tmp_path / "room.json"
    monkeypatch.setattr(server, "STATE", str(state))
    asyncio.run(play())
    return room


def tell(told: dict[str, Any]) -> None:
    """Write the file anew."""
    fresh = f"{server.STATE}.new"
    Path(fresh).write_text(json.dumps(told), encoding="utf-8")
    os.replace(fresh, server.STATE)


def test_requests_wait_and_are_passed_on_as_they_came(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    post = b"POST /orders/ HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\n\r\na=1&"

    async def scene(room: server.Room, ask: Ask) -> None:
        asked = [asyncio.ensure_future(ask(what)) for what in (GET, post)]
        await asyncio.sleep(0.3)
        assert room.waiting == 2 and not any(one.done() for one in asked)
        tell(waiting_room.led(room.told, ["127.0.0.1"]))
        assert await asyncio.gather(*asked) == [b"answered " + GET, b"answered " + post]
        # Who comes from now on does not wait.
        assert await ask() == b"answered " + GET

    counts = in_room(scene, monkeypatch, tmp_path).counts
    assert (counts["waited"], counts["page"], counts["failed"]) == (3, 0, 0) and counts["longest"] >= 0.3


def test_nobody_waits_longer_than_was_said_and_then_gets_the_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def scene(room: server.Room, ask: Ask) -> None:
        began = time.monotonic()
        head, _line, body = (await ask()).partition(b"\r\n\r\n")
        assert 0.2 <= time.monotonic() - began < 5
        assert head.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 60" in head and b"no-store" in head
        assert body == b"<h1>Soon</h1>" and f"Content-Length: {len(body)}".encode() in head
        head, _line, body = (await ask(GET.replace(b"GET", b"HEAD"))).partition(b"\r\n\r\n")
        assert b"503" in head and body == b""

    told = {"hold": 0.2, "ends": time.time() + 60, "page": "<h1>Soon</h1>"}
    assert in_room(scene, monkeypatch, tmp_path, **told).counts["page"] == 2


def test_one_too_many_and_one_that_comes_too_late_get_the_page_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def scene(room: server.Room, ask: Ask) -> None:
        first = asyncio.ensure_future(ask())
        await asyncio.sleep(0.1)
        assert (await ask()).startswith(b"HTTP/1.1 503 ") and not first.done()
        tell(waiting_room.led(room.told, ["127.0.0.1"]))
        assert await first == b"answered " + GET
        tell({**waiting_room.again(room.told, time.time()), "until": time.time() - 1})
        await asyncio.sleep(0.2)
        assert b"Retry-After: 5\r\n" in await ask()

    in_room(scene, monkeypatch, tmp_path, most=1)


def test_whoever_has_left_is_not_passed_on_and_what_is_no_http_gets_no_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def scene(room: server.Room, ask: Ask) -> None:
        await ask(leaves=True)
        await asyncio.sleep(1.2)
        assert (room.counts["left"], room.waiting) == (1, 0)
        tell({**room.told, "until": 0})
        await asyncio.sleep(0.2)
        assert await ask(b"\x16\x03\x01\x02\x00") == b""
        assert await ask(b"\x00\x05\x00\x00hello") != b"", "uwsgi's protocol, whose answers are HTTP's"

    counts = in_room(scene, monkeypatch, tmp_path).counts
    assert (counts["waited"], counts["page"], counts["failed"]) == (0, 1, 1)


def test_the_file_is_read_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "room.json"
    monkeypatch.setattr(server, "STATE", str(state))

    async def begun() -> server.Room:
        return server.Room()

    room = asyncio.run(begun())
    room.look()
    assert room.told == {}
    state.write_text(json.dumps({"until": 1}), encoding="utf-8")
    room.look()
    assert room.told == {"until": 1}
    state.write_text('{"until": 2, ', encoding="utf-8")
    room.look()
    assert room.told == {"until": 1}
    fresh = tmp_path / "fresh.json"
    fresh.write_text(json.dumps({"until": 3}), encoding="utf-8")
    os.replace(fresh, state)
    room.look()
    assert room.told == {"until": 3}


def test_what_a_room_is_told() -> None:
    first = waiting_room.waiting(1000.0, 30.0, 12.0, "<p>", 7)
    assert (first["until"], first["ends"], first["most"], first["page"], first["to"]) == (1030.0, 1012.0, 7, "<p>", [])
    long = waiting_room.waiting(1000.0, 30.0, 90.0)
    assert long["until"] == 1000.0, "waiting would lead to the page anyway"
    assert "Maintenance" in long["page"]
    led = waiting_room.led(first, ["10.0.0.3", "10.0.0.2"])
    assert led["to"] == ["10.0.0.2", "10.0.0.3"] and led["hold"] == 30.0
    again = waiting_room.again(led, 2000.0)
    assert (again["to"], again["until"], again["page"]) == ([], 2030.0, "<p>")


@pytest.mark.parametrize(
    ("proxies", "rooms", "most"),
    [([], 1, 300), ([], 3, 300), ([(2, 1024)], 1, 819), ([(2, 1024)], 2, 409), ([(1, 512), (4, 4096)], 1, 204),
     ([(16, 4096)], 1, 4000), ([(1, 1)], 5, 1)],
)  # fmt: skip
def test_so_many_wait_as_the_weakest_nginx_can_hold(proxies: list[tuple[int, int]], rooms: int, most: int) -> None:
    assert waiting_room.most_of(proxies, rooms) == most


def test_a_room_has_nothing_secret_and_is_no_container_of_the_service() -> None:
    web = {
        "Id": "abc", "Image": "sha256:1", "Mounts": [{"Source": "/srv"}],
        "Config": {"Env": ["SECRET=1"], "User": "shop", "Labels": {"com.docker.compose.service": "api", "evenkeel.bed": "x"}},
    }  # fmt: skip
    made = waiting_room.room_of(web, "travel", ["sh", "-c", "true"])
    assert "SECRET" not in json.dumps(made) and "/srv" not in json.dumps(made) and "compose" not in json.dumps(made)
    assert made["Labels"] == {"evenkeel.bed": "x", waiting_room.LABEL: "travel", waiting_room.BESIDE: "abc"}
    assert made["HostConfig"]["NetworkMode"] == "container:abc" and made["User"] == "shop"


def test_counts_of_rooms_are_one_sentence() -> None:
    each = [{"waited": 3, "longest": 1.5}, {"waited": 4, "longest": 2.5, "page": 1, "failed": 2}, {}]
    total = waiting_room.summed(each)
    assert total == {"waited": 7, "page": 1, "failed": 2, "longest": 2.5}
    assert waiting_room.sentence(total) == (
        "7 requests waited, 2.5 s at most; 1 got the maintenance page (503); 2 connections could not be answered"
    )
    assert waiting_room.sentence(waiting_room.summed([])) == ""


def test_only_new_connections_from_outside_are_led_to_the_room() -> None:
    rules = firewall.diversion([8000, 41987, 9000], 41987, 60.0, ["10.0.0.1", "fd00::1"])
    assert "{ 8000 timeout 60s, 9000 timeout 60s }" in rules, "the room's own port leads nowhere else"
    assert 'iif != "lo" fib daddr type local tcp dport @led tcp flags & (syn | ack) == syn redirect to :41987' in rules
    assert rules.index("ip saddr 10.0.0.1 accept") < rules.index("redirect")
    assert "ip6 saddr fd00::1 accept" in rules
