# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that publish a port, which only one container can hold: a surge container without it serves while it changes hands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LOCAL = ("127.", "::1", "[::1]", "localhost")


def published(service: Mapping[str, Any]) -> list[str]:
    """The fixed ports of this host that a resolved service publishes, as ``address:port`` (a random one is everybody's)."""
    ports = [p for p in service.get("ports") or [] if str(p.get("published") or "0") != "0"]
    return [f"{p['host_ip']}:{p['published']}" if p.get("host_ip") else str(p["published"]) for p in ports]


def objection(name: str, ports: list[str], replicas: int, steered: bool, allow_downtime: bool) -> str:
    """Why a service with these ports cannot change hands, empty where it can; with what to write instead.

    :param steered: whether nginx leads its users to it, and not to the port.
    """
    if not ports:
        return ""
    if not steered or replicas > 1:
        return f"{name}: publishes port {ports[0]}, which only one container can hold; remove ports: (nginx reaches it by name)"
    public = [p for p in ports if not p.startswith(_LOCAL)]
    if public and not allow_downtime:
        return (
            f"{name}: publishes port {public[0]} to the outside, where it answers nobody while it changes hands (the time of "
            f"a start); users who come through nginx would not notice. Publish it on 127.0.0.1, remove ports:, or allow "
            f"this with allow_downtime: true (update_allow_downtime in a playbook)"
        )
    return ""


def note(name: str, ports: list[str]) -> str:
    """What a user has to know of the change."""
    return (
        f"{name}: publishes {', '.join(ports)}, which only one container can hold: a surge container without it serves through nginx "
        f"while it changes hands, and the port itself answers nobody for the time of a start"
    )


def with_other_ports(project: Mapping[str, Any], ports: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The resolved project in which these services publish something else.

    :param ports: service → what it publishes instead, nothing at all included.
    """
    services = {name: {k: v for k, v in project["services"][name].items() if k != "ports"} for name in ports}
    for name, own in ports.items():
        if own:
            services[name]["ports"] = list(own)
    return {**project, "services": {**project["services"], **services}}
