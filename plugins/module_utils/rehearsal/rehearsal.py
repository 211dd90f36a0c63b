# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The copy of an app in which an update is rehearsed: real rows, and nothing else that is real.

It is the scratch copy of tests with the database's own image in place of a fresh database, and the app as it would be
started.  What it may know of production's environment is an allow-list: all else is withheld.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.confined import MAKES_CLUSTER, NO_NEW_PRIVILEGES
from ..engine.definition import names_in
from .scratch import TESTS, scratch_project

#: Stands where a secret stood; long enough for what Django asks of its key.
PLACEHOLDER = "evenkeel-rehearsal-0123456789abcdefghijklmnopqrstuvwxyz"
DUMMY_MAIL = "django.core.mail.backends.dummy.EmailBackend"
_MAIL = re.compile(r"E?MAIL|SMTP|SENDGRID|POSTMARK|MANDRILL|(^|_)SES(_|$)", re.IGNORECASE)
_ADDRESS = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
# Scheme, user and password, host with port, the rest.
_PARTS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?:(?P<who>[^/?#]*)@)?(?P<host>\[[^\]]*\]|[^/?#:]*)(?P<rest>.*)", re.DOTALL
)
# Wider than what is masked in messages: what the rehearsal does not get it does without.
SECRET_NAME = re.compile(r"PASS|PWD|(^|_)PW\d*(_|$)|SECRET|TOKEN|KEY|DSN|UR[IL]|CREDENTIAL|AUTH", re.IGNORECASE)
_SWITCH = re.compile(r"^(0|1|true|false|yes|no|on|off|none|)$", re.IGNORECASE)
_HARMLESS = re.compile(
    r"^((DJANGO_)?(DEBUG|ALLOWED_HOSTS|SETTINGS_MODULE|CONFIGURATION|ENV)|ENV|ENVIRONMENT|APP_ENV|LANG|LANGUAGE|LC_\w+|TZ|TIME_ZONE"
    r"|PATH|HOME|USER|PYTHON\w*|VIRTUAL_ENV|HOST|PORT|WEB_CONCURRENCY|(GUNICORN|UVICORN|UWSGI)_\w+|\w*LOG_?LEVEL"
    r"|(PG|POSTGRES_|POSTGRESQL_|DB_|DATABASE_|SQL_|RDS_)\w+|\w+_(DB|DATABASE|POSTGRES|PG|SQL)_?(HOST(NAME)?|PORT|NAME|USER(NAME)?|ENGINE)"
    r"|(REDIS|VALKEY|RABBITMQ|CELERY|BROKER|CACHE|MEMCACHED)_\w+"
    r"|(STATIC|MEDIA)_\w+|(CSRF|CORS|SECURE)_\w+|SESSION_COOKIE_\w+)$"
)  # fmt: skip
# Nobody vouches for the certificate of a rehearsal's database.
_INSISTS = re.compile(r"sslmode=(require|verify-ca|verify-full)")
_ORIGINS = re.compile(r"^(DJANGO_)?(CSRF|CORS)_\w*ORIGINS$")


@dataclass(frozen=True)
class Environment:
    """What of a service's variables the rehearsal gets.

    :ivar withheld: the names of those that it does not know; of those that are secret only the values are others.
    """

    values: dict[str, str]
    withheld: tuple[str, ...] = ()


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def secrets_of(project: Mapping[str, Any]) -> frozenset[str]:
    """The values in the environment of any service that look secret, passwords in addresses included."""
    found = set()
    for service in project["services"].values():
        for name, given in (service.get("environment") or {}).items():
            value = _text(given)
            parts = _PARTS.fullmatch(value) if _ADDRESS.match(value) else None
            if parts:
                found.add((parts["who"] or "").partition(":")[2])
            elif SECRET_NAME.search(name) and not _is_file(name, value):
                found.add(value)
    # What is as short as this would be found in half of all words.
    return frozenset(value for value in found if len(value) > 3 and not _SWITCH.match(value))


def _is_file(name: str, value: str) -> bool:
    return name.endswith("_FILE") and value.startswith("/")


def without(value: str, secrets: Collection[str]) -> str:
    """A text in which each secret is the same other word, so that those who shared one still do."""
    for secret in sorted(secrets, key=len, reverse=True):
        value = value.replace(secret, PLACEHOLDER)
    return value


def environment_of(
    given: Mapping[str, Any],
    image: Mapping[str, str],
    hosts: Collection[str],
    secrets: Collection[str],
    allowed: Sequence[str] = (),
) -> Environment:
    """The variables that a service of the rehearsal gets.

    :param given: the service's variables, as Compose resolves them; ``image``: those that its image brings along.
    :param hosts: the names by which the servers of the rehearsal are found: addresses of no other are told.
    :param allowed: names, or patterns of names, whose values people let in as they are.
    """
    values: dict[str, str] = {}
    withheld: list[str] = []
    for name, raw in {**image, **given}.items():
        value, own = _text(raw), name in given
        kept = _kept(name, value, hosts, secrets, allowed)
        if kept is None and own:
            withheld.append(name)
        if kept is None and name in image:
            # Left out it would be there again.
            kept = image[name] if own and _kept(name, image[name], hosts, secrets, allowed) is not None else ""
        if kept is not None and (own or kept != value):
            values[name] = kept
    # Settings that ask for one of these get it, and there is no way out for the others.
    values.update(EMAIL_BACKEND=DUMMY_MAIL, DJANGO_EMAIL_BACKEND=DUMMY_MAIL)
    return Environment(values, tuple(sorted(withheld)))


def _kept(
    name: str, value: str, hosts: Collection[str], secrets: Collection[str], allowed: Sequence[str]
) -> str | None:
    """The value that is told, None where it is withheld."""
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in allowed):
        return value
    if _MAIL.search(name):
        return _mail(name)
    if _ADDRESS.match(value):
        return value if _ORIGINS.match(name) and not secrets_in(value, secrets) else _address(value, hosts, secrets)
    if _is_file(name, value):
        return value
    if name.upper().endswith("SSLMODE"):
        return "prefer"
    if SECRET_NAME.search(name):
        return value if _SWITCH.match(value) else PLACEHOLDER
    if _SWITCH.match(value) or _HARMLESS.match(name):
        return without(value, secrets)
    return None


