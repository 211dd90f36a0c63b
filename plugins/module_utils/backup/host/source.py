# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which service of a project is the database that is backed up, or which server elsewhere, and how it is asked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...base.errors import BadInput
from ...engine.host.compose import ComposeFailed
from ...engine.host.engine import Engine
from ...engine.host.inspection import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, pid_of
from ...engine.host.kinds import kinds_of
from ...engine.host.project import compose_of, connect
from ...engine.programs import DATABASE
from ...postgres.host.client import sweep
from ...postgres.host.server import Server, server_in
from ..backups import has_pg_dump
from .external_database import ExternalDatabase, Wanted, external_of

# Seconds in which a program that prints its version is there, on a machine that is busy too.
_ANSWERS = 120.0
_TRIES = 3
EXTERNAL = (
    "one that is no service of it is found by the settings of the app's Django (app_django_service), or named by "
    "backup_connection.host"
)


@dataclass(frozen=True)
class Source:
    """What is backed up.

    :ivar service: the service, or host and port of a server that is none.
    :ivar inspection: of the container; empty where it is to be :meth:`reached` first.
    :ivar kinds: of each service of the project.
    """

    engine: Engine
    project: str
    service: str
    inspection: Mapping[str, Any]
    server: Server
    kinds: Mapping[str, str]
    is_external: ExternalDatabase | None = None

    @property
    def credentials(self) -> str:
        """Where it is said as whom to connect."""
        if self.is_external:
            return "user, password and name of the database in the app's settings, or backup_connection"
        return f"POSTGRES_USER, POSTGRES_DB and POSTGRES_PASSWORD of {self.service}, or name the database"

    @contextlib.contextmanager
    def reached(self, locked: bool = True) -> Iterator[Source]:
        """The same with a container in which programs can be run, while the block runs.

        :param locked: that nobody else works for this project, so that what is found is what a killed run left, and that this
            host may be changed.
        :raises BadInput: it does not answer.
        """
        if self.is_external is None:
            yield self
            return
        if locked:
            sweep(self.engine, self.project)
        with self.is_external.client(self.engine, self.project, locked) as made:
            yield replace(self, inspection=made, server=replace(self.server, container=str(made["Id"])))


def source_of(wanted: Wanted) -> Source | None:
    """The database that is wanted; None where the project has none and that is no mistake (``optional``).

    :raises BadInput: it is not there, does not run, or is no PostgreSQL.
    """
    compose = compose_of(wanted.project)
    engine = connect(compose.project_src)
    try:
        project = compose.resolved()
    except ComposeFailed as error:
        raise BadInput(f"the Compose project is not valid: {error}") from error
    service, host = wanted.service, wanted.external.database_host
    named = bool(service)
    if named and service not in project.get("services", {}):
        raise BadInput(f"there is no service {service} in the project", "set app_database_service")
    kinds, name = kinds_of(engine, project, compose.project_src, wanted.service_options), str(project["name"])
    if named and host:
        raise BadInput(
            f"service {service} and database_host {host} are two databases",
            "leave one of them out (app_database_service, backup_connection.host)",
        )
    service = service or ("" if host else _found(kinds))
    if not service:
        other = external_of(wanted, compose, engine, project)
        if other is not None:
            return Source(engine, name, other.connection.place, {}, other.server, kinds, other)
        if wanted.optional:
            return None
        raise BadInput("the project has no database service", f"set app_database_service; {EXTERNAL}")
    labels = {PROJECT_LABEL: name, SERVICE_LABEL: service}
    mine = [i for i in engine.containers({**labels, ONE_OFF_LABEL: "False"}) if pid_of(i) is not None]
    if not mine:
        raise BadInput(f"{service} does not run", f"start it: docker compose -p {name} start {service}")
    for _again in range(_TRIES):
        code, said = engine.run_inside(str(mine[0]["Id"]), ["pg_dump", "--version"], timeout=_ANSWERS)
        known = has_pg_dump(code, said)
        if known is not None:
            break
    if known is None:
        raise BadInput(
            f"the container of {service} could not be asked for its pg_dump (exit code {code}): {said.strip()[-200:]}",
            "run the same command again; docker ps and docker logs say more of that container",
        )
    if not known:
        if wanted.optional and not named:
            return None
        raise BadInput(
            f"the container of {service} has no pg_dump of PostgreSQL", "set app_database_service to one that has"
        )
    return Source(engine, name, service, mine[0], server_in(engine, mine[0], wanted.database), kinds)


def _found(kinds: Mapping[str, str]) -> str:
    """The one service of the kind ``database``, empty where there is none."""
    found = sorted(name for name, kind in kinds.items() if kind == DATABASE)
    if len(found) > 1:
        raise BadInput(f"the project has several databases: {', '.join(found)}", "set app_database_service to one")
    return found[0] if found else ""
