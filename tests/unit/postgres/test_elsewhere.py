# SPDX-License-Identifier: GPL-3.0-or-later
"""A database that is no container of the project: where it is, how it is reached, and who may put a backup in its place."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.backup.host import external_database
from ansible_collections.evenkeel.deploy.plugins.module_utils.backup.host import source as backup_source
from ansible_collections.evenkeel.deploy.plugins.module_utils.backup.host.external_database import (
    ExternalDatabaseOptions,
    Wanted,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.django.host.oneoff import NoDjango
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import EngineFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.image_pull import pull
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.options import ProjectOptions
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres import external_database as decide
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres.host.client import archive_of, client
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres.host.server import Server

PASSWORD = "never-told-2230"
APP = {"host": "db.example.com", "port": "6432", "user": "shop", "dbname": "shop", "sslmode": "require"}
PROJECT = {
    "name": "travel",
    "services": {
        "api": {
            "image": "travel/api",
            "networks": {"inner": None, "default": {}},
            "extra_hosts": ["host.docker.internal=host-gateway", "db:10.0.0.7"],
            "dns": "10.0.0.2",
            "volumes": [
                {"type": "bind", "source": "/run/pg", "target": "/var/run/postgresql"},
                {"type": "volume", "source": "media", "target": "/media"},
            ],
        },
        "pooler": {"image": "pgbouncer", "networks": {"default": {"aliases": ["pg"]}}},
        "side": {"image": "x", "network_mode": "service:api"},
        "free": {"image": "x", "network_mode": "host"},
    },
    "networks": {"inner": {"name": "shared"}, "default": {"name": "travel_default"}},
    "volumes": {"media": {"name": "travel_media"}},
}


# -- where, and as whom ----------------------------------------------------------------------------------


def connected(**given: str) -> decide.Connection:
    return decide.connection_of(APP, {"password": PASSWORD}, {}, given)


def test_the_apps_own_settings_say_where_and_as_whom() -> None:
    found = connected()
    assert (found.place, found.user, found.database, found.password) == (
        "db.example.com:6432",
        "shop",
        "shop",
        PASSWORD,
    )
    assert found.variables == {"PGHOST": "db.example.com", "PGPORT": "6432", "PGSSLMODE": "require"}
    assert PASSWORD not in repr(found)


def test_what_is_given_goes_before_it() -> None:
    # Behind a pooler: another host has a port of its own, and the app's user is the same there.
    behind = connected(host="pg.internal")
    assert (behind.place, behind.password) == ("pg.internal:5432", PASSWORD) and "PGPORT" not in behind.variables
    # Nobody else's password is tried.
    assert connected(user="backup").password == "" and connected(user="backup", password="other").password == "other"
    assert connected(database="orders").database == "orders"
    alone = decide.connection_of({}, {}, {}, {"host": "h", "user": "u", "database": "d"})
    assert alone.variables == {"PGHOST": "h"} and alone.place == "h:5432"


def test_without_a_host_it_is_the_socket_that_libpq_takes() -> None:
    found = decide.connection_of({"user": "shop", "dbname": "shop"}, {}, {}, {})
    assert found.host == "/var/run/postgresql"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"host": "h", "dbname": "d"}, "set database_user"),
        ({"host": "h", "user": "u"}, "set database "),
        ({"host": "h", "user": "u", "dbname": "host=evil.example.com dbname=x"}, "one by one"),
        ({"host": "h", "user": "u", "dbname": "postgresql://evil.example.com/x"}, "one by one"),
    ],
)
def test_what_is_no_connection_is_refused(parameters: dict[str, str], said: str) -> None:
    with pytest.raises(decide.Unfit) as caught:
        decide.connection_of(parameters, {}, {}, {})
    assert said in caught.value.advice


def test_certificates_come_as_files_that_the_client_has() -> None:
    told = {**APP, "sslrootcert": "/etc/ca.pem"}
    found = decide.connection_of(told, {"password": "x", "sslkey": "KEY"}, {"sslrootcert": "CA", "sslcert": ""}, {})
    assert found.variables["PGSSLROOTCERT"] == "/evenkeel-tls/sslrootcert" and "PGSSLCERT" not in found.variables
    assert found.variables["PGSSLKEY"] == "/evenkeel-tls/sslkey" and "KEY" not in repr(found)
    with tarfile.open(fileobj=io.BytesIO(archive_of(found.files))) as archive:
        assert {(m.name, m.mode) for m in archive} == {
            ("evenkeel-tls", 0o700), ("evenkeel-tls/sslkey", 0o600), ("evenkeel-tls/sslrootcert", 0o600)
        }  # fmt: skip
    # One that names no file stays what it is.
    assert decide.connection_of({**APP, "sslrootcert": "system"}, {}, {}, {}).variables["PGSSLROOTCERT"] == "system"


# -- how it is reached -----------------------------------------------------------------------------------


def test_the_client_reaches_what_the_app_reaches() -> None:
    found = decide.reach_of(PROJECT, "api", "db.example.com")
    assert found.networks == ("shared", "travel_default") and found.binds == ()
    assert found.hosts == ("host.docker.internal:host-gateway", "db:10.0.0.7") and found.dns == ("10.0.0.2",)
    assert decide.reach_of(PROJECT, "side", "h").networks == ("shared", "travel_default")
    assert decide.reach_of(PROJECT, "free", "h").networks == ("host",)
    assert decide.reach_of(PROJECT, "", "h") == decide.Reach()
    # A socket that is mounted, and nothing beside it.
    assert decide.reach_of(PROJECT, "api", "/var/run/postgresql").binds == ("/run/pg:/var/run/postgresql:ro",)


@pytest.mark.parametrize(
    ("host", "expected"), [("localhost", True), ("127.0.0.1", True), ("::1", True), ("127.0.0.1.example.com", False)]
)
def test_what_is_this_host(host: str, expected: bool) -> None:
    assert decide.is_loopback(host) is expected


@pytest.mark.parametrize(
    ("said", "major"), [("pg_dump (PostgreSQL) 17.6 (Debian 17.6-1)", 17), ("pg_dump (PostgreSQL) 9.6", 9), ("sh", 0)]
)
def test_which_client_it_is(said: str, major: int) -> None:
    assert decide.major_of(said) == major


# -- who may restore -------------------------------------------------------------------------------------

MAY: dict[str, Any] = {
    "user": "shop", "owner": "shop", "superuser": False, "createdb": True, "owns": True, "signal": False, "others": [],
    "superusers": [], "beside": "postgres",
}  # fmt: skip


def test_who_may_exchange_databases() -> None:
    assert decide.missing_rights(MAY) == ([], [])
    others = {
        "createdb": False,
        "owns": False,
        "owner": 'ad"min',
        "others": ["x"],
        "superusers": ["root"],
        "beside": None,
    }
    assert decide.missing_rights({**MAY, **others, "superuser": True, "beside": "postgres"}) == ([], [])
    what, then = decide.missing_rights({**MAY, **others})
    assert len(what) == 5 and "superusers root" in what[3]
    assert then == [
        'ALTER ROLE "shop" CREATEDB;',
        'GRANT "ad""min" TO "shop";',
        'GRANT pg_signal_backend TO "shop";',
        'GRANT CONNECT ON DATABASE postgres TO "shop";',
    ]


def test_the_way_by_hand_is_a_command() -> None:
    found = decide.by_hand("/srv/b c/shop.dump", False, connected(), "postgres:17", ("shared",))
    assert "docker run --rm -i --network shared --env-file FILE postgres:17 pg_restore" in found
    assert "--dbname NEW < '/srv/b c/shop.dump'" in found and PASSWORD not in found
    assert "gzip -dc /x.sql.gz | docker run" in decide.by_hand("/x.sql.gz", True, connected(), "postgres:17", ())


# -- what is refused -------------------------------------------------------------------------------------


class FakeEngine:
    """An engine with some images."""

    def __init__(self, *images: str, registry: tuple[dict[str, str], ...] | Exception = ()) -> None:
        self.images = list(images)
        self.registry = registry
        self.pulled: list[tuple[str, str]] = []
        self.made: list[tuple[dict[str, Any], list[str], dict[str, bytes]]] = []
        self.removed: list[str] = []

    def image(self, name: str) -> dict[str, Any]:
        return {"Id": name} if name in self.images else {}

    def containers(self, _labels: object) -> list[dict[str, Any]]:
        return []

    def parts(self, call: str, repository: str, **more: Any) -> Iterator[dict[str, str]]:
        assert call == "pull" and more["stream"] and more["decode"]
        self.pulled.append((repository, more["tag"]))
        if isinstance(self.registry, Exception):
            raise self.registry
        yield from self.registry
        if not any("error" in part for part in self.registry):
            self.images.append(f"{repository}{'@' if more['tag'].startswith('sha256:') else ':'}{more['tag']}")

    def create(
        self, name: str, configuration: dict[str, Any], networks: list[str], archives: dict[str, bytes], start: bool
    ) -> str:
        assert start
        self.made.append((configuration, list(networks), archives))
        return "made"

    def inspect(self, container: str) -> dict[str, Any]:
        return {"Id": container}

    def remove_labelled(self, label: str, spared: Any) -> None:
        self.removed.append(label)


def wanted(**options: Any) -> Wanted:
    """A database by the options of a module that names one."""
    names = [n for n in options if n in external_database.EXTERNAL_DATABASE_SPEC]
    external = ExternalDatabaseOptions(**{n: options.pop(n) for n in names})
    return Wanted(ProjectOptions("/"), external, **options)


def found(engine: FakeEngine, told: dict[str, Any] | Exception, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    def ask(self: Any, script: str, gone: bool) -> dict[str, Any]:
        assert gone, "its session of the database would be there yet"
        assert PASSWORD not in script
        if isinstance(told, Exception):
            raise told
        pad = bytes.fromhex(self.given.strip())
        sealed = bytes(a ^ b for a, b in zip(json.dumps({"password": PASSWORD}).encode(), pad)).hex()
        return {"vendor": "postgresql", "version": 170006, "problem": "", "files": {}, "sealed": sealed, **told}

    monkeypatch.setattr(external_database.OneOff, "ask", ask)
    asked = wanted(**{"timeout": 60.0, "django_service": "api", **options})
    return external_database.external_of(asked, None, engine, PROJECT)  # type: ignore[arg-type]


def test_the_client_fits_the_server_that_the_app_has_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine("travel/api", "postgres:17")
    one = found(engine, {"parameters": APP}, monkeypatch)
    assert (one.image, one.server.password, one.reach.networks[0]) == ("postgres:17", PASSWORD, "shared")
    # Neither asked nor needed: all is given.
    given = {"database_host": "127.0.0.1", "database_user": "u", "database": "d", "client_image": "postgres:17"}
    alone = found(engine, RuntimeError("asked"), monkeypatch, **given)
    assert alone.reach == decide.Reach() and alone.server.settings == {"PGHOST": "127.0.0.1"}
    assert found(engine, {"parameters": APP}, monkeypatch, client_network="other").reach.networks == ("other",)
    assert found(engine, {}, monkeypatch, django_service="nowhere") is None


def test_a_rehearsal_is_told_where_the_app_finds_it_wherever_backups_do(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"database_host": "behind", "database_user": "u", "database": "d", "client_image": "postgres:17"}
    one = found(FakeEngine("travel/api"), {"parameters": APP}, monkeypatch, rehearses=True, **given)
    assert (one.connection.place, one.place.host, one.place.ports) == ("behind:5432", "db.example.com", ("6432",))
    assert found(FakeEngine("travel/api"), {"parameters": {"user": "u", "dbname": "d"}}, monkeypatch).place.host == ""


def test_a_missing_image_is_pulled_and_not_in_check_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine("travel/api")
    one = found(engine, {"parameters": APP, "version": 160004}, monkeypatch)
    with pytest.raises(BadInput, match="is not on this host"):
        one.fetch(engine, False)
    assert engine.pulled == []
    assert one.fetch(engine) == one.fetch(engine) == "postgres:16" and engine.pulled == [("postgres", "16")]


@pytest.mark.parametrize("registry", [EngineFailed("no such host"), ({"status": "…"}, {"error": "no such host"})])
def test_what_cannot_be_pulled_is_refused_with_the_reason(registry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine("travel/api", registry=registry)
    with pytest.raises(BadInput) as caught:
        found(engine, {"parameters": APP}, monkeypatch).fetch(engine)
    said = caught.value.message()
    assert "cannot be pulled (no such host)" in said and "docker pull postgres:17" in said


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("postgres", ("postgres", "latest")),
        ("registry.example.com:5000/db/postgis:17-3.5", ("registry.example.com:5000/db/postgis", "17-3.5")),
        ("registry.example.com:5000/postgis", ("registry.example.com:5000/postgis", "latest")),
        ("postgres@sha256:0f", ("postgres", "sha256:0f")),
        ("registry.example.com:5000/postgis:17@sha256:0f", ("registry.example.com:5000/postgis", "sha256:0f")),
    ],
)
def test_one_tag_is_pulled(reference: str, parts: tuple[str, str]) -> None:
    engine = FakeEngine(reference)
    pull(engine, reference, 10.0)  # type: ignore[arg-type]
    assert engine.pulled == [parts]


def test_a_registry_that_says_nothing_is_not_waited_for() -> None:
    ended = threading.Event()
    engine: Any = SimpleNamespace(
        parts=lambda *words, **more: iter(lambda: ended.wait() and {}, {}), image=lambda name: {}
    )
    with pytest.raises(EngineFailed, match="not there after"):
        pull(engine, "postgres:17", 0.05)
    ended.set()


@pytest.mark.parametrize(
    ("told", "params", "said"),
    [
        ({"parameters": APP, "version": 0, "problem": "it is down"}, {}, "(it is down)"),
        ({"parameters": {**APP, "host": "pooler"}}, {}, "set backup_connection.host"),
        ({"parameters": {**APP, "host": "pg"}}, {}, "through pooler"),
        ({"vendor": "mysql"}, {}, "the app's database is mysql"),
        ({"error": "KeyError: X"}, {}, "could not be asked for its database: KeyError"),
        ({}, {"database_user": "u"}, "need database_host"),
        ({}, {"database_host": "h", "django_service": ""}, "set database_user and database"),
        ({}, {"database_host": "h", "database_password": "x", "database_password_file": "/x"}, "two passwords"),
        ({}, {"database_host": "h", "database_password_file": "/nowhere"}, "cannot be read"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    told: dict[str, Any], params: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadInput) as caught:
        found(FakeEngine("travel/api", "postgres:17"), told, monkeypatch, **params)
    assert said in caught.value.message() and PASSWORD not in caught.value.message()


def test_an_app_without_postgresql_is_no_failure_where_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine("travel/api")
    assert found(engine, {"vendor": "sqlite"}, monkeypatch, optional=True) is None
    assert found(engine, NoDjango("no Django"), monkeypatch, optional=True) is None
    # One that could not be asked may well have a database.
    with pytest.raises(BadInput, match="took longer"):
        found(engine, BadInput("took longer"), monkeypatch, optional=True)


def test_a_password_that_everybody_may_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o644)
    given = {"database_host": "h", "database_user": "u", "database": "d", "client_image": "postgres:17"}
    given["database_password_file"] = str(path)
    with pytest.raises(BadInput, match="everybody on this host may read"):
        found(FakeEngine("postgres:17"), {}, monkeypatch, **given)
    path.chmod(0o600)
    assert found(FakeEngine("postgres:17"), {}, monkeypatch, **given).server.password == PASSWORD


# -- the client ------------------------------------------------------------------------------------------


def test_the_client_has_no_rights_and_no_password_and_goes_whatever_happens() -> None:
    engine = FakeEngine()
    reach = decide.reach_of(PROJECT, "api", "db.example.com")
    with pytest.raises(RuntimeError), client(engine, "travel", "postgres:17", reach, {}, 60.0):  # type: ignore[arg-type]
        raise RuntimeError("pg_dump failed")
    ((configuration, networks, archives),) = engine.made
    assert engine.removed == ["evenkeel.backup-client=travel"] and archives == {}
    assert configuration["HostConfig"]["NetworkMode"] == "shared" and networks == ["travel_default"]
    assert configuration["HostConfig"]["CapDrop"] == ["ALL"] and "Env" not in configuration


def test_a_program_gets_the_password_by_its_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def started(argv: list[str], **how: Any) -> Any:
        seen.update(argv=argv, env=how["env"])
        raise FileNotFoundError(2, "no docker here")

    monkeypatch.setattr(subprocess, "Popen", started)
    known = connected()
    server = Server("made", known.user, known.database, known.password, known.variables)
    with pytest.raises(Exception, match="could not be started"):
        server.begin(["psql"])
    assert PASSWORD not in " ".join(seen["argv"]) and seen["env"]["PGPASSWORD"] == PASSWORD
    assert {"PGHOST", "PGPORT", "PGSSLMODE", "PGPASSWORD"} <= set(seen["argv"]) and seen["env"]["PGHOST"] == known.host


@pytest.mark.parametrize(
    ("own", "theirs", "exact", "said"),
    [
        ("pg_dump (PostgreSQL) 17.6", "170002", True, ""),
        ("pg_dump (PostgreSQL) 17.6", "160004", False, ""),
        ("pg_dump (PostgreSQL) 16.4", "170002", False, "docker pull postgres:17"),
        ("pg_dump (PostgreSQL) 17.6", "160004", True, "docker pull postgres:16"),
        ("sh: pg_dump: not found", "160004", False, "has no pg_dump"),
    ],
)
def test_a_client_that_is_too_old_and_one_that_is_too_new_to_restore(
    own: str, theirs: str, exact: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine("postgres:17")
    monkeypatch.setattr(engine, "run_inside", lambda *words, **more: (0, own), raising=False)
    monkeypatch.setattr(Server, "run", lambda *words, **more: f"{theirs}\n")
    one = external_database.ExternalDatabase(connected(), "postgres:17", decide.Reach(), 60.0, exact)
    try:
        with one.client(engine, "travel") as made:  # type: ignore[arg-type]
            assert made["Id"] == "made" and not said
    except BadInput as error:
        assert said and said in error.message()
    assert engine.removed == ["evenkeel.backup-client=travel"]


def test_a_service_and_a_host_are_two_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine("postgres:17")
    project = {**PROJECT, "services": {**PROJECT["services"], "db": {"image": "postgres:17"}}}  # type: ignore[dict-item]
    monkeypatch.setattr(
        backup_source, "compose_of", lambda project_options: SimpleNamespace(project_src="/", resolved=lambda: project)
    )
    monkeypatch.setattr(backup_source, "connect", lambda source: engine)
    given = {"database_host": "127.0.0.1", "database_user": "u", "database": "d", "client_image": "postgres:17"}
    with pytest.raises(BadInput, match="are two databases"):
        backup_source.source_of(wanted(service="db", **given))
    # What is named goes before the service that was found.
    source = backup_source.source_of(wanted(**given))
    assert source is not None and (source.service, source.server.user) == ("127.0.0.1:5432", "u")