def secrets_in(value: str, secrets: Collection[str]) -> bool:
    return any(secret in value for secret in secrets)


def _mail(name: str) -> str | None:
    upper = name.upper()
    if upper.endswith("BACKEND"):
        return DUMMY_MAIL
    if upper.endswith("URL"):
        return "dummymail://"
    # Whoever insists on a server asks one that is not there, and is told at once.
    return "127.0.0.1" if upper.endswith("HOST") else "9" if upper.endswith("PORT") else None


def _address(value: str, hosts: Collection[str], secrets: Collection[str]) -> str | None:
    """An address of a server of the rehearsal, or of none, without its password."""
    parts = _PARTS.fullmatch(value)
    if parts is None or (parts["host"] and parts["host"] not in hosts):
        return None
    user, colon, password = (parts["who"] or "").partition(":")
    who = f"{user}{colon}{PLACEHOLDER if password else ''}@" if parts["who"] is not None else ""
    rest = _INSISTS.sub("sslmode=prefer", without(parts["rest"], secrets))
    return parts["scheme"] + who + parts["host"] + rest


@dataclass(frozen=True)
class Limits:
    """What a container of the rehearsal may take.

    :ivar memory: bytes; of a service that has a limit of its own that one holds.
    :ivar rate: bytes per second from and to ``device``, the disk that the engine's data is on; none where either is missing.
    """

    memory: int
    rate: int = 0
    device: str = ""

    def bounded(self, service: Mapping[str, Any]) -> dict[str, Any]:
        """A service with them."""
        own = ((service.get("deploy") or {}).get("resources") or {}).get("limits") or {}
        result = dict(service)
        if not own.get("memory") and not service.get("mem_limit"):
            result.update(mem_limit=self.memory, memswap_limit=self.memory)
        if not own.get("pids") and not service.get("pids_limit"):
            result["pids_limit"] = 1024
        if self.device and self.rate:
            both = [{"path": self.device, "rate": self.rate}]
            result["blkio_config"] = {"device_read_bps": both, "device_write_bps": both}
        return result


