# SPDX-License-Identifier: GPL-3.0-or-later
"""What the generator refuses, what it reads in a page, how it counts, and the table it prints."""

from __future__ import annotations

import math
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bed.load import (
    Acknowledged,
    Heartbeats,
    Options,
    OptionsRefused,
    OrderRow,
    Result,
    Target,
    TargetRefused,
    audit,
    loopback_target,
    parse_mix,
    summary_table,
)
from tests.bed.load.cli import main
from tests.bed.load.clients import assets_of
from tests.bed.load.control import Control
from tests.bed.load.options import parse_durations
from tests.bed.load.record import Entry, Recorder, percentile


def resolver(*addresses: str) -> Any:
    """A resolver that knows these addresses for every name."""
    return lambda name, port: [(0, 0, 0, "", (address, port)) for address in addresses]


class TestTarget:
    """Nothing but this machine."""

    @pytest.mark.parametrize(
        ("url", "address", "port"),
        [
            ("http://127.0.0.1:8080", "127.0.0.1", 8080),
            ("http://127.9.8.7", "127.9.8.7", 80),
            ("http://[::1]:8080/", "::1", 8080),
        ],
    )
    def test_literals(self, url: str, address: str, port: int) -> None:
        assert loopback_target(url, "shop.localhost") == Target(address, port, "shop.localhost")

    def test_localhost_names_that_lead_here(self) -> None:
        found = loopback_target("http://shop.localhost:81", resolve=resolver("::1", "127.0.0.1"))
        assert found == Target("127.0.0.1", 81, "shop.localhost:81"), "IPv4 first, which Docker publishes"

    def test_tls_with_the_name_that_is_asked_for(self) -> None:
        found = loopback_target("https://127.0.0.1", "shop.example:8443")
        assert found == Target("127.0.0.1", 443, "shop.example:8443", tls=True)
        assert found.server_name == "shop.example"
        assert loopback_target("https://[::1]:8443").server_name == "::1"

    @pytest.mark.parametrize(
        "url",
        [
            "http://192.0.2.1",
            "http://10.0.0.1:8080",
            "http://0.0.0.0",
            "http://[2001:db8::1]",
            "http://[::ffff:192.0.2.1]",
            "http://2130706433",
            "http://shop.example",
            "http://localhost.shop.example",
            "http://notlocalhost",
            "https://192.0.2.1",
            "ftp://127.0.0.1",
            "127.0.0.1:8080",
            "http://user:secret@127.0.0.1",
            "http://127.0.0.1@192.0.2.1/",
            "http://127.0.0.1/path",
            "http://127.0.0.1?query",
            "http://127.0.0.1:99999",
            "http://",
        ],
    )
    def test_others_are_refused(self, url: str) -> None:
        with pytest.raises(TargetRefused):
            loopback_target(url, resolve=resolver("127.0.0.1"))

    @pytest.mark.parametrize("addresses", [["192.0.2.1"], ["127.0.0.1", "192.0.2.1"], []])
    def test_localhost_names_that_lead_elsewhere(self, addresses: list[str]) -> None:
        with pytest.raises(TargetRefused):
            loopback_target("http://localhost", resolve=resolver(*addresses))

    def test_names_that_lead_nowhere(self) -> None:
        def fail(name: str, port: int) -> Any:
            raise OSError("unknown")

        with pytest.raises(TargetRefused, match=r"http://127\.0\.0\.1:80 with --host x\.localhost"):
            loopback_target("http://x.localhost", resolve=fail)

    @pytest.mark.parametrize("host", ["a\r\nX: y", "a b", "ä"])
    def test_header_injection(self, host: str) -> None:
        with pytest.raises(TargetRefused):
            loopback_target("http://127.0.0.1", host)


