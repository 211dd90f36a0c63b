# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database that is no container of the project (managed, or the host's own): where it is, which client fits, who may restore."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..engine.definition import name_on_engine
from .programs import quoted

#: What of a driver's connection parameters libpq takes by a variable; passwords and keys come apart from these.
VARIABLES = {
    "hostaddr": "PGHOSTADDR",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "channel_binding": "PGCHANNELBINDING",
    "gssencmode": "PGGSSENCMODE",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}
#: Files that are given to the client under the names that libpq's variables then have.
FILES = {"sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY"}
#: Where they lie in the client's container.
FOLDER = "evenkeel-tls"
# Where a server listens whose settings name no host.
_SOCKETS = "/var/run/postgresql"
_LOOPBACK = re.compile(r"^(localhost|127(\.\d+){3}|::1)$")


class Unfit(Exception):
    """There is no way to connect; the message says why, ``advice`` what to write."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.advice = advice


@dataclass(frozen=True)
class Connection:
    """Where a database is, and as whom to connect.

    :ivar settings: libpq's other variables.
    :ivar files: what certificates and keys hold, by the names of :data:`FILES`.
    """

    host: str
    port: str
    user: str
    database: str
    password: str = field(default="", repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def place(self) -> str:
        """The server, as backups and people name it."""
        return f"{self.host}:{self.port or '5432'}"

    @property
    def variables(self) -> dict[str, str]:
        """What libpq is told by the environment, but for the password."""
        port = {"PGPORT": self.port} if self.port else {}
        files = {FILES[name]: f"/{FOLDER}/{name}" for name in self.files}
        return {"PGHOST": self.host, **port, **self.settings, **files}


def connection_of(
    parameters: Mapping[str, Any], secret: Mapping[str, str], files: Mapping[str, str], given: Mapping[str, str]
) -> Connection:
    """What the app connects with, under what was given for the backup alone.

    :param parameters: as the app's driver takes them, without secrets; ``secret``: ``password`` and ``sslkey``.
    :param files: what ``sslrootcert`` and ``sslcert`` hold.
    :param given: ``host``, ``port``, ``user``, ``database``, ``password``, each empty where the app's is meant.
    :raises Unfit: it is not known where or as whom.
    """
    report = {key: str(value) for key, value in parameters.items() if value not in (None, "")}
    user, database = given.get("user") or report.get("user", ""), given.get("database") or report.get("dbname", "")
    if not user or not database:
        missing = "database_user" if not user else "database"
        raise Unfit(f"neither the app's settings nor {missing} say as whom, and to which database, to connect",
                    f"set {missing} (backup_{missing} in a playbook)")  # fmt: skip
    if "=" in database or "://" in database:
        # libpq would take that for a connection string, with whatever is in it.
        raise Unfit("the database's name is a connection string", "name host, port, user and database one by one")
    same = user == report.get("user", "")
    is_external = bool(given.get("host")) and given["host"] != report.get("host")
    kept = {VARIABLES[k]: report[k] for k in VARIABLES if k in report and not (is_external and k == "hostaddr")}
    known = {**files, **({"sslkey": secret["sslkey"]} if secret.get("sslkey") else {})}
    return Connection(
        given.get("host") or report.get("host") or _SOCKETS,
        # Another host may be there to go around a pooler, whose port is not the server's.
        given.get("port") or ("" if is_external else report.get("port", "")),
        user,
        database,
        given.get("password") or (secret.get("password", "") if same else ""),
        kept,
        {name: text for name, text in known.items() if name in FILES and text},
    )


def is_loopback(host: str) -> bool:
    """Whether that is the machine, or the container, that says it."""
    return bool(_LOOPBACK.match(host))


@dataclass(frozen=True)
class Reach:
    """What of a container's networking decides what it reaches.

    :ivar networks: as the engine names them; the first may be ``host``.
    :ivar hosts: ``name:address``.
    :ivar binds: ``source:target:ro``.
    """

    networks: tuple[str, ...] = ("host",)
    hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()


def reach_of(project: Mapping[str, Any], service: str, host: str) -> Reach:
    """What a client takes to reach what a service reaches, as Compose resolves the project."""
    services = project.get("services") or {}
    own = services.get(service)
    if own is None:
        return Reach()
    given = own
    for _again in services:
        mode = str(given.get("network_mode") or "")
        if not mode.startswith("service:") or mode[8:] not in services:
            break
        given = services[mode[8:]]
    mode = str(given.get("network_mode") or "")
    names = [name_on_engine(project, "networks", n) for n in given.get("networks") or {}]
    hosts = [str(e).partition("=" if "=" in str(e) else ":") for e in given.get("extra_hosts") or []]
    return Reach(
        (mode,) if mode else tuple(names) or (f"{project['name']}_default",),
        tuple(f"{name}:{address}" for name, _is, address in hosts),
        _words(given.get("dns")),
        _words(given.get("dns_search")),
        tuple(_binds(project, own, host)) if host.startswith("/") else (),
    )


def _words(given: Any) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(str(word) for word in given or ())


def _binds(project: Mapping[str, Any], service: Mapping[str, Any], folder: str) -> list[str]:
    """The mounts that a folder with a server's socket lies in."""
    found = []
    for mount in service.get("volumes") or []:
        target, source = str(mount.get("target") or "").rstrip("/"), str(mount.get("source") or "")
        if not target or not source or not f"{folder}/".startswith(f"{target}/"):
            continue
        if mount.get("type") == "volume":
            source = str(((project.get("volumes") or {}).get(source) or {}).get("name") or source)
        found.append(f"{source}:{target}:ro")
    return found


