# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that users reach by a port of this host: how the port is handed over, or why it cannot be."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...engine.host.engine import Engine
from ...engine.host.inspection import ONE_OFF_LABEL, PROJECT_LABEL
from ...engine.programs import PROXY
from ...engine.services import Settings
from ...nginx.config import Route, named
from ...traffic.host import firewall
from ...traffic.host.port_handover import BesideNginx, HandedPorts, is_reached_by_six
from ...traffic.host.strategies import Strategy, patience_of
from ...traffic.port_rules import Door, doors_of, reason_against, stands_in
from ..scalability import only_once


def obstacle(name: str, service: Mapping[str, Any], image: Mapping[str, Any]) -> str:
    """Why the ports of a service cannot be handed to another container of it without a gap, empty where they can.

    :param image: the configuration of its image.
    """
    doors = doors_of(service)
    if not doors:
        return "it publishes no fixed port"
    missing = firewall.unavailable()
    asked = not missing and any(d.is_six_outside for d in doors) and is_reached_by_six()
    closed = firewall.six_closed() if asked else ""
    reasons = [missing, reason_against(service, closed), *only_once(name, service, image)]
    return next((r.removeprefix(f"{name}: ") for r in reasons if r), "")


def is_cut_off(engine: Engine, project: Mapping[str, Any], kinds: Mapping[str, str]) -> bool:
    """Whether a run was killed while it handed over the port of a proxy: its surge container is there still."""
    proxies = [name for name, kind in kinds.items() if kind == PROXY and doors_of(project["services"][name])]
    labels = {PROJECT_LABEL: str(project["name"]), ONE_OFF_LABEL: "False"}
    return bool(proxies) and any(map(stands_in, engine.containers(labels, set(proxies))))


def main_door(service: Mapping[str, Any], health_url: str) -> Door:
    """The port where the health URL knocks, else the one that most users do."""
    doors = doors_of(service)
    url = urllib.parse.urlsplit(health_url)
    asked = url.port or (443 if url.scheme == "https" else 80)
    return next((d for wanted in (asked, 443, 80) for d in doors if d.port == wanted), doors[0])


def route_by(name: str, door: Door, own: Sequence[Route], health_url: str) -> Route:
    """How users ask at a port, with the name that nginx knows them by where the service is one.

    :param own: every route of that nginx.
    """
    url = urllib.parse.urlsplit(health_url)
    here = named([r for r in own if r.listen == door.inner], health_url)
    seen = next((r for r in here if r.server_name == url.hostname), here[0] if here else None)
    tls = seen.tls if seen else url.scheme == "https" or door.port == 443
    host = (seen.server_name if seen else url.hostname) or ""
    return Route(
        name, door.inner, host, door.inner, tls, headers=(("Host", "$host"),),
        proxy_protocol=bool(seen and seen.proxy_protocol),
    )  # fmt: skip


def with_ports(
    led: Strategy | None, engine: Engine, project: str, service: Mapping[str, Any], settings: Settings
) -> Strategy:
    """How a service is steered whose ports are handed over, nginx beside them where it leads to it too.

    What a killed run leaves ends some time after all would have drained.
    """
    patience = patience_of(settings)
    ports = HandedPorts(engine, f"{project}/{settings.name}", doors_of(service), patience)
    numbers = ", ".join(str(door.port) for door in doors_of(service))
    why = f"new connections to port {numbers} of this host are led to a surge container while it changes hands"
    alone = f"it publishes port {numbers} of this host, which one alone can hold"
    if led is None:
        return Strategy(ports, why, alone=alone)
    return replace(led, alone=alone, steering=BesideNginx(led.steering, ports), why=f"{led.why}; {why}")