@dataclass(frozen=True)
class Database:
    """The server that takes the place of the database.

    :ivar service: its name in the project; ``user``: who makes its cluster.
    :ivar settings: of the server, ``name=value``.
    :ivar port: where it listens, empty for PostgreSQL's own.
    """

    service: str
    user: str
    settings: tuple[str, ...]
    initdb: str = ""
    port: str = ""

    def definition(self, image: str, like: Mapping[str, Any]) -> dict[str, Any]:
        """:param like: a service of the scratch copy, for its labels and manners."""
        # Nobody but the rehearsal reaches it: it needs no password, and takes any.
        environment = {"POSTGRES_USER": self.user, "POSTGRES_DB": "postgres", "POSTGRES_HOST_AUTH_METHOD": "trust"}
        environment.update({"POSTGRES_INITDB_ARGS": self.initdb} if self.initdb else {})
        # Server and programs take it from there, those that others run in the container as well.
        environment.update({"PGPORT": self.port} if self.port else {})
        check = ["CMD", "pg_isready", "--quiet", "--host", "127.0.0.1", "--username", self.user.replace("$", "$$")]
        command = ["postgres"]
        for setting in self.settings:
            command += ["-c", setting.replace("$", "$$")]
        kept = ("labels", "restart", "logging", "oom_score_adj", "cpu_shares", "networks", "shm_size")
        return {
            **{key: like[key] for key in kept if key in like},
            "image": image,
            "environment": {k: v.replace("$", "$$") for k, v in environment.items()},
            "command": command,
            "cap_drop": ["ALL"],
            "cap_add": list(MAKES_CLUSTER),
            "security_opt": [NO_NEW_PRIVILEGES],
            "healthcheck": {"test": check, "interval": "1s", "timeout": "5s", "retries": 300},
        }


def rehearsal_project(
    project: Mapping[str, Any],
    apps: Sequence[str],
    brokers: Sequence[str],
    database: Database,
    images: Mapping[str, tuple[str, Mapping[str, str]]],
    name: str,
    source: str,
    limits: Limits,
    allowed: Sequence[str] = (),
    plain_files: Collection[str] = (),
    folders: Collection[str] = (),
) -> tuple[dict[str, Any], list[str]]:
    """The definition of the rehearsal, and the names of variables that were withheld from the app.

    :param project: as Compose resolves it.
    :param apps: the services of the app that are started or asked.
    :param images: service → image, and the variables that it brings along.
    :param name: the rehearsal's own.
    :param folders: those sources of mounts that are folders of this host: each becomes a volume that is thrown away.
    """
    servers = [database.service, *brokers]
    hosts = {n for app in apps for server in servers for n in names_in(project, app, server)}
    secrets = secrets_of(project)
    report = {
        n: environment_of(project["services"][n].get("environment") or {}, images[n][1], hosts, secrets, allowed)
        for n in [*apps, *servers]
    }
    changed = {n: {**project["services"][n], "environment": report[n].values} for n in report}
    harmless = {**project, "services": {**project["services"], **changed}}
    names = {n: image for n, (image, _variables) in images.items()}
    result: dict[str, Any] = {}
    volumes: dict[str, Any] = {}
    for app in apps:
        made = scratch_project(harmless, app, servers, names, ["true"], name, source, plain_files)
        own = made["services"].pop(TESTS)
        for key in ("entrypoint", "command"):
            own.pop(key)
            own.update({key: project["services"][app][key]} if project["services"][app].get(key) is not None else {})
        fresh = list(_fresh(project["services"][app], own, folders))
        volumes.update({volume: {"name": f"{name}-{volume}", "labels": own["labels"]} for volume, _at in fresh})
        own["volumes"] += [{"type": "volume", "source": v, "target": at} for v, at in fresh]
        made["services"][app] = own
        services = {**(result.get("services") or {}), **made["services"]}
        result = {**made, "services": services}
    result.pop("secrets", None)
    result["configs"] = {**(result.get("configs") or {}), "rehearsal": {"content": PLACEHOLDER}}
    for key, service in result["services"].items():
        result["services"][key] = _without_secrets(service, secrets)
    of_database = result["services"][database.service]
    result["services"][database.service] = database.definition(names[database.service], of_database)
    result["services"] = {key: limits.bounded(service) for key, service in result["services"].items()}
    result["volumes"] = volumes
    withheld = sorted({n for app in apps for n in report[app].withheld})
    return result, withheld


