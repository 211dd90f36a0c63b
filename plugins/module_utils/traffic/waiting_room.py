# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting rooms: for a gap, new connections to a web container are led to a server beside it, in which they wait.

The room is in the container's own network namespace, so that whoever leads there (any proxy, the engine's published port, another
container) goes on to connect where it always has. The server is :mod:`.inside.waiting_room`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: On a room: the project, and the id of the web container that it is beside.
LABEL, BESIDE = "evenkeel.waiting", "evenkeel.waiting.beside"
#: The port that rooms listen at. Nobody else may have it in the network namespace of a web container.
PORT = 41987
#: Requests that wait in one room where nobody knows what the proxy can hold; the next ones get the page at once. And the most.
USUAL, MOST = 300, 4000
#: What ``worker_connections`` of nginx is where nobody says it (ngx_event_core_module).
CONNECTIONS = 512
# Each request that waits has two of nginx's connections, and some are left for everything else.
_SHARE = 0.4
_MEMORY = 256 * 1024 * 1024
# Each request that is passed on has two of the room's.
_FILES = 16384
_PIDS = 32
_PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>Maintenance</title>"
    "<body style='font-family:sans-serif;max-width:32em;margin:20vh auto;padding:0 1em'><h1>We will be back in a moment</h1>"
    "<p>This site is being updated. Please try again shortly.</p>"
)


def room_of(inspection: Mapping[str, Any], project: str, command: Sequence[str]) -> dict[str, Any]:
    """The configuration of a room beside a web container, as the engine's own JSON.

    It has the container's image and user, and neither its environment nor its mounts: nothing secret is in it.

    :param inspection: of the web container.
    :param command: what runs the server, its first word the entrypoint.
    """
    config = inspection.get("Config") or {}
    return {
        "Image": inspection["Image"],
        "Entrypoint": list(command[:1]),
        "Cmd": list(command[1:]),
        "User": str(config.get("User") or ""),
        "WorkingDir": "/",
        "Labels": {
            # What is somebody's own, such as a test's, stays with it; Compose's would make it a container of the service.
            **{k: v for k, v in (config.get("Labels") or {}).items() if k.startswith("evenkeel.")},
            LABEL: project,
            BESIDE: str(inspection["Id"]),
        },
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "NetworkMode": f"container:{inspection['Id']}",
            "Memory": _MEMORY,
            "PidsLimit": _PIDS,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Ulimits": [{"Name": "nofile", "Soft": _FILES, "Hard": _FILES}],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
        },
    }


def most_of(proxies: Sequence[tuple[int, int]], rooms: int) -> int:
    """How many requests may wait in each of several rooms.

    :param proxies: of each nginx in front its workers, and the connections that each of them may have.
    """
    least = min(
        (int(workers * connections * _SHARE) for workers, connections in proxies), default=USUAL * max(1, rooms)
    )
    return max(1, min(MOST, least // max(1, rooms)))


def waiting(now: float, hold: float, expected: float = 0.0, page: str = "", most: int = USUAL) -> dict[str, Any]:
    """What a room is told first: requests wait, and after ``hold`` seconds they get the page.

    :param now: UNIX time.
    :param expected: seconds that the gap is going to take, 0 where nobody knows. Where that is longer than ``hold`` the page comes
        at once, since waiting would lead to it anyway.
    :param page: HTML; ours where it is empty.
    """
    until = now if expected > hold else now + hold
    return {"until": until, "ends": now + expected, "hold": hold, "most": most, "page": page or _PAGE, "to": []}


def led(told: Mapping[str, Any], addresses: Sequence[str]) -> dict[str, Any]:
    """The same room when requests are passed on to these addresses."""
    return {**told, "to": sorted(addresses)}


def again(told: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The same room when requests wait once more, as long as they did at first."""
    return {**told, "until": now + float(told.get("hold") or 0.0), "to": []}


def failing(unheld: Mapping[str, str]) -> list[str]:
    """What becomes of requests that cannot wait.

    :param unheld: service → why.
    """
    return [f"requests to {name} fail meanwhile: {why}" for name, why in sorted(unheld.items())]


def sentence(counts: Mapping[str, Any]) -> str:
    """What became of the requests of a gap, empty where there were none.

    :param counts: of all its rooms, summed up; ``longest`` in seconds.
    """
    words = []
    if counts.get("waited"):
        words.append(f"{counts['waited']:,} requests waited, {counts['longest']:.1f} s at most")
    if counts.get("page"):
        words.append(f"{counts['page']:,} got the maintenance page (503)")
    if counts.get("failed"):
        words.append(f"{counts['failed']:,} connections could not be answered")
    return "; ".join(words)


def summed(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The counts of several rooms as one."""
    total: dict[str, Any] = {"waited": 0, "page": 0, "failed": 0, "longest": 0.0}
    for counts in each:
        total = {k: max(v, counts.get(k, 0)) if k == "longest" else v + int(counts.get(k, 0)) for k, v in total.items()}
    return total