class TestOptions:
    """Everything is bounded."""

    def test_mix(self) -> None:
        assert parse_mix("new=4, keepalive=0,slow12=2") == {"new": 4, "keepalive": 0, "slow12": 2}

    @pytest.mark.parametrize("text", ["", "new", "new=-1", "new=x", "old=1", "new=1,new=2", "new=0", "slow=65"])
    def test_mix_refused(self, text: str) -> None:
        with pytest.raises(OptionsRefused):
            parse_mix(text)

    def test_durations(self) -> None:
        assert parse_durations("slow=0.5") == {"slow": 0.5, "slow12": 12.0, "stream": 6.0, "upload": 4.0}
        for text in ("new=1", "slow=x", "slow"):
            with pytest.raises(OptionsRefused):
                parse_durations(text)

    @pytest.mark.parametrize(
        "bound",
        [
            {"rate": 0},
            {"rate": 1e6},
            {"rate": math.nan},
            {"seconds": 1e6},
            {"seconds": math.inf},
            {"max_requests": 0},
            {"max_in_flight": 10**6},
            {"drain": -1},
            {"durations": {"slow": 1.0}},
            {"mix": {"slow": 1, "other": 1}},
        ],
    )
    def test_bounds(self, bound: dict[str, Any]) -> None:
        with pytest.raises(OptionsRefused):
            Options(Target("127.0.0.1", 80, "x"), **bound)

    def test_command_line_refuses_with_2(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        files = ["--result", str(tmp_path / "r"), "--acknowledged", str(tmp_path / "a")]
        assert main(["--url", "http://192.0.2.1", *files]) == 2
        assert main(["--url", "http://127.0.0.1", "--mix", "old=1", *files]) == 2
        assert "unknown client old" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []


def test_assets_of_a_page() -> None:
    page = """<link href="/static/a.1.css"><script src='/static/b.js?x=1&amp;y=2'></script><img SRC = "/static/a.1.css">
    <a href="/tours/static/c.css"><img src="http://other.example/static/d.png"><img src="//other.example/static/e.png">"""
    assert assets_of(page) == ["/static/a.1.css", "/static/b.js?x=1&y=2"]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=200))
def test_percentiles_are_of_the_sample_and_in_order(values: list[float]) -> None:
    ordered = array("d", sorted(values))
    points = [percentile(ordered, share) for share in (0.5, 0.9, 0.99, 1.0)]
    assert points == sorted(points)
    assert set(points) <= set(values)
    assert points[-1] == max(values)
    assert sum(value <= points[0] for value in values) * 2 >= len(values)


@given(st.lists(st.sampled_from(["", "reset", "status_5xx", "idle", "mark"]), max_size=80))
def test_every_request_is_counted_once_in_total_phase_and_client(events: list[str]) -> None:
    recorder, at = Recorder(kept=50), 0.0
    for event in events:
        at += 0.1
        if event == "mark":
            recorder.mark("m", at)
        else:
            idle, client = event == "idle", "new" if event else "keepalive"
            recorder.record(Entry(client, "GET", "/", at, at, at, "reset" if idle else event, idle_close=idle))
    recorder.arrivals_end(at)
    raw = recorder.finish()
    requests = [event for event in events if event != "mark"]
    failed = sum(event in ("reset", "status_5xx") for event in requests)
    assert (raw["total"], raw["failed"]) == (len(requests), failed)
    assert raw["ok"] + raw["failed"] + raw["idle_close"] == raw["total"]
    for slices in (raw["phases"], raw["by_client"].values()):
        for name in ("total", "ok", "failed", "idle_close"):
            assert sum(part[name] for part in slices) == raw[name]
    assert len(raw["failures"]) == min(50, failed)
    assert raw["longest_gap_ms"] == max((part["longest_gap_ms"] for part in raw["phases"]), default=0)
    assert raw["longest_app_gap_ms"] == raw["longest_gap_ms"]
    names = [phase["name"] for phase in raw["phases"]]
    assert len(names) == len(set(names)) == events.count("mark") + 1


