# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database that is no container of the project: where the app's own settings say it is, and a client that reaches it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...base.errors import BadInput
from ...base.host import known_secrets
from ...base.host.directory_handles import open_file
from ...base.options import read
from ...django.host.oneoff import NoDjango, OneOff
from ...django.inside import connection as django_connection
from ...engine.definition import names_in
from ...engine.host import app_script
from ...engine.host.compose import Compose
from ...engine.host.engine import Engine, EngineFailed
from ...engine.host.image_pull import pull
from ...engine.host.project import image_name
from ...engine.options import ProjectOptions
from ...postgres import external_database as decide
from ...postgres.host.client import client
from ...postgres.host.server import PSQL, PostgresFailed, Server
from ...postgres.substitute_database import Place

#: What modules take that work with a database which may be no container of the project.
EXTERNAL_DATABASE_SPEC: dict[str, dict[str, Any]] = {
    "database_host": {"type": "str"},
    "database_port": {"type": "str"},
    "database_user": {"type": "str"},
    "database_password": {"type": "str", "no_log": True},
    "database_password_file": {"type": "path", "no_log": False},
    "client_image": {"type": "str"},
    "client_network": {"type": "str"},
}
# Seconds in which the image of a client has to come.
_PULL = 600.0
# Bytes of a key that is used once: a password, and a private key of TLS.
_PAD = 16 * 1024
_ANSWERS = 120.0
_CREDENTIALS = "see host, port, user, password and name of the database in the app's settings, or name them (backup_connection.host, …)"


@dataclass(frozen=True)
class ExternalDatabaseOptions:
    """Where a database is that is no service of the project, and the client that reaches it.

    :ivar database_host: empty where the app's own settings say where it is; the four options below it need it.
    :ivar database_port: empty for the port of PostgreSQL.
    :ivar database_password_file: a file on the target with the password in its first line.
    :ivar client_image: empty for one that fits the server.
    :ivar client_network: of the client's container, empty for those of the app.
    """

    database_host: str = ""
    database_port: str = ""
    database_user: str = ""
    database_password: str = field(default="", repr=False)
    database_password_file: str = ""
    client_image: str = ""
    client_network: str = ""


def external_database_options(params: Mapping[str, Any]) -> ExternalDatabaseOptions:
    """What a module was given of that."""
    return read(ExternalDatabaseOptions, EXTERNAL_DATABASE_SPEC, params)


@dataclass(frozen=True)
class Wanted:
    """The database that an operation works with.

    :ivar service: of the project; empty for its only database, or for one that is no service.
    :ivar database: its name, empty where settings say it.
    :ivar django_service: by whose settings a database is found that is no service.
    :ivar optional: that a project without a PostgreSQL database is no mistake.
    :ivar restores: that a database is restored on the server, which takes a client of the server's own version.
    :ivar rehearses: that it is for a rehearsal, whose app has to find its server by its own settings.
    :ivar timeout: seconds that a client for it may take.
    """

    project: ProjectOptions
    external: ExternalDatabaseOptions = field(default_factory=ExternalDatabaseOptions)
    service: str = ""
    service_options: Mapping[str, Any] = field(default_factory=dict)
    database: str = ""
    django_service: str = ""
    manage_py: str = "manage.py"
    optional: bool = False
    restores: bool = False
    rehearses: bool = False
    timeout: float = 7200.0


