# SPDX-License-Identifier: GPL-3.0-or-later
"""Published ports: which can be handed over, and the rules that lead to another container meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.config import Route
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.doors import main_door, route_by
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.port_rules import (
    Door,
    StandIn,
    Way,
    beside,
    doors_of,
    lasting,
    reason_against,
    rules,
)

BEGINS = "tcp flags & (syn | ack) == syn"
HTTP = {"mode": "ingress", "target": 80, "published": "80", "protocol": "tcp"}
TLS = {"mode": "ingress", "target": 443, "published": "443", "protocol": "tcp"}
LOCAL = {"target": 8000, "published": "8000", "host_ip": "127.0.0.1"}


@pytest.mark.parametrize(
    ("ports", "closed", "words"),
    [
        ([HTTP, TLS, LOCAL, {**LOCAL, "host_ip": "2001:db8::1"}], False, ""),
        ([LOCAL, {**LOCAL, "host_ip": "::1"}], True, ""),
        ([{**HTTP, "host_ip": "0.0.0.0"}], True, ""),
        ([HTTP], True, "chain INPUT drops"),
        ([{**HTTP, "host_ip": "::"}], True, "0.0.0.0"),
        ([{**HTTP, "host_ip": "2001:db8::1"}], True, "IPv6"),
        ([HTTP, {**TLS, "protocol": "udp"}], False, "443/udp is no TCP port"),
        ([{**HTTP, "published": "8000-8010"}], False, "is a range"),
        ([{"target": 80}, {"target": 81, "published": "0"}], False, ""),
    ],
)
def test_what_cannot_be_handed_over_is_named(ports: list[dict[str, Any]], closed: bool, words: str) -> None:
    said = reason_against({"ports": ports}, "chain INPUT" if closed else "")
    assert words in said if words else said == ""


def test_doors_are_the_fixed_tcp_ports() -> None:
    ports = [
        HTTP,
        {**TLS, "protocol": "udp"},
        LOCAL,
        {"target": 9},
        {**TLS, "host_ip": "::"},
        {**HTTP, "published": "8000-8010"},
    ]
    assert doors_of({"ports": ports}) == (Door("", 80, 80), Door("127.0.0.1", 8000, 8000), Door("::", 443, 443))
    assert doors_of({}) == ()


@pytest.mark.parametrize(
    ("ports", "six", "expected"),
    [
        ([HTTP, {**HTTP, "published": "8080"}, TLS], False, [(80, "127.0.0.1"), (443, "127.0.0.1")]),
        ([HTTP, LOCAL], True, [(80, "127.0.0.1"), (80, "::"), (8000, "127.0.0.1")]),
        ([{**HTTP, "host_ip": "0.0.0.0"}], True, [(80, "127.0.0.1")]),
        ([{**HTTP, "host_ip": "[::1]"}], False, [(80, "127.0.0.1"), (80, "::1")]),
        ([HTTP, {**HTTP, "host_ip": "::1", "published": "81"}], True, [(80, "127.0.0.1"), (80, "::")]),
        ([{**HTTP, "host_ip": "2001:db8::1"}], False, [(80, "127.0.0.1"), (80, "::")]),
    ],
)
def test_where_a_surge_container_has_its_ports(
    ports: list[dict[str, Any]], six: bool, expected: list[tuple[int, str]]
) -> None:
    made = beside({"ports": ports}, six)
    assert [(p["target"], p["host_ip"]) for p in made] == expected
    assert not any("published" in p for p in made)


def lines(
    doors: list[Door], local: dict[int, int], bridged: tuple[str, ...] = ("172.17.0.0/16", "172.20.0.0/16")
) -> list[str]:
    to = StandIn(Way("172.20.0.7", local, {"172.20.0.0/16": "172.20.0.7"}))
    return rules("t", doors, to, bridged, 59.2).splitlines()


def test_everybody_is_led_and_neighbours_back() -> None:
    found = lines([Door("", 8080, 80)], {80: 41000})
    assert "add element inet t led { 8080 timeout 60s }" in found
    match = f"tcp dport 8080 tcp dport @led {BEGINS}"
    coming = [f.split("coming ")[1] for f in found if f.startswith("add rule inet t coming")]
    assert coming == [
        f"ip saddr 172.20.0.0/16 fib daddr type local {match} dnat ip to 172.20.0.7:80",
        f"ip saddr {{ 172.17.0.0/16 }} fib daddr type local {match} return",
        f"meta nfproto ipv4 fib daddr type local {match} dnat ip to 172.20.0.7:80",
    ]
    going = [f.split("going ")[1] for f in found if f.startswith("add rule inet t going")]
    assert going == [
        f"ip daddr 127.0.0.0/8 {match} redirect to :41000",
        f"meta nfproto ipv4 fib daddr type local {match} dnat ip to 172.20.0.7:80",
    ]
    assert any("back" in f and "masquerade" in f for f in found)


SIX = Way("fd00:2::7", {80: 41001}, {"fd00:2::/64": "fd00:2::7"})


def by_six(door: Door, six: Way) -> list[str]:
    """Rules of the chains ``coming`` and ``going`` that are about IPv6."""
    four = Way("172.20.0.7", {80: 41000}, {"172.20.0.0/16": "172.20.0.7"})
    found = rules("t", [door], StandIn(four, six), ["172.17.0.0/16", "fd00:1::/64"], 60).splitlines()
    told = [f.removeprefix("add rule inet t ") for f in found]
    return [
        f.replace(f"tcp dport 8080 tcp dport @led {BEGINS}", "…")
        for f in told
        if "ip6" in f or "ipv6" in f or "::" in f
    ]


def test_by_six_the_engines_process_passes_it_on_where_the_container_has_no_such_address() -> None:
    assert by_six(Door("", 8080, 80), Way("", {80: 41001})) == [
        "coming ip6 saddr { fd00:1::/64 } fib daddr type local … return",
        "coming meta nfproto ipv6 fib daddr type local … redirect to :41001",
        "going ip6 daddr ::1 … redirect to :41001",
        "going meta nfproto ipv6 fib daddr type local … redirect to :41001",
    ]


def test_by_six_it_is_led_straight_to_a_container_that_has_one() -> None:
    assert by_six(Door("::", 8080, 80), SIX) == [
        "coming ip6 saddr fd00:2::/64 fib daddr type local … dnat ip6 to [fd00:2::7]:80",
        "coming ip6 saddr { fd00:1::/64 } fib daddr type local … return",
        "coming meta nfproto ipv6 fib daddr type local … dnat ip6 to [fd00:2::7]:80",
        "going ip6 daddr ::1 … redirect to :41001",
        "going meta nfproto ipv6 fib daddr type local … dnat ip6 to [fd00:2::7]:80",
        "back ip6 saddr fd00:2::/64 ip6 daddr fd00:2::7 tcp dport 80 ct status dnat masquerade",
    ]


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "10.0.0.1"])
def test_a_port_of_one_family_leads_nobody_of_the_other(host: str) -> None:
    assert by_six(Door(host, 8080, 80), SIX) == []
    assert Door(host, 8080, 80).is_four


def test_where_the_engine_serves_nobody_by_six_nobody_is_led() -> None:
    assert by_six(Door("", 8080, 80), Way()) == []
    assert by_six(Door("::1", 8080, 80), SIX) == ["going ip6 daddr ::1 … redirect to :41001"]


def test_one_address_of_six_is_the_only_one_led() -> None:
    found = by_six(Door("2001:db8::1", 8080, 80), SIX)
    assert found and all("ip6 daddr 2001:db8::1" in f for f in found if not f.startswith("back"))


def test_a_port_of_this_host_alone_leads_nobody_from_outside() -> None:
    found = lines([Door("127.0.0.1", 8080, 80)], {80: 41000})
    assert not [f for f in found if f.startswith("add rule inet t coming")]
    assert [
        f for f in found if f"going ip daddr 127.0.0.1 tcp dport 8080 tcp dport @led {BEGINS} redirect to :41000" in f
    ]


def test_where_nothing_listens_on_loopback_it_is_led_to_the_container() -> None:
    assert [f for f in lines([Door("", 80, 80)], {}) if "127.0.0.0/8" in f and f.endswith("dnat ip to 172.20.0.7:80")]


def test_one_address_of_many_is_the_only_one_led() -> None:
    found = [f for f in lines([Door("10.0.0.1", 80, 80)], {}, ()) if f.startswith("add rule")]
    assert found and all("ip daddr 10.0.0.1" in f for f in found if " back " not in f)
    assert not any("fib" in f or "return" in f for f in found)


@pytest.mark.parametrize(
    ("url", "door"),
    [
        ("https://shop.example/health/", 443),
        ("http://127.0.0.1/health/", 80),
        ("http://127.0.0.1:8080/health/", 8080),
        ("", 80),
        ("http://127.0.0.1:9/", 443),
    ],
)
def test_the_door_of_the_health_url_is_the_main_one(url: str, door: int) -> None:
    ports = [HTTP, TLS, {**HTTP, "published": "8080"}]
    assert main_door({"ports": ports}, url).port == door
    assert main_door({"ports": [LOCAL]}, url).port == 8000


def test_nginx_is_asked_by_a_name_that_it_knows() -> None:
    own = [
        Route("api", 8000, "a.example", 443, True), Route("api", 8000, "b.example", 443, True, proxy_protocol=True),
        Route("api", 8000, "", 80),
    ]  # fmt: skip
    door = Door("", 443, 443)
    first, second = route_by("front", door, own, ""), route_by("front", door, own, "https://b.example/health/")
    assert (first.server_name, first.tls, first.proxy_protocol) == ("a.example", True, False)
    assert (second.server_name, second.tls, second.proxy_protocol) == ("b.example", True, True)
    assert route_by("front", Door("", 80, 80), own, "http://c.example/").server_name == "c.example"
    alone = route_by("api", Door("", 8000, 8000), (), "http://d.example:8000/")
    assert (alone.server_name, alone.tls, alone.port) == ("d.example", False, 8000)


def published(*ports: str) -> dict[str, Any]:
    return {"HostConfig": {"PortBindings": {f"{n}/tcp": [{"HostIp": "", "HostPort": p}] for n, p in enumerate(ports)}}}


@pytest.mark.parametrize(
    ("ports", "found", "staying"),
    [
        ([HTTP], [published("80")], [0]),
        # A surge container that a killed run left beside the one that has the port, or alone.
        ([HTTP], [published(""), published("80")], [1]),
        ([HTTP], [published("80", ""), published("", "0")], [0]),
        ([HTTP], [published("")], [0]),
        # Several that publish nothing, or at free ports by their definition, are replicas.
        ([HTTP], [{"HostConfig": {"PortBindings": None}}, published("80")], [0, 1]),
        ([], [published(""), published("")], [0, 1]),
        ([{**HTTP, "published": "0"}], [published(""), published("")], [0, 1]),
    ],
)
def test_a_surge_container_that_was_left_stays_only_where_there_is_no_other(
    ports: list[dict[str, Any]], found: list[dict[str, Any]], staying: list[int]
) -> None:
    assert lasting({"ports": ports}, found) == [found[n] for n in staying]