def major_of(said: str) -> int:
    """The major version in what ``pg_dump --version`` prints, 0 where that is none of PostgreSQL's."""
    found = re.search(r"\(PostgreSQL\) (\d+)", said)
    return int(found.group(1)) if found else 0


def default_image(major: int) -> str:
    """The image whose client fits a server."""
    return f"postgres:{major}"


# -- who may restore --------------------------------------------------------------------------------------


def missing_rights(rights: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What a role lacks to exchange a database for another one, and the SQL that would give it that.

    :param rights: ``user``, ``owner``, ``superuser``, ``createdb``, ``owns``, ``signal``, and who is connected that this role
        may not end: ``others``, of which ``superusers`` nobody but a superuser may; ``beside``: another database to connect to.
    """
    if rights.get("superuser"):
        return ([], []) if rights.get("beside") else (["there is no other database to connect to meanwhile"], [])
    user, what, then = quoted(str(rights["user"])), [], []
    if not rights.get("createdb"):
        what.append("may not make a database")
        then.append(f"ALTER ROLE {user} CREATEDB;")
    if not rights.get("owns"):
        what.append(f"is no member of {rights['owner']}, the owner")
        then.append(f"GRANT {quoted(str(rights['owner']))} TO {user};")
    if rights.get("others") and not rights.get("signal"):
        what.append(f"may not end the sessions of {', '.join(map(str, rights['others']))}")
        then.append(f"GRANT pg_signal_backend TO {user};")
    if rights.get("superusers"):
        what.append(f"may never end the sessions of the superusers {', '.join(map(str, rights['superusers']))}")
    if not rights.get("beside"):
        what.append("may connect to no other database meanwhile")
        then.append(f"GRANT CONNECT ON DATABASE postgres TO {user};")
    return what, then


def by_hand(name: str, plain: bool, connection: Connection, image: str, networks: Sequence[str]) -> str:
    """How somebody restores a backup who may not exchange databases: into another one that the server's provider makes.

    :param name: the backup's path; ``plain``: that it is SQL.
    """
    program = "psql --set ON_ERROR_STOP=1 --single-transaction" if plain else "pg_restore --exit-on-error --no-owner"
    path = shlex.quote(name)
    read, fed = (f"gzip -dc {path} | ", "") if name.endswith(".gz") else ("", f" < {path}")
    run = f"docker run --rm -i --network {networks[0] if networks else 'host'} --env-file FILE {image} {program} --dbname NEW"
    return (
        f"by hand: have an empty database NEW made on {connection.place}; write PGHOST, PGPORT, PGUSER={connection.user} and "
        f"PGPASSWORD to a FILE of mode 0600; {read}{run}{fed}; name NEW in the app's settings, and run playbook update"
    )