@dataclass(frozen=True)
class ExternalDatabase:
    """A server, and how it is reached.

    :ivar image: the client's, as it was named.
    :ivar exact: that the client has to be of the very version of the server, since something is written to that.
    :ivar place: where the app itself finds it, where it was asked: that may be a pooler before it.
    """

    connection: decide.Connection
    image: str
    reach: decide.Reach
    timeout: float
    exact: bool = False
    place: Place = field(default_factory=Place)

    @property
    def server(self) -> Server:
        """The same without a container to reach it from."""
        known = self.connection
        return Server("", known.user, known.database, known.password, known.variables)

    def fetch(self, engine: Engine, may_pull: bool = True) -> str:
        """Have the client's image on this host; returns its id.

        :param may_pull: that it may be changed for that.
        :raises BadInput: it is not there, and cannot be had.
        """
        why = "is not on this host"
        if may_pull and not engine.image(self.image):
            try:
                pull(engine, self.image, _PULL)
            except EngineFailed as error:
                why += f" and cannot be pulled ({error})"
        found = engine.image(self.image)
        if not found:
            raise BadInput(
                f"{self.connection.place} is no container of the project, and the image {self.image}, whose pg_dump would dump it, {why}",
                f"docker pull {self.image}; or set client_image to one that is there, of the same or a newer version of PostgreSQL "
                "(backup_connection in a playbook); update_backup: never updates without a backup",
            )
        return str(found["Id"])

    @contextlib.contextmanager
    def client(self, engine: Engine, project: str, may_pull: bool = True) -> Iterator[dict[str, Any]]:
        """The inspection of a container from which the server has answered.

        :param may_pull: see :meth:`fetch`.
        :raises BadInput: it does not, or is newer than the client.
        """
        place, known = self.connection.place, self.connection
        self.fetch(engine, may_pull)
        with contextlib.ExitStack() as stack:
            try:
                made = stack.enter_context(client(engine, project, self.image, self.reach, known.files, self.timeout))
            except EngineFailed as error:
                raise BadInput(
                    f"a container of {self.image} that reaches {place} could not be started: {error}",
                    "correct that, or set client_image and client_network (backup_connection in a playbook)",
                ) from error
            code, said = engine.run_inside(str(made.get("Id") or ""), ["pg_dump", "--version"], timeout=_ANSWERS)
            own = decide.major_of(said) if code == 0 else 0
            if not own:
                raise BadInput(
                    f"the image {self.image} has no pg_dump of PostgreSQL (exit code {code})",
                    f"set client_image to one that has, such as {decide.default_image(17)} (backup_connection in a playbook)",
                )
            theirs = self._version(str(made["Id"]))
            if own < theirs:
                raise BadInput(
                    f"{place} is PostgreSQL {theirs}, and the pg_dump of {self.image} is {own}: an older one cannot dump it",
                    f"docker pull {decide.default_image(theirs)}, and set client_image to it (backup_connection in a playbook)",
                )
            if self.exact and own != theirs:
                raise BadInput(
                    f"{place} is PostgreSQL {theirs}, and the pg_restore of {self.image} is {own}: a newer one sets what an older "
                    "server does not know",
                    f"docker pull {decide.default_image(theirs)}, and set client_image to it (backup_connection in a playbook); a "
                    "dump that a newer client made is refused by that as well",
                )
            yield made

    def _version(self, container: str) -> int:
        """The server's major version."""
        here = replace(self.server, container=container)
        asked = here.words(*PSQL, "--dbname", here.database, "--command", "SHOW server_version_num")
        try:
            printed = here.run(asked, timeout=_ANSWERS).strip()
        except PostgresFailed as error:
            what = f"{here.database} at {self.connection.place} could not be asked: {error}"
            raise BadInput(what, _CREDENTIALS) from error
        return int(printed) // 10000 if printed.isdecimal() else 0


def external_of(
    wanted: Wanted, compose: Compose, engine: Engine, project: Mapping[str, Any]
) -> ExternalDatabase | None:
    """The database that the app's settings or the options name; None where neither does.

    :raises BadInput: they name one that cannot be dumped, and why.
    """
    given = _given(wanted.external, wanted.database)
    service = wanted.django_service
    report: dict[str, Any] = {}
    # A rehearsal's app has to find its server by its own settings.
    if wanted.rehearses or not all(given[key] for key in ("host", "user", "database")):
        if not service or service not in project.get("services", {}):
            if given["host"]:
                raise BadInput(
                    "database_host alone says neither as whom nor to which database to connect",
                    "set database_user and database, or django_service (app_django_service) to the service that knows them",
                )
            return None
        report = _settings(wanted, compose, engine, project)
        if report["vendor"] != "postgresql":
            if wanted.optional:
                return None
            raise BadInput(f"the app's database is {report['vendor']}, and this is for PostgreSQL")
    sealed = report.get("secret") or {}
    try:
        known = decide.connection_of(report.get("parameters") or {}, sealed, report.get("files") or {}, given)
    except decide.Unfit as error:
        raise BadInput(str(error), error.advice) from error
    if not given["host"]:
        _refuse_a_service(project, service, known.host)
    image = wanted.external.client_image or _fitting(report, known.place)
    reach = decide.reach_of(project, service, known.host)
    if wanted.external.client_network:
        reach = decide.Reach((wanted.external.client_network,), reach.hosts, reach.dns, reach.dns_search, reach.binds)
    elif given["host"] and decide.is_loopback(known.host):
        # This host, as whoever writes its inventory means it.
        reach = decide.Reach()
    own = report.get("parameters") or {}
    place = Place(str(own.get("host") or ""), str(own.get("port") or ""))
    return ExternalDatabase(known, image, reach, wanted.timeout, wanted.restores, place)