def test_static_files_do_not_hide_that_the_application_was_gone() -> None:
    recorder = Recorder()
    for tenth in range(100):
        at = tenth / 10
        gone = 20 <= tenth < 60
        recorder.record(Entry("new", "GET", "/", at, at, at, "status_5xx" if gone else "", status=502))
        recorder.record(Entry("new", "GET", "/static/a.css", at, at, at))
    recorder.arrivals_end(10.0)
    raw = recorder.finish()
    assert (raw["longest_app_gap_ms"], raw["longest_app_gap_at"]) == (4100, 1.9)
    assert raw["longest_gap_ms"] == 100


def test_control_file(tmp_path: Path) -> None:
    heard: list[str] = []

    class Listener:
        def mark(self, name: str) -> None:
            heard.append(name)

        def stop(self, why: str = "") -> None:
            heard.append(f"stop by {why}")

    path = tmp_path / "control"
    path.write_text("mark of-an-earlier-run\n")
    control = Control(path, Listener())
    control.read()
    with path.open("a") as file:
        file.write("mark one\nmark ../../x\nnonsense\n\nmark tw")
        file.flush()
        control.read()
        assert heard == ["one"]
        file.write("o\nstop\n")
    control.read()
    assert heard == ["one", "two", "stop by control"]
    Control(tmp_path / "never", Listener()).read()


def raw_result(recorder: Recorder, seconds: float) -> dict[str, Any]:
    """What the generator would write."""
    recorder.arrivals_end(seconds)
    return {
        "format": 1, "target": "http://127.0.0.1:8080", "host": "shop.localhost", "mix": {},
        "started": "2026-01-01T00:00:00.000Z", "ended": "2026-01-01T00:00:10.000Z", "seconds": seconds,
        "ended_by": "duration", "overflow": 0, "abandoned": 0, "acknowledged": 2, "unknown_orders": {"u": "reset"},
        "rate": {"offered": 120, "arrivals": 120, "requests": 130.4, "ok": 130},
        "generator": {"worst_lag_ms": 400.0},
    } | recorder.finish()  # fmt: skip


def test_summary_table() -> None:
    recorder = Recorder()
    for tenth in range(100):
        if tenth == 30:
            recorder.mark("update-start", 3.0)
        version = "v1" if tenth < 50 else "v2"
        recorder.record(Entry("new", "GET", "/", tenth / 10, tenth / 10, tenth / 10 + 0.02, version=version))
    recorder.record(Entry("new", "GET", "/", 9.95, 9.95, 9.97, "status_5xx", "status 502", 502))
    result = Result.from_json(raw_result(recorder, 10.0))
    verdict = audit([Acknowledged("a", 1), Acknowledged("b", 2)], ["u"], [OrderRow(1, "a")], [])
    text = summary_table(result, verdict, Heartbeats(4, ("3",), 12.5, 0.0), [("seconds", "21.4 (lower bound 18.0)")])
    for line in (
        "  requests         101  (130/s; arrivals 120/s)",
        "  failed           1  (status_5xx 1; 502 x 1)",
        "  idle closes      0",
        "  version v1       0.0 s to 4.9 s  (50 answers)",
        "  version v2       5.0 s to 9.9 s  (50 answers)",
        "  orders           acknowledged 2, found 1, lost 1, double 0",
        "  tasks            run 0, lost 1, double 0",
        "  outcome unknown  1 orders, 0 of them stored",
        "  heartbeats       4, double 1, longest silence 12.5 s",
        "  seconds          21.4 (lower bound 18.0)",
        "  phase   seconds  requests  failed    p50    p99  longest     gap",
        "  before      3.0        30       0  20 ms  20 ms    20 ms  100 ms",
        "  update      7.0        71       1  20 ms  20 ms    20 ms  100 ms",
        "      9.97 s  status_5xx  GET / (new): status 502",
    ):
        assert line in text.splitlines()
    assert "  longest gap      100 ms without an answer of the application, at " in text
    assert "late by up to 400 ms" in text
    assert text.isascii()


def test_result_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format 2"):
        Result.from_json({"format": 2})
    with pytest.raises(KeyError, match="there are before"):
        Result.from_json(raw_result(Recorder(), 1.0)).phase("update")
