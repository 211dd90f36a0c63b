# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inspection of a container says, as ``docker inspect`` prints it."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
ONE_OFF_LABEL = "com.docker.compose.oneoff"
HASH_LABEL = "com.docker.compose.config-hash"
NUMBER_LABEL = "com.docker.compose.container-number"
FOLDER_LABEL = "com.docker.compose.project.working_dir"
FILES_LABEL = "com.docker.compose.project.config_files"


def networks_of(inspection: Mapping[str, Any]) -> dict[str, str]:
    """A container's networks, name to its address there (empty ones left out)."""
    networks = (inspection.get("NetworkSettings") or {}).get("Networks") or {}
    return {name: data.get("IPAddress") or "" for name, data in networks.items() if data.get("IPAddress")}


def addresses_of(inspection: Mapping[str, Any]) -> list[str]:
    """Every address of a container, of both families."""
    networks = ((inspection.get("NetworkSettings") or {}).get("Networks") or {}).values()
    return sorted({str(n.get(key)) for n in networks for key in ("IPAddress", "GlobalIPv6Address") if n.get(key)})


def gateways_of(inspection: Mapping[str, Any]) -> list[str]:
    """The addresses by which a container sees this host."""
    networks = ((inspection.get("NetworkSettings") or {}).get("Networks") or {}).values()
    return sorted({str(n.get(key)) for n in networks for key in ("Gateway", "IPv6Gateway") if n.get(key)})


def label_of(inspection: Mapping[str, Any], label: str) -> str:
    """A container's label, empty when it has none."""
    return str(((inspection.get("Config") or {}).get("Labels") or {}).get(label) or "")


def pid_of(inspection: Mapping[str, Any]) -> int | None:
    """The host's process id of a container's main process, None when it does not run."""
    pid = (inspection.get("State") or {}).get("Pid")
    return int(pid) if pid else None


def health_of(inspection: Mapping[str, Any]) -> str:
    """What its health check says since it was started last (starting, healthy, unhealthy), empty where it has none."""
    state = inspection.get("State") or {}
    return str((state.get("Health") or {}).get("Status") or "").replace("none", "")


def restarts_of(inspection: Mapping[str, Any]) -> int:
    """How often the engine has started it again by itself."""
    return int(inspection.get("RestartCount") or 0)


def stop_signal_of(inspection: Mapping[str, Any]) -> int:
    """The signal by which a container wants to be stopped."""
    name = str((inspection.get("Config") or {}).get("StopSignal") or "SIGTERM")
    return int(name) if name.isdecimal() else int(getattr(signal, name, signal.SIGTERM))


def started_at(inspection: Mapping[str, Any]) -> float:
    """When a container's process was started (UNIX seconds), 0 when never."""
    return moment_of((inspection.get("State") or {}).get("StartedAt"))


def moment_of(written: Any) -> float:
    """A time as the engine writes it (RFC 3339 in UTC, nanoseconds) as UNIX seconds, 0 for none."""
    text = str(written or "")
    if not text or text.startswith("0001"):
        return 0.0
    base, _dot, fraction = text.rstrip("Z").partition(".")
    moment = datetime.strptime(base, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc).timestamp()
    return moment + float(f"0.{fraction[:6] or '0'}")
