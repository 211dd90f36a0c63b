# SPDX-License-Identifier: GPL-3.0-or-later
"""The run: an open loop, its bounds, its phases, and the process around it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.bed.load import (
    Generator,
    LoadError,
    LoadRun,
    Options,
    Result,
    Target,
    generator,
    parse_mix,
    summary_table,
    wire,
)
from tests.bed.load.fake import FakeShop
from tests.unit import jumping_clock

T = TypeVar("T")

SHORT = {"slow": 0.1, "slow12": 0.1, "stream": 0.1, "upload": 0.2}


def simulated(main: Coroutine[Any, Any, T]) -> T:
    """Run on a clock that jumps over what is only waiting."""
    return jumping_clock.run(main, generator, wire)


def options(shop: FakeShop, mix: str = "new=1,keepalive=1", **more: Any) -> Options:
    """A run of one second at 100 arrivals a second."""
    given = {"rate": 100.0, "seconds": 1.0, "timeout": 3.0} | more
    return Options(
        Target("127.0.0.1", shop.port, "shop.localhost"), mix=parse_mix(mix), durations=SHORT, seed=3, **given
    )


@pytest.fixture(scope="module")
def stalled() -> tuple[Result, FakeShop, float, float]:
    """Load for 1.6 s; from 0.4 s to 1.4 s nobody gets an answer."""

    async def run() -> tuple[Result, FakeShop, float, float]:
        async with FakeShop() as shop:
            load = Generator(options(shop, seconds=1.6))
            running = asyncio.create_task(load.run())
            loop = asyncio.get_running_loop()
            await asyncio.sleep(0.4)
            shop.gate.clear()
            load.mark("stall-start")
            begun = loop.time()
            await asyncio.sleep(1.0)
            ended = loop.time()
            shop.gate.set()
            await asyncio.sleep(0.1)
            load.mark("stall-end")
            return await running, shop, begun, ended

    return simulated(run())


class TestOpenLoop:
    """Arrivals go by the clock. A closed loop would send fewer while the server stalls, and measure it as fast."""

    def test_arrivals_go_on(self, stalled: tuple[Result, FakeShop, float, float]) -> None:
        result, shop, begun, ended = stalled
        during = sum(1 for at in shop.arrived if begun + 0.05 <= at <= ended)
        assert 85 <= during <= 100, "100 arrivals a second, 0.95 s looked at"
        assert result.rate["arrivals"] == pytest.approx(100, abs=10)
        assert result.total == result.ok == 160
        assert result.generator["peak_in_flight"] >= 90

    def test_latency_includes_the_waiting(self, stalled: tuple[Result, FakeShop, float, float]) -> None:
        result = stalled[0]
        stall = result.phase("stall")
        # They came evenly through one second of stall, so they waited from 1 s down to nothing.
        # (From above they are bounded by nothing: who runs beside these tests takes its time.)
        assert stall.latency_ms["max"] >= 900
        assert stall.latency_ms["p50"] >= 400
        assert result.latency_ms["p99"] >= 900
        assert result.phase("before").latency_ms["p99"] < 300

    def test_longest_gap_is_the_stall(self, stalled: tuple[Result, FakeShop, float, float]) -> None:
        result = stalled[0]
        assert result.longest_gap_ms >= 950
        assert result.longest_gap_at == pytest.approx(0.4, abs=0.3)
        assert result.phase("stall").longest_gap_ms == result.longest_gap_ms
        assert result.phase("before").longest_gap_ms < 400

    def test_phases_add_up(self, stalled: tuple[Result, FakeShop, float, float]) -> None:
        result = stalled[0]
        assert [phase.name for phase in result.phases] == ["before", "stall", "after-stall"]
        assert sum(phase.total for phase in result.phases) == result.total
        assert sum(phase.seconds for phase in result.phases) == pytest.approx(result.seconds, abs=0.01)


def test_latency_counts_from_the_schedule_when_the_generator_is_late() -> None:
    """A blocked event loop delays the sending; the schedule does not move, and nobody is left out."""

    async def run() -> Result:
        async with FakeShop() as shop:
            load = Generator(options(shop, seconds=0.7))
            running = asyncio.create_task(load.run())
            await asyncio.sleep(0.1)
            loop = asyncio.get_running_loop()
            assert isinstance(loop, jumping_clock.JumpingLoop)
            loop.block(0.4)
            return await running

    result = simulated(run())
    assert result.total == 70
    assert 380 <= result.generator["worst_lag_ms"] <= 700
    assert result.latency_ms["max"] >= 380
    assert result.latency_from_send_ms["max"] < result.latency_ms["max"]


def test_the_long_ones_are_kept_in_flight() -> None:
    """With slow=3 of 0.1 s each, one begins every 33 ms, answered or not."""

    async def run() -> tuple[Result, FakeShop]:
        async with FakeShop() as shop:
            return await Generator(options(shop, "slow=3", seconds=0.5)).run(), shop

    result, shop = simulated(run())
    assert result.total == 15
    assert {seen.path for seen in shop.seen} == {"/api/slow/?seconds=0.1"}


def test_too_many_in_flight_is_counted_never_dropped() -> None:
    async def run() -> tuple[Result, FakeShop]:
        async with FakeShop() as shop:
            shop.gate.clear()
            running = asyncio.create_task(Generator(options(shop, max_in_flight=20, seconds=0.5)).run())
            await asyncio.sleep(0.6)
            shop.gate.set()
            return await running, shop

    result, shop = simulated(run())
    assert result.total == 50, "every arrival is in the count"
    assert result.failed_by_kind == {"overflow": 30}
    assert result.overflow == 30
    assert result.ok == len(shop.seen) == 20
    assert result.generator["peak_in_flight"] == 20


def test_it_ends_by_itself() -> None:
    async def run(**bounds: Any) -> Result:
        async with FakeShop() as shop:
            return await Generator(options(shop, **bounds)).run()

    by_number = simulated(run(max_requests=10, seconds=60.0))
    assert (by_number.total, by_number.ended_by) == (10, "requests")
    by_time = simulated(run(seconds=0.3))
    assert (by_time.total, by_time.ended_by) == (30, "duration")


def test_waiting_for_the_last_answers_is_no_gap() -> None:
    """Once nobody comes any more, nobody can go without an answer."""

    async def run() -> Result:
        async with FakeShop(lambda seen: "late_close" if seen.number == 30 else "") as shop:
            return await Generator(options(shop, seconds=0.3)).run()

    result = simulated(run())
    assert result.failed_by_kind == {"closed_before_response": 1}
    assert result.failures[0]["at"] > 0.45
    assert result.longest_gap_ms < 150


def test_what_hangs_at_the_end_is_cut_and_counted() -> None:
    async def run() -> Result:
        async with FakeShop(lambda seen: "hang" if seen.number in (5, 9) else "") as shop:
            return await Generator(options(shop, seconds=0.3, drain=0.2, timeout=30.0)).run()

    result = simulated(run())
    assert (result.abandoned, result.ok, result.failed) == (2, 28, 0)
    assert not result.flawless


def test_versions_and_repeated_phases() -> None:
    async def run() -> Result:
        async with FakeShop() as shop:
            load = Generator(options(shop, seconds=0.7))
            running = asyncio.create_task(load.run())
            for version in ("v2", "v3"):
                await asyncio.sleep(0.15)
                load.mark("update-start")
                shop.version = version
                await asyncio.sleep(0.1)
                load.mark("update-end")
            return await running

    result = simulated(run())
    assert [phase.name for phase in result.phases] == [
        "before", "update", "after-update", "update#2", "after-update#2",
    ]  # fmt: skip
    assert list(result.versions) == ["v1", "v2", "v3"]
    assert result.versions["v1"]["last"] <= result.versions["v2"]["first"] + 0.02
    assert sum(seen["answers"] for seen in result.versions.values()) == result.total
    assert sum(second.get("v2", 0) for second in result.raw["timeline"]) == result.versions["v2"]["answers"]


async def until(true: Callable[[], bool]) -> None:
    """Wait for it, on however busy a machine."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


