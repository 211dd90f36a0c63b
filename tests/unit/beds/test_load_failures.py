# SPDX-License-Identifier: GPL-3.0-or-later
"""Each way of failing, injected by a fake shop, is counted as exactly that, as often as it was done."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.bed.load import Generator, Options, Result, Target, generator, parse_mix, read_acknowledged, wire
from tests.bed.load.fake import FakeShop, Fault, Seen, no_fault
from tests.unit import jumping_clock

T = TypeVar("T")

SHORT = {"slow": 0.1, "slow12": 0.1, "stream": 0.1, "upload": 0.15}


def simulated(main: Coroutine[Any, Any, T]) -> T:
    """Run on a clock that jumps over what is only waiting."""
    return jumping_clock.run(main, generator, wire)


def options(port: int, mix: str, **more: Any) -> Options:
    """A short run of some requests, with a patience of 0.5 s."""
    given = {"rate": 500.0, "seconds": 5.0, "max_requests": 30, "timeout": 0.5, "connect_timeout": 0.3} | more
    return Options(Target("127.0.0.1", port, "shop.localhost"), mix=parse_mix(mix), durations=SHORT, seed=7, **given)


def load(fault: Fault, mix: str, **more: Any) -> tuple[Result, FakeShop]:
    """Run against a fake shop with this fault."""

    async def run() -> tuple[Result, FakeShop]:
        async with FakeShop(fault) as shop:
            return await Generator(options(shop.port, mix, **more)).run(), shop

    return simulated(run())


def every(number: int, what: str, when: Callable[[Seen], bool] = lambda seen: True) -> Fault:
    """A fault for each n-th of the requests that qualify."""
    met = 0

    def fault(seen: Seen) -> str:
        nonlocal met
        if not when(seen):
            return ""
        met += 1
        return what if met % number == 0 else ""

    return fault


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("close", "closed_before_response"),
        ("reset", "reset"),
        ("reset_body", "reset"),
        ("truncate", "truncated"),
        ("hang", "timeout"),
        ("500", "status_5xx"),
        ("502", "status_5xx"),
        ("404", "status_4xx"),
        ("301", "status_3xx"),
        ("204", "status_2xx"),
        ("not_http", "bad_body"),
    ],
)
def test_each_failure_is_counted_as_its_kind(fault: str, kind: str) -> None:
    result, shop = load(every(6, fault), "new=1,keepalive=1")
    assert shop.injected == {fault: 5}
    assert result.failed_by_kind == {kind: 5}
    assert (result.total, result.ok, result.failed, result.idle_close) == (30, 25, 5, 0)
    assert len(shop.seen) == 30, "a request was repeated, or one was left out"
    assert result.status_codes == ({fault: 5} if fault.isdecimal() else {})
    assert {failure["kind"] for failure in result.failures} == {kind}
    assert not result.flawless


def test_no_failure_is_no_failure() -> None:
    result, shop = load(no_fault, "new=2,keepalive=2,strict_keepalive=2,static=1,slow=1,stream=1,upload=1")
    assert result.flawless
    assert result.failed_by_kind == {}
    assert result.total == result.ok == len(shop.seen) == 30
    assert result.versions["v1"]["answers"] == 30


def test_refused() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, never listening: nobody else gets the port
        result = simulated(Generator(options(held.getsockname()[1], "new=1,keepalive=1", max_requests=10)).run())
    assert result.failed_by_kind == {"connect_refused": 10}
    assert result.unknown_orders == {}, "what was never sent cannot be in doubt"
    assert result.longest_gap_ms == pytest.approx(result.seconds * 1000, abs=1)


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """A port whose queue is full, so that the kernel drops each further SYN."""
    with socket.socket() as server, contextlib.ExitStack() as waiting:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _client in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def test_connect_timeout() -> None:
    with full_backlog() as port:
        result = simulated(Generator(options(port, "new=1", max_requests=5)).run())
    assert result.failed_by_kind == {"connect_timeout": 5}


@pytest.mark.parametrize(
    ("client", "fault", "kind"),
    [
        ("stream", "cut_stream", "truncated"),
        ("stream", "no_end", "bad_body"),
        ("upload", "bad_sha", "bad_body"),
        ("upload", "413", "status_4xx"),
        ("upload", "reset", "reset"),
        ("upload", "close", "closed_before_response"),
        ("slow", "late_close", "closed_before_response"),
        ("slow12", "hang", "timeout"),
        ("slow", "not_json", "bad_body"),
    ],
)
def test_long_requests_fail_as_their_kind_and_stay_out_of_the_latencies(client: str, fault: str, kind: str) -> None:
    result, shop = load(every(3, fault), f"{client}=8", max_requests=9)
    assert shop.injected == {fault: 3}
    assert result.failed_by_kind == {kind: 3}
    assert (result.total, result.ok) == (9, 6)
    assert result.latency_ms["count"] == 0


def test_an_upload_that_is_answered_early_is_not_sent_to_its_end() -> None:
    result, _shop = load(every(1, "413"), "upload=1", max_requests=1)
    assert result.status_codes == {"413": 1}
    assert result.failures[0]["at"] - result.failures[0]["begun"] < 0.1, "0.15 s of sending went on after the answer"


@pytest.mark.parametrize("fault", ["not_json", "no_id"])
def test_an_order_without_a_proper_answer_is_in_doubt(fault: str, tmp_path: Path) -> None:
    book = tmp_path / "acknowledged.jsonl"
    result, shop = load(every(2, fault, lambda seen: seen.order), "new=1", max_requests=60, acknowledged=book)
    injected = shop.injected[fault]
    assert injected >= 2
    assert result.failed_by_kind == {"bad_body": injected}
    assert len(result.unknown_orders) == injected
    acknowledged = read_acknowledged(book)
    assert len(acknowledged) == result.acknowledged >= 2
    assert {order.reference for order in acknowledged}.isdisjoint(result.unknown_orders)
    assert {(order.id, order.reference) for order in acknowledged} <= set(shop.orders)


@pytest.mark.parametrize("fault", ["close", "reset", "502", "truncate"])
def test_an_order_whose_answer_was_lost_is_in_doubt(fault: str) -> None:
    result, shop = load(every(2, fault, lambda seen: seen.order), "new=1,keepalive=1", max_requests=60)
    assert len(result.unknown_orders) == result.failed == shop.injected[fault] >= 2


def test_static_missing_asset_is_a_failure() -> None:
    result, shop = load(
        every(3, "404", lambda seen: seen.path.startswith("/static/")), "static=1", max_requests=60, rate=100
    )
    assert result.failed_by_kind == {"status_4xx": shop.injected["404"]}
    assert shop.injected["404"] >= 10
    wanted = {seen.path for seen in shop.seen} - {"/"}
    assert wanted == {"/static/site.0123456789ab.css", "/static/app.cdef01234567.js"}


def test_a_page_without_assets_is_a_failure() -> None:
    result, shop = load(every(1, "no_asset"), "static=1", max_requests=5)
    assert result.failed_by_kind == {"bad_body": shop.injected["no_asset"]} == {"bad_body": 5}


class TestIdleClose:
    """nginx closes idle connections on a reload: only strict clients stumble, and that is no failure."""

    def test_strict_client_meets_it_and_it_is_counted_apart(self) -> None:
        result, shop = load(every(5, "idle_close"), "strict_keepalive=1", max_requests=40, pool=1, rate=20)
        assert result.failed == 0
        # Each close is met by the next request, but for one after the last request; those met are not seen.
        assert result.idle_close in (shop.injected["idle_close"], shop.injected["idle_close"] - 1)
        assert result.idle_close >= 5
        assert result.total == result.ok + result.idle_close == len(shop.seen) + result.idle_close
        assert result.idle_close_raced == 0, "these closes were all there to be seen"
        assert result.flawless

    def test_ordinary_client_sees_it_and_opens_a_new_connection(self) -> None:
        result, shop = load(every(5, "idle_close"), "keepalive=1", max_requests=40, pool=1, rate=80)
        assert shop.injected["idle_close"] == 8
        assert (result.failed, result.idle_close, result.ok) == (0, 0, 40)
        assert result.generator["reconnects"] >= 1

    def test_first_request_of_a_connection_is_never_excused(self) -> None:
        result, shop = load(every(1, "close"), "strict_keepalive=1", max_requests=10)
        assert result.failed_by_kind == {"closed_before_response": 10}
        assert result.idle_close == 0
        assert shop.connections == 10

    def test_late_close_is_not_excused(self) -> None:
        """The request was being worked on for 0.2 s: no idle connection."""
        fault = every(3, "late_close", lambda seen: seen.nth > 1)
        result, shop = load(fault, "strict_keepalive=1", max_requests=20, pool=4, rate=100)
        assert shop.injected["late_close"] >= 3
        assert result.failed_by_kind == {"closed_before_response": shop.injected["late_close"]}
        assert result.idle_close == 0

    def test_bytes_of_an_answer_are_not_excused(self) -> None:
        result, shop = load(every(3, "truncate", lambda seen: seen.nth > 1), "strict_keepalive=1", pool=4, rate=100)
        assert result.failed_by_kind == {"truncated": shop.injected["truncate"]}
        assert result.idle_close == 0

    def test_crossing_close_fails_for_a_careful_client_and_is_named(self) -> None:
        """A close that crosses the request cannot be seen: a failure to this client, and marked as that race."""
        result, shop = load(every(3, "close", lambda seen: seen.nth > 1), "keepalive=1", pool=2, rate=80)
        assert result.failed == shop.injected["close"] == result.keepalive_race >= 3
        assert result.failed_beyond_race == 0
        assert not result.flawless

    def test_order_on_a_closed_connection_is_in_doubt(self) -> None:
        """Nginx has not read it, but nothing on the client's side can prove that."""
        result, _shop = load(every(2, "idle_close"), "strict_keepalive=1", max_requests=60, pool=1, rate=100)
        closed = [entry for entry in result.raw["idle_closes"] if entry["path"] == "/api/orders/"]
        assert len(result.unknown_orders) == len(closed) >= 1

    def test_the_proxys_log_tells_whether_a_request_was_read(self) -> None:
        """A close after a long time is excused if nginx never read the request, a quick one is not if it did."""
        fault = every(3, "late_close", lambda seen: seen.nth > 1)
        result, _shop = load(fault, "keepalive=1", max_requests=20, pool=4, rate=100)
        agents = [failure["agent"] for failure in result.failures]
        assert len(set(agents)) == len(agents) == result.failed >= 3
        other = '127.0.0.1 "GET / HTTP/1.1" 200 0 "-" "evenkeel-load/1.1" "-"\n'
        assert result.judged_by(other).failed_beyond_race == 0
        log = "".join(f'127.0.0.1 "GET / HTTP/1.1" 499 0 "-" "{agent}" "-"\n' for agent in agents[1:])
        assert result.judged_by(other + log).failed_beyond_race == result.failed - 1

    def test_the_first_request_of_a_connection_is_not_excused_by_any_log(self) -> None:
        result, _shop = load(every(1, "close"), "keepalive=1", max_requests=10)
        assert result.judged_by('"evenkeel-load/1.1"').failed_beyond_race == 10

    def test_a_log_without_user_agents_judges_nothing(self) -> None:
        result, _shop = load(every(1, "close"), "keepalive=1", max_requests=10)
        with pytest.raises(ValueError, match="log_format"):
            result.judged_by("GET / 200")
