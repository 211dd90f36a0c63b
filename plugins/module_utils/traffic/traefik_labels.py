# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll must know of a Traefik that finds containers by their labels, and of the health checks that it goes by.

Traefik's docker provider sends to each container that runs and has the labels, and to none whose health check has not
succeeded, or fails (measured with 3.7; https://doc.traefik.io/traefik/providers/docker/). Nothing else decides, so the health
check is what a container is let in and taken out by.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..base.values import seconds
from ..nginx.config import Route

#: How a route of Traefik's docker provider is called in ``Route.how``.
BY_LABELS = "labels of Traefik"
#: The same of its file provider.
BY_FILES = "a file of Traefik"
#: Seconds after an event at the latest at which Traefik sends by it (``providersThrottleDuration``), and as many again.
THROTTLE = 4.0
#: Seconds that a health check itself may take of an app that is well.
_CHECK = 5.0
_HERE = r"(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\]|\$\(?\{?(?:HOSTNAME|hostname)\}?\)?)"
_URL = re.compile(rf"http://{_HERE}(?::(\d+))?(/[^\s'\"\\)|;,&]*)?")
_SERVER = re.compile(r"\burl['\"]?\s*[:=]\s*['\"]?(https?)://([\w.-]+)(?::(\d+))?")
_HOST = re.compile(r"Host\(([^)]*)\)")
_QUOTED = re.compile(r"[`'\"]([^`'\"]+)[`'\"]")


@dataclass(frozen=True)
class HealthCheck:
    """The health check of a container, as far as it asks the app over the network, where it can be kept from it.

    :ivar port: of the container that it asks; ``path``: what it asks for.
    :ivar up: seconds within which a container that is well is called so; ``down``: within which one that does not answer is
        called unhealthy.
    """

    port: int
    path: str
    up: float
    down: float


def health_check_of(own: Mapping[str, Any], inherited: Mapping[str, Any], command: Sequence[str]) -> HealthCheck | None:
    """What a service's health check asks, None where it has none, or asks in another way than by ``http://localhost``.

    :param own: ``healthcheck`` of the Compose file; ``inherited``: ``Healthcheck`` of the image, in nanoseconds.
    :param command: its argv, see ``Settings.ready_command``.
    """
    found = _URL.search(" ".join(command))
    if not found:
        return None

    def told(key: str, name: str, default: float) -> float:
        return seconds(own.get(key)) or float(inherited.get(name) or 0) / 1e9 or default

    interval, timeout = told("interval", "Interval", 30.0), told("timeout", "Timeout", 30.0)
    retries = int(own.get("retries") or inherited.get("Retries") or 3)
    up = interval + min(timeout, _CHECK) + THROTTLE
    # A connection that is refused fails at once, though starting the program takes its time.
    return HealthCheck(
        int(found.group(1) or 80), found.group(2) or "/", up, (retries + 1) * (interval + min(timeout, _CHECK))
    )


@dataclass(frozen=True)
class Provider:
    """How a Traefik finds containers.

    :ivar docker: by their labels; ``exposed``: those too that do not say so (``exposedByDefault``).
    :ivar files: by what is written in this file, or in those of this folder.
    :ivar keeps: whether it keeps connections open to use them again (``maxIdleConnsPerHost``).
    """

    docker: bool
    exposed: bool = True
    files: tuple[str, ...] = ()
    keeps: bool = True


def provider_of(words: Sequence[str], environment: Mapping[str, str], text: str) -> Provider:
    """How a Traefik was told to find containers: by one of flags, environment or a file, of which the other two do nothing.

    :param words: of its command line; ``text``: of its configuration file, in YAML or TOML.
    """
    pairs = [w.lstrip("-").partition("=")[::2] for w in words[1:]]
    pairs += [(k[8:].replace("_", "."), v) for k, v in environment.items() if k.upper().startswith("TRAEFIK_")]
    said = {key.lower(): value for key, value in pairs}
    own = {key: value.lower() or "true" for key, value in said.items() if key.startswith("providers.docker")}
    files = [value for key in ("filename", "directory") if (value := said.get(f"providers.file.{key}"))]
    files = files or re.findall(r"\b(?:filename|directory)['\"]?\s*[:=]\s*['\"]?([^\s'\",}]+)", text)
    idle = re.findall(r"(?i)maxIdleConnsPerHost['\"]?\s*[:=]\s*(-?\d+)", text)[:1]
    keeps = not (said.get("serverstransport.maxidleconnsperhost") or "".join(idle)).startswith("-")
    if own:
        exposed = own.get("providers.docker.exposedbydefault") != "false"
        return Provider(own.get("providers.docker", "true") == "true", exposed, tuple(files), keeps)
    written = re.search(r"(?m)^\s*(docker:|\[providers\.docker\])", text)
    hidden = re.search(r"(?i)exposedByDefault['\"]?\s*[:=]\s*false", text)
    return Provider(bool(written), not hidden, tuple(files), keeps)


def is_enabled(labels: Mapping[str, str], exposed: bool) -> bool:
    """Whether Traefik sends to a container with these labels.

    :param exposed: its ``exposedByDefault``.
    """
    return str(labels.get("traefik.enable", exposed)).lower() == "true"


def label_routes(name: str, labels: Mapping[str, str], listening: Collection[int]) -> tuple[Route, ...]:
    """The ways by which a Traefik leads to a service; port 0 where only the image says on which it listens.

    :param listening: ports on which Traefik listens.
    """
    known = {key.lower(): str(value) for key, value in labels.items()}
    ports = {
        int(value)
        for key, value in known.items()
        if re.fullmatch(r"traefik\.http\.services\.[^.]+\.loadbalancer\.server\.port", key) and value.isdecimal()
    }
    routers = {key.split(".")[3] for key in known if key.startswith("traefik.http.routers.")}
    found = []
    for router in sorted(routers) or [""]:
        rule = known.get(f"traefik.http.routers.{router}.rule", "")
        hosts = hosts_in(rule)
        tls = any(
            key.startswith(f"traefik.http.routers.{router}.tls") and value != "false" for key, value in known.items()
        )
        tls = tls and 443 in listening
        listen = _port(tls, listening)
        for port in sorted(ports) or [0]:
            found.append(
                Route(
                    name,
                    port,
                    server_name=hosts[0] if hosts else "",
                    listen=listen,
                    tls=tls,
                    headers=_HEADERS,
                    static_name=False,
                    how=BY_LABELS,
                )
            )
    return tuple(found)


def _port(tls: bool, listening: Collection[int]) -> int:
    """The port of Traefik's at which users ask."""
    return 443 if tls else 80 if 80 in listening else min(listening, default=80)


def hosts_in(rules: str) -> list[str]:
    """The names of sites that rules of routers ask for, in their order."""
    return [host for inside in _HOST.findall(rules) for host in _QUOTED.findall(inside)]


def file_routes(text: str, listening: Collection[int], keeps: bool) -> tuple[Route, ...]:
    """The ways that a file of Traefik's writes down: to whatever URL of a server stands there, in YAML or TOML.

    Traefik asks for a name at each connection, and Go tries the next address where one refuses.

    :param keeps: see :class:`Provider`.
    """
    tls = 443 in listening
    listen = _port(tls, listening)
    return tuple(
        Route(
            host,
            int(port or 80),
            listen=listen,
            tls=tls,
            headers=_HEADERS,
            static_name=False,
            how=BY_FILES if scheme == "http" else "TLS of Traefik",
            proxy_host=host,
            kept=0.0,
            # It keeps as many for each name, and cannot be made to let go of them.
            keepalive=200 if keeps else 0,
        )
        for scheme, host, port in dict.fromkeys(_SERVER.findall(text))
    )


_HEADERS = (
    ("Host", "$host"),
    ("X-Forwarded-Host", "$host"),
    ("X-Forwarded-Proto", "$scheme"),
    ("X-Forwarded-For", "$remote_addr"),
)