class TestProcess:
    """`LoadRun`, as beds, demo and evidence use it."""

    def test_whole_life(self, tmp_path: Path) -> None:
        async def run() -> tuple[Result, LoadRun, FakeShop]:
            async with FakeShop(lambda seen: "500" if seen.number == 20 else "") as shop:
                with LoadRun(shop.url, tmp_path / "run", rate=100, seconds=60, mix={"new": 1, "keepalive": 1}) as load:
                    assert load.running
                    await until(lambda: len(shop.seen) >= 25)
                    load.mark("update-start")
                    # What is under way is counted where it began.
                    await until(lambda: len(shop.seen) >= 60)
                    load.mark("update-end")  # and at once, before any poll of the file:
                    return await asyncio.to_thread(load.stop), load, shop

        result, load, shop = asyncio.run(run())
        assert not load.running
        assert result.ended_by == "signal"
        assert result.total == len(shop.seen)
        assert result.failed_by_kind == {"status_5xx": 1}
        assert [mark["name"] for mark in result.raw["marks"]] == ["update-start", "update-end"]
        assert result.phase("update").total >= 20
        assert {(order.id, order.reference) for order in load.acknowledged()} == set(shop.orders)
        assert result.started.endswith("Z") and result.started < result.ended
        assert json.loads(load.result_file.read_text())["total"] == result.total
        assert "status_5xx 1; 500 x 1" in summary_table(result)

    def test_acknowledged_orders_survive_a_kill(self, tmp_path: Path) -> None:
        async def run() -> tuple[LoadRun, FakeShop]:
            async with FakeShop() as shop:
                with LoadRun(shop.url, tmp_path, rate=200, seconds=60, mix="new=1") as load:
                    await until(lambda: len(shop.orders) >= 4)
                    # It reads the last of these answers, and gets no more of them.
                    shop.gate.clear()
                    await until(lambda: len(load.acknowledged()) == len(shop.orders))
                return load, shop

        load, shop = asyncio.run(run())
        assert {(order.id, order.reference) for order in load.acknowledged()} == set(shop.orders)
        with pytest.raises(LoadError, match="no result"):
            load.result()

    def test_second_signal_cuts(self, tmp_path: Path) -> None:
        async def run() -> Result:
            async with FakeShop(lambda seen: "hang") as shop:
                arguments = [sys.executable, "-m", "tests.bed.load", "--url", shop.url, "--mix", "new=1"]
                arguments += ["--result", str(tmp_path / "result"), "--acknowledged", str(tmp_path / "orders")]
                root = Path(__file__).parents[3]
                process = await asyncio.create_subprocess_exec(*arguments, cwd=root, stdout=subprocess.PIPE)
                assert process.stdout
                assert await process.stdout.readline() == b"started\n"
                await until(lambda: len(shop.seen) >= 10)
                process.send_signal(signal.SIGINT)
                await asyncio.sleep(0.2)
                assert process.returncode is None, "what is in flight may end first"
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0
            return Result.read(tmp_path / "result")

        result = asyncio.run(run())
        assert (result.ended_by, result.ok, result.failed) == ("signal", 0, 0)
        assert result.abandoned >= 10
        assert not result.flawless

    def test_refusal_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(LoadError, match=r"192\.0\.2\.1, which is not this machine"):
            LoadRun("http://192.0.2.1", tmp_path).start()

    def test_open_files(self, tmp_path: Path) -> None:
        """Nothing is left open: a bed starts many of these."""

        async def run() -> None:
            async with FakeShop() as shop:
                with LoadRun(shop.url, tmp_path, rate=50, seconds=0.2, mix="new=1") as load:
                    await asyncio.to_thread(load.result)

        before = len(os.listdir("/proc/self/fd"))
        asyncio.run(run())
        assert len(os.listdir("/proc/self/fd")) == before
