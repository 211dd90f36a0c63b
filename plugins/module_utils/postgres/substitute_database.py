# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server of a rehearsal that takes the place of a database that is no service of the project.

It gets the names and the port by which the app's settings find theirs.  What is no name (an address, a socket) no network can
give to another server: there the variables that hold it are told another word.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from .external_database import is_loopback

#: The service that it is in the project of a rehearsal.
SERVICE = "evenkeel-database"
#: Whom its cluster belongs to: the app's role may do there what it may do in production, and no more.
SUPERUSER = "evenkeel_rehearsal"
# Of a database's variables only: a mail server may well be at the same address.
_NAMES = re.compile(r"(^|_)(PG|POSTGRES|POSTGIS|DB|DATABASE|SQL|RDS)", re.IGNORECASE)
_SCHEMES = re.compile(r"^(postg|pgsql|psql|timescale)", re.IGNORECASE)
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<who>[^/?#]*@)?(?P<host>\[[^\]]*\]|[^/?#:@]*)(?P<rest>.*)", re.DOTALL
)


@dataclass(frozen=True)
class Place:
    """Where an app finds its database, as its own settings have it.

    :ivar host: a name, an address or the folder of a socket; several with commas.
    :ivar port: empty for PostgreSQL's own.
    """

    host: str = ""
    port: str = ""

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(one.strip() for one in self.host.split(","))

    @property
    def names(self) -> tuple[str, ...]:
        """Those that another server can be given as a name."""
        return tuple(one for one in self.hosts if _is_name(one))

    @property
    def ports(self) -> tuple[str, ...]:
        return tuple(sorted({one.strip() for one in self.port.split(",")} - {""})) or ("5432",)


def _is_name(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or is_loopback(host):
        return False
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return True
    return False


def problem_with(places: Sequence[Place]) -> str:
    """Why one server cannot stand in for all of them, empty where it can."""
    where = sorted({f"{place.host}:{','.join(place.ports)}" for place in places})
    if len(where) > 1:
        return f"the databases are on different servers ({', '.join(where)}), and a rehearsal has one"
    ports = places[0].ports
    if len(ports) > 1 or not ports[0].isdecimal():
        return f"the app's settings name the ports {', '.join(ports)}, and a rehearsal's server listens at one"
    return ""


def with_substitute(project: Mapping[str, Any], place: Place, image: str) -> dict[str, Any]:
    """The project with a service in the place of the server.

    :param project: as Compose resolves it.
    """
    services = project["services"]
    if place.host and set(place.names) != set(place.hosts):
        services = {name: _pointed(service, place) for name, service in services.items()}
    server = {"image": image, "networks": {"default": {"aliases": list(place.names)}}}
    return {**project, "services": {**services, SERVICE: server}}


def _pointed(service: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """A service whose variables name the stand-in where they named the place."""
    given = service.get("environment") or {}
    report = {name: _instead(str(name), value, place) for name, value in given.items()}
    return {**service, **({"environment": report} if report else {})}


def _instead(name: str, value: Any, place: Place) -> Any:
    text = "" if value is None else str(value)
    if text == place.host and _NAMES.search(name):
        return SERVICE
    parts = _URL.fullmatch(text)
    if parts is None or not (_NAMES.search(name) or _SCHEMES.match(parts["scheme"])):
        return value
    if unquote(parts["host"]).strip("[]") != place.host:
        return value
    return f"{parts['scheme']}://{parts['who'] or ''}{SERVICE}{parts['rest']}"