def _fresh(service: Mapping[str, Any], made: Mapping[str, Any], folders: Collection[str]) -> Iterator[tuple[str, str]]:
    """The folders of an app that have data in them: it gets a volume in the place of each, under a name for its source."""
    there = {str(mount.get("target")) for mount in made["volumes"]}
    for mount in service.get("volumes") or []:
        where, target = str(mount.get("source") or ""), str(mount.get("target") or "")
        if target not in there and (mount.get("type") == "volume" or where in folders):
            yield re.sub(r"[^A-Za-z0-9]+", "-", where or target).strip("-") or "data", target


def _without_secrets(service: Mapping[str, Any], secrets: Collection[str]) -> dict[str, Any]:
    """A service whose command line and files have no secret: a word in the place of each."""
    result = dict(service)
    for key in ("command", "entrypoint"):
        words = result.get(key)
        if isinstance(words, str):
            result[key] = without(words, secrets)
        elif words:
            result[key] = [without(str(word), secrets) for word in words]
    check = (result.get("healthcheck") or {}).get("test")
    if isinstance(check, list):
        result["healthcheck"] = {**result["healthcheck"], "test": [without(str(word), secrets) for word in check]}
    files = []
    for one in result.pop("secrets", None) or []:
        target = str(one.get("target") or one.get("source"))
        files.append({"source": "rehearsal", "target": target if target.startswith("/") else f"/run/secrets/{target}"})
    if files:
        result["configs"] = [*(result.get("configs") or []), *files]
    return result


# -- what it foretells -------------------------------------------------------------------------------------------


def measured(done: Mapping[str, Any], plan: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What ``django_migrate`` returned of what it ran, as entries with seconds and, where the plan says so, locks."""
    planned = {(m["database"], m["app"], m["name"]): m["operations"] for m in plan}
    found = []
    for one in done.get("ran") or []:
        locks = [o["lock"] for o in planned.get(_of(one), []) if o["action"] == "now"]
        entry = {
            "step": "expanded",
            "index": -1,
            "operation": "",
            "locks": [lock for lock in dict.fromkeys(locks) if lock],
        }
        found.append({**_named(one), **entry})
    for one in done.get("contracted") or []:
        locks = [o["lock"] for o in planned.get(_of(one), [])[one["index"] : one["index"] + 1]]
        entry = {
            "step": "contracted",
            "index": one["index"],
            "operation": one["operation"],
            "locks": [x for x in locks if x],
        }
        found.append({**_named(one), **entry})
    return found


def _of(one: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(one["database"]), str(one["app"]), str(one["name"])


def _named(one: Mapping[str, Any]) -> dict[str, Any]:
    return {**{key: str(one[key]) for key in ("app", "name", "database")}, "seconds": float(one["seconds"])}


def beside(foretold: Sequence[Mapping[str, Any]], real: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was foretold, with what it took where it was run."""
    took = {(*_of(m), m["step"], m["index"]): m["seconds"] for m in real}
    keyed = [((*_of(m), m["step"], m["index"]), m) for m in foretold]
    return [{**m, **({"real_seconds": took[key]} if key in took else {})} for key, m in keyed]