def _given(options: ExternalDatabaseOptions, database: str) -> dict[str, str]:
    """What the options name themselves."""
    found = {
        "host": options.database_host, "port": options.database_port, "user": options.database_user,
        "password": options.database_password,
    }  # fmt: skip
    path = options.database_password_file
    if path:
        if found["password"]:
            raise BadInput("database_password and database_password_file are two passwords", "leave one of them out")
        found["password"] = _password_in(path)
    known_secrets.learn_variables([("database password", found["password"])])
    if not found["host"] and any(found.values()):
        raise BadInput("database_port, database_user and database_password need database_host", "set it as well")
    return {**found, "database": database}


def _password_in(path: str) -> str:
    try:
        with open_file(path) as stream:
            if stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & stat.S_IRWXO:
                raise BadInput(
                    f"everybody on this host may read {path}, which has a password in it", f"chmod 600 {path}"
                )
            return stream.readline().decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise BadInput(f"database_password_file {path} cannot be read: {why}", "name a file with one line") from error


def _settings(wanted: Wanted, compose: Compose, engine: Engine, project: Mapping[str, Any]) -> dict[str, Any]:
    """What the app's Django says of its connection, ``secret`` among it."""
    service = wanted.django_service
    image = image_name(project, service)
    if not engine.image(image):
        raise BadInput(f"the image {image} of {service} is not on this host", "build or pull it first")
    pad = secrets.token_bytes(_PAD)
    oneoff = OneOff(
        engine, compose, str(project["name"]), service, wanted.manage_py or "manage.py",
        min(_ANSWERS, wanted.timeout), "database", f"{pad.hex()}\n",
    )  # fmt: skip
    try:
        # Who puts a database back wants no session of it but the one that does.
        report = oneoff.ask(app_script.as_text((django_connection,), [wanted.database]), gone=True)
    except NoDjango:
        if wanted.optional:
            return {"vendor": "unknown"}
        raise
    if report.get("error"):
        raise BadInput(f"{service} could not be asked for its database: {report['error']}")
    sealed = bytes.fromhex(str(report.pop("sealed", "")))
    secret = bytes(a ^ b for a, b in zip(sealed, pad))
    known: dict[str, str] = json.loads(secret) if secret else {}
    known_secrets.learn_variables((f"database {name}", value) for name, value in known.items())
    return {**report, "secret": known}


def _fitting(report: Mapping[str, Any], place: str) -> str:
    """The image of a client that fits the server that the app has reached."""
    major = int(report.get("version") or 0) // 10000
    if major:
        return decide.default_image(major)
    why = str(report.get("problem") or "") or "the app was not asked for it"
    raise BadInput(
        f"it is not known which version of PostgreSQL {place} is ({why})",
        "see that the app reaches its database, or set client_image (backup_connection in a playbook)",
    )


def _refuse_a_service(project: Mapping[str, Any], service: str, host: str) -> None:
    """A dump through a pooler would have its transactions torn apart."""
    for other in project["services"]:
        if other != service and host in names_in(project, service, other):
            raise BadInput(
                f"the app reaches its database through {other}, a service of the project that is not known to be PostgreSQL",
                "set app_database_service where it is; where it is a pooler, set backup_connection.host (database_host) to the "
                "server behind it",
            )
