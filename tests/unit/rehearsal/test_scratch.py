# SPDX-License-Identifier: GPL-3.0-or-later
"""The scratch copy that an app's tests run in: nothing of it leads to production, and everything has its name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.rehearsal import scratch

SOURCE = "/srv/travel/releases/20261120T084911Z-5d33865"
COPY = f"/srv/travel/mounts/{'a' * 64}"
KINDS = {"api": "web", "db": "database", "redis": "broker", "nginx": "proxy", "search": "other"}
#: Each would let the tests out, or somebody in.
LEADS_OUT = {
    "network_mode": "host",
    "privileged": True,
    "pid": "host",
    "ipc": "host",
    "devices": ["/dev/sda"],
    "extra_hosts": {"db.example.com": ["10.0.0.5"]},
    "dns": ["10.0.0.1"],
    "external_links": ["other_db_1:db"],
    "links": ["db:the-db"],
    "volumes_from": ["container:x"],
    "ports": [{"published": "5432", "target": 5432}],
    "container_name": "travel-db",
    "depends_on": {"search": {"condition": "service_started"}},
    "labels": {"traefik.enable": "true"},
    "cgroup_parent": "x",
    "userns_mode": "host",
    "build": {"context": "."},
    "profiles": ["x"],
    "restart": "always",
    "logging": {"driver": "syslog"},
    "networks": {"default": {"aliases": ["ledger"], "ipv4_address": "10.0.0.9"}, "office": {}},
}


def project(**services: Any) -> dict[str, Any]:
    known = {
        "api": {"environment": {"A": "1"}},
        "db": {"environment": {"POSTGRES_DB": "shop"}},
        "redis": {},
        "nginx": {},
    }
    return {
        "name": "travel",
        "services": {n: {**known.get(n, {}), **services.get(n, {})} for n in {**known, **services}},
    }


def made(given: dict[str, Any], words: tuple[str, ...] = ("pytest",), files: tuple[str, ...] = ()) -> dict[str, Any]:
    images = {n: f"{n}:1" for n in given["services"]}
    return scratch.scratch_project(given, "api", ["db", "redis"], images, words, "travel-tests-1", SOURCE, files)


def mount(source: str, read_only: bool = False, kind: str = "bind") -> dict[str, Any]:
    return {"type": kind, "source": source, "target": "/x", **({"read_only": True} if read_only else {})}


@pytest.mark.parametrize("service", ["api", "db"])
@pytest.mark.parametrize("key", LEADS_OUT)
def test_nothing_leads_out(service: str, key: str) -> None:
    given = project(**{service: {key: LEADS_OUT[key]}})
    kept = json.dumps(given)
    result = made(given)
    assert json.dumps(given) == kept
    (name,) = result["networks"]
    assert result["networks"][name]["internal"] is True
    assert result["networks"][name]["driver_opts"] == {"com.docker.network.bridge.inhibit_ipv4": "true"}
    for one in result["services"].values():
        assert list(one["networks"]) == [name] and set(one["networks"][name]) <= {"aliases"}
        assert one["labels"] == {scratch.LABEL: "travel"} and one["restart"] == "no"
        assert one["logging"]["driver"] == "json-file" and one["volumes"] == []
        assert not set(one) & (set(LEADS_OUT) - {"networks", "labels", "restart", "logging"})
    assert set(result["services"]) == {"db", "redis", scratch.TESTS}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (mount("pgdata", kind="volume"), False),
        (mount("media", True, kind="volume"), False),
        (mount("/srv/travel/shared/media"), False),
        (mount("/srv/travel/shared/media", True), False),
        (mount("/var/run/postgresql", True), False),
        (mount("/var/run/docker.sock", True), False),
        (mount("/srv/secret.json"), False),
        (mount("/srv/secret.json", True), True),
        (mount(f"{COPY}/redis.conf"), True),
        (mount(COPY), True),
        (mount(SOURCE), True),
        (mount(f"{SOURCE}/conf", True), True),
        (mount(f"{SOURCE}/media"), False),
        (mount(f"{SOURCE}-other/conf", True), False),
    ],
)
def test_only_code_and_configuration_is_mounted_and_never_to_be_written(given: dict[str, Any], kept: bool) -> None:
    for service in ("api", "db"):
        result = made(project(**{service: {"volumes": [given]}}), files=("/srv/secret.json",))
        found = result["services"][scratch.TESTS if service == "api" else service]["volumes"]
        assert found == ([{**given, "read_only": True}] if kept else [])


def test_what_keeps_nothing_stays_as_it_is() -> None:
    tmpfs = {"type": "tmpfs", "target": "/tmp"}
    result = made(project(api={"volumes": [tmpfs]}))
    assert result["services"][scratch.TESTS]["volumes"] == [tmpfs]


def test_servers_run_as_they_do_in_production_by_all_their_names() -> None:
    health = {
        "test": ["CMD", "pg_isready"],
        "interval": "30s",
        "start_period": "1m",
        "start_interval": "5s",
        "timeout": "3s",
    }
    given = project(
        api={"links": ["db:the-db", "redis"]},
        db={
            "command": ["postgres", "-c", "x=$$y"], "hostname": "pg", "container_name": "travel-db", "healthcheck": health,
            "networks": {"default": {"aliases": ["ledger"]}}, "secrets": [{"source": "password"}],
            "deploy": {"replicas": 1, "resources": {"limits": {"memory": "512m"}, "reservations": {"memory": "1g"}}},
        },
    )  # fmt: skip
    given["secrets"] = {"password": {"file": "/srv/password"}, "other": {"file": "/srv/other"}}
    result = made(given)
    db = result["services"]["db"]
    assert db["networks"]["scratch"]["aliases"] == ["db", "travel-db", "pg", "ledger", "the-db"]
    assert (db["image"], db["command"], db["hostname"]) == ("db:1", ["postgres", "-c", "x=$$y"], "pg")
    assert db["environment"] == {"POSTGRES_DB": "shop"}
    assert db["healthcheck"] == {"test": ["CMD", "pg_isready"], "interval": "1s", "retries": 300, "timeout": "3s"}
    assert db["deploy"] == {"resources": {"limits": {"memory": "512m"}}}
    assert result["secrets"] == {"password": {"file": "/srv/password"}}
    assert "healthcheck" not in made(project(db={"healthcheck": {"disable": True}}))["services"]["db"]


def test_tests_stand_in_the_place_of_the_entrypoint() -> None:
    given = project(api={"entrypoint": ["/entrypoint.sh"], "command": ["gunicorn"], "hostname": "api", "user": "shop"})
    api = made(given, ("sh", "-c", "echo $HOME"))["services"][scratch.TESTS]
    assert (api["entrypoint"], api["command"]) == (["sh"], ["-c", "echo $$HOME"])
    assert api["healthcheck"] == {"disable": True} and api["user"] == "shop" and "hostname" not in api
    assert api["environment"] == {"A": "1", "PYTHONUNBUFFERED": "1"}


def test_servers_are_databases_and_brokers_that_are_switched_on() -> None:
    given = project(replica={"deploy": {"replicas": 0}})
    assert scratch.servers_of(given, {**KINDS, "replica": "database"}) == ["db", "redis"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, ()),
        ("", ()),
        ([], ()),
        ("manage.py test --noinput", ("python", "manage.py", "test", "--noinput")),
        ("./manage.py test 'a b'", ("python", "./manage.py", "test", "a b")),
        (["pytest", "-n", 2], ("pytest", "-n", "2")),
        ("python3.13 manage.py test", ("python3.13", "manage.py", "test")),
    ],
)
def test_commands(given: Any, words: tuple[str, ...]) -> None:
    assert scratch.command_of(given) == words


@pytest.mark.parametrize("given", ["manage.py 'test", {"a": 1}, [["pytest"]], 5, "  ", [""]])
def test_what_is_no_command(given: Any) -> None:
    with pytest.raises(scratch.BadCommand, match="is no command"):
        scratch.command_of(given)


@pytest.mark.parametrize(
    ("engine", "host", "words", "said"),
    [
        ("django.db.backends.postgresql", "db", (), ""),
        ("django.db.backends.postgresql", "db,ledger", (), ""),
        ("django.db.backends.postgresql", "db,managed.example.com", (), "at managed.example.com"),
        ("django.db.backends.postgresql", "", (), "not named by a host"),
        ("django.db.backends.postgresql", "localhost", (), "at localhost"),
        ("django.db.backends.postgresql", "managed", ("manage.py", "test", "--settings=shop.test"), ""),
        ("django.db.backends.postgresql", "managed", ("pytest", "--ds", "shop.test"), ""),
        ("django.db.backends.postgresql", "managed", ("sh", "-c", "DJANGO_SETTINGS_MODULE=t pytest"), ""),
        ("django.db.backends.postgresql", "managed", ("pytest", "--durations=5"), "at managed"),
        ("django.contrib.gis.db.backends.spatialite", "", (), ""),
        ("django.db.backends.sqlite3", "", (), ""),
        ("django.db.backends.dummy", "", (), ""),
    ],
)
def test_a_database_elsewhere_is_out_of_reach(engine: str, host: str, words: tuple[str, ...], said: str) -> None:
    told = scratch.out_of_reach([{"alias": "default", "engine": engine, "host": host}], ["db", "ledger"], words)
    assert (said in told) if said else told == ""


@pytest.mark.parametrize(
    ("exposed", "more", "port"),
    [
        ({"5432/tcp": {}}, {}, 5432),
        ({"4369/tcp": {}, "5672/tcp": {}, "15692/tcp": {}}, {}, 5672),
        ({"11211/udp": {}}, {}, 0),
        (None, {"expose": ["6379"]}, 6379),
        ({"9999/tcp": {}}, {}, 0),
    ],
)
def test_the_port_that_is_waited_for(exposed: Any, more: dict[str, Any], port: int) -> None:
    assert scratch.awaited_port({"ExposedPorts": exposed}, more) == port
