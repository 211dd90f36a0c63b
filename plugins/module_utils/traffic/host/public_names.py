# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""By which names and ports users ask an app, as the configuration of the nginx in front of it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...base.errors import BadInput
from ...engine.host.engine import Engine, EngineFailed
from ...engine.host.inspection import ONE_OFF_LABEL, PROJECT_LABEL, pid_of
from ...nginx.config import routes
from ...nginx.host.nginx import HostNginx, Nginx, NginxFailed
from ...nginx.syntax import UnreadableConfig, load
from ..site_url import SiteUrl, named_in_nginx


def public_addresses(project: str, target: str) -> list[SiteUrl]:
    """The addresses that lead to an app at a path; none where that cannot be told.

    :param project: the app's Compose project; empty for an app without one, of which no nginx tells what leads to it.
    """
    if not project:
        return []
    try:
        running = [i for i in Engine().containers({PROJECT_LABEL: project, ONE_OFF_LABEL: "False"}) if pid_of(i)]
        found = [url for i in running for url in _of_container(i, target)]
    except (EngineFailed, BadInput):
        return []
    return list({url.host: url for url in [*_of_host(running, target), *found]}.values())


def _of_container(inspection: Mapping[str, Any], target: str) -> list[SiteUrl]:
    nginx = Nginx(Engine(), inspection)
    if not nginx.workers():
        return []
    own = (inspection.get("HostConfig") or {}).get("NetworkMode") == "host"
    try:
        return named_in_nginx(routes(load(nginx.dump())), None if own else _published(inspection), target)
    except (NginxFailed, UnreadableConfig):
        return []


def _of_host(running: list[dict[str, Any]], target: str) -> list[SiteUrl]:
    """Of this host's own nginx only what leads to a port of the project: it may have sites of others too."""
    backends = {port for i in running for port in _published(i).values()}
    if not backends:
        return []
    try:
        return named_in_nginx(routes(load(HostNginx().dump())), None, target, backends)
    except (NginxFailed, UnreadableConfig):
        return []


def _published(inspection: Mapping[str, Any]) -> dict[int, int]:
    """Port of a container → port of this host."""
    ports = (inspection.get("NetworkSettings") or {}).get("Ports") or {}
    return {
        int(inside.partition("/")[0]): int(outside[0]["HostPort"])
        for inside, outside in ports.items()
        if inside.endswith("/tcp") and outside
    }
