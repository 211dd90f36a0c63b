# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a service can run twice for a while, as replacing one beside the other needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..engine.kinds import Evidence, judge
from ..engine.services import STOP_FIRST, Settings
from .published_ports import published


def objections(name: str, service: Mapping[str, Any], settings: Settings, image: Mapping[str, Any]) -> list[str]:
    """Why a service of this definition cannot run twice for a while; each with what to write instead."""
    return [] if settings.order == STOP_FIRST else only_once(name, service, image)


def only_once(name: str, service: Mapping[str, Any], image: Mapping[str, Any]) -> list[str]:
    """What of a definition only one container can have, be it started first or not."""
    found: list[str] = []
    if service.get("container_name"):
        found.append(
            f"{name}: container_name: {service['container_name']} lets only one exist, so nothing can be started "
            f"beside it; remove the line (docker compose exec {name} finds it all the same)"
        )
    if str(service.get("network_mode") or "") == "host":
        found.append(f"{name}: network_mode: host lets only one listen on its port; use a network")
    networks = (service.get("networks") or {}).items()
    fixed = [(n, key) for n, net in networks for key in ("ipv4_address", "ipv6_address") if (net or {}).get(key)]
    if fixed:
        found.append(
            f"{name}: has a fixed address in network {fixed[0][0]}, which only one can hold; remove {fixed[0][1]}"
        )
    tmpfs = service.get("tmpfs") or []
    named = {str(v.get("target")) for v in service.get("volumes") or []}
    named |= {str(t).partition(":")[0] for t in ([tmpfs] if isinstance(tmpfs, str) else tmpfs)}
    anonymous = sorted(set(image.get("Volumes") or {}) - named) + sorted(
        str(v.get("target")) for v in service.get("volumes") or [] if v.get("type") == "volume" and not v.get("source")
    )
    if anonymous:
        found.append(
            f"{name}: has an anonymous volume at {anonymous[0]}, and a new container would start with an empty one; "
            f"give it a name under volumes:"
        )
    return found


def alone(
    service: Mapping[str, Any], settings: Settings, evidence: Evidence, chosen: bool, serves: bool
) -> tuple[Settings, str]:
    """How a service that is no web, worker or scheduler is replaced, and why that cannot be done just so.

    Nobody knows what two of it do to each other, so it is stopped first unless somebody wrote beside it how it wants to be
    replaced; and of what does not run yet there is nothing to stop.

    :param evidence: what is known of it.
    :param chosen: whether somebody wrote its ``order``.
    :param serves: whether a container of it runs.
    :returns: the settings to go by, and the objection, empty where there is none.
    """
    if not serves or chosen:
        return settings, ""
    reasons = [*objections(settings.name, service, settings, evidence.image), *_exclusive(service)]
    if evidence.listens and judge(service, evidence).is_waited_for:
        reasons.append(f"listens on port {min(evidence.listens)}, and nothing says what it is")
    stopped = replace(settings, order=STOP_FIRST)
    if not reasons:
        return stopped, ""
    why = reasons[0].split("; ")[0].removeprefix(f"{settings.name}: ")
    return stopped, (
        f"{settings.name}: {why}, so the old one is taken away before the new one is there: a gap of its stop and start for "
        f"whoever asks it. Write x-evenkeel: {{order: stop-first}} beside it if nobody minds (start-first if two of it can "
        f"run at once, kind: web or worker if it is one), or allow it with allow_downtime: true (update_allow_downtime in a playbook)"
    )


def _exclusive(service: Mapping[str, Any]) -> list[str]:
    ports = published(service)
    written = [
        v for v in service.get("volumes") or [] if v.get("type") in ("bind", "volume") and not v.get("read_only")
    ]
    return [f"publishes port {p}, which only one container can hold" for p in ports] + [
        f"writes to {v.get('target')}, which two of it might spoil" for v in written if v.get("source")
    ]
