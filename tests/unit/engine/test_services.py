# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service is and how it is to be replaced, over Compose definitions as they are found in the wild."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.kinds import Evidence, judge
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import (
    KINDS,
    BadService,
    CommonSettings,
    Probe,
    Settings,
    chosen_kind,
    longest_gap_note,
    probes,
    seconds,
    settings_of,
    size,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.scalability import objections
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import wanted_of

DIGEST = "sha256:" + "0" * 64


def settings(service: dict[str, Any] | None = None, name: str = "api", **more: Any) -> Settings:
    """A web service's settings unless told otherwise; ``more`` are settings_of's own arguments."""
    given_ = {"evidence": Evidence(), "common": CommonSettings(), "options": {}, "port": 8000, **more}
    return settings_of(name, service or {}, **given_)


@pytest.mark.parametrize(
    ("kind", "service"),
    [
        ("web", {"command": ["gunicorn", "shop.wsgi"]}),
        ("web", {"command": ["sh", "-c", "python manage.py migrate --noinput && gunicorn shop.wsgi -b 0.0.0.0:8000"]}),
        ("web", {"command": ["bash", "-c", "python manage.py collectstatic\ngunicorn\tshop.wsgi\n"]}),
        ("web", {"command": ["sh", "-c", "python manage.py migrate;gunicorn shop.wsgi"]}),
        ("web", {"command": ["/venv/bin/uvicorn", "shop.asgi:application"]}),
        ("web", {"command": ["python", "-m", "daphne", "shop.asgi:application"]}),
        ("web", {"command": ["newrelic-admin", "run-program", "gunicorn", "-k", "uvicorn.workers.UvicornWorker"]}),
        ("web", {"entrypoint": ["/entrypoint.sh"], "command": "uwsgi --ini /etc/uwsgi.ini"}),
        ("web", {"command": ["python", "manage.py", "runserver", "0:8000"], "restart": "no"}),
        ("web", {"image": "redis", "command": ["sh", "-c", "echo it's odd; gunicorn x"]}),
        ("worker", {"command": ["celery", "-A", "shop", "worker", "-l", "info"]}),
        ("worker", {"command": ["python", "-m", "celery", "-A", "shop", "worker", "-n", "w@%h"]}),
        ("worker", {"command": ["sh", "-c", "wait-for db:5432 -- celery -A shop worker -c $$WORKERS"]}),
        ("worker", {"command": ["watchmedo", "auto-restart", "--", "celery", "--app=shop", "worker"]}),
        ("worker", {"command": ["/start-celeryworker"]}),
        ("scheduler", {"command": ["celery", "-A", "shop", "beat"]}),
        ("scheduler", {"command": ["celery", "-A", "shop", "worker", "-B", "-l", "info"]}),
        ("scheduler", {"command": ["celery", "-A", "shop", "worker", "--beat"]}),
        ("scheduler", {"command": ["sh", "-c", "celery -A shop worker & celery -A shop beat"]}),
        ("scheduler", {"command": ["bash", "/start-celerybeat"]}),
        ("other", {"command": ["celery", "-A", "shop", "flower"]}),
        ("other", {"command": ["/start-flower"]}),
        ("proxy", {"image": "nginx:1.27-alpine"}),
        ("proxy", {"image": f"registry.example.org:5000/mirror/nginx@{DIGEST}"}),
        ("proxy", {"image": "nginxinc/nginx-unprivileged:stable"}),
        ("proxy", {"image": "openresty/openresty:alpine"}),
        ("proxy", {"build": {"context": "./nginx"}, "command": ["nginx", "-g", "daemon off;"]}),
        ("proxy", {"image": "own", "command": ["sh", "-c", "while :; do sleep 6h; nginx -s reload; done & nginx"]}),
        ("other", {"image": "nginx/nginx-prometheus-exporter:1.1"}),
        ("other", {"build": {"context": "."}, "image": "nginx-like-name"}),
        ("database", {"image": "postgres:16"}),
        ("database", {"image": f"postgres:16-alpine@{DIGEST}"}),
        ("database", {"image": "registry.example.org:5000/postgis/postgis:16-3.4"}),
        ("database", {"image": "bitnami/postgresql:16"}),
        ("database", {"image": "timescale/timescaledb-ha:pg16"}),
        ("database", {"image": "pgvector/pgvector:pg16"}),
        ("database", {"image": "mariadb:11"}),
        ("database", {"image": "mongo:7"}),
        ("database", {"image": "quay.example.org/minio/minio", "command": ["server", "/data"]}),
        ("database", {"build": {"context": "."}, "command": ["minio", "server", "/data"]}),
        ("database", {"image": "docker.elastic.co/elasticsearch/elasticsearch:8.15.0"}),
        ("other", {"image": "mongo-express:1"}),
        ("other", {"image": "opensearchproject/opensearch-dashboards:2"}),
        ("database", {"build": {"context": "./db"}, "command": ["postgres", "-c", "max_connections=200"]}),
        ("other", {"image": "prometheuscommunity/postgres-exporter"}),
        ("other", {"image": "prodrigestivill/postgres-backup-local"}),
        ("broker", {"image": "redis:7-alpine", "command": ["redis-server", "--appendonly", "yes"]}),
        ("broker", {"image": "redis/redis-stack-server"}),
        ("broker", {"image": "valkey/valkey:8"}),
        ("broker", {"image": "rabbitmq:3-management"}),
        ("other", {"image": "bitnami/redis-exporter"}),
        ("other", {"image": "oliver006/redis_exporter"}),
        ("other", {"image": "rediscommander/redis-commander"}),
        ("job", {"image": "shop", "command": ["python", "manage.py", "migrate"], "restart": "no"}),
        ("other", {"image": "shop", "restart": "on-failure"}),
        ("other", {"image": "certbot/certbot", "entrypoint": ["/bin/sh", "-c", "while :; do certbot renew; done"]}),
        ("other", {}),
    ],
)
def test_kind(kind: str, service: dict[str, Any]) -> None:
    assert judge(service, Evidence()).kind == kind


def test_a_store_is_no_web_service_because_nginx_leads_to_it() -> None:
    for image in ("postgres:16", "redis:7", "minio/minio"):
        assert chosen_kind("store", {"image": image}, Evidence(), {}, 9001) in ("database", "broker")
    assert chosen_kind("store", {"image": "minio/minio"}, Evidence(), {"kind": "web"}, 9001) == "web"
    assert chosen_kind("admin", {"image": "dpage/pgadmin4"}, Evidence(), {}, 80) == "web"


def test_the_image_completes_what_the_definition_leaves_out() -> None:
    gunicorn = Evidence({"Entrypoint": ["/entrypoint.sh"], "Cmd": ["gunicorn", "shop.wsgi"]})
    assert chosen_kind("api", {}, gunicorn, {}) == "web"
    assert chosen_kind("api", {"command": ["celery", "-A", "shop", "worker"]}, gunicorn, {}) == "worker"
    assert chosen_kind("api", {"entrypoint": ["/other"]}, gunicorn, {}) == "other"
    assert chosen_kind("api", {"command": ["shop.wsgi"]}, Evidence({"Entrypoint": ["gunicorn"]}), {}) == "web"


def test_who_decides_on_the_kind() -> None:
    celery = {"command": ["celery", "-A", "shop", "worker"]}
    assert settings(celery).kind == "web", "what nginx leads to is web"
    assert settings(celery, port=0).kind == "worker"
    assert settings({**celery, "x-evenkeel": {"kind": "scheduler"}}).kind == "scheduler"
    assert settings({**celery, "x-evenkeel": {"kind": "scheduler"}}, options={"kind": "web"}).kind == "web"
    assert settings({}, port=0, evidence=Evidence({"Entrypoint": None, "Cmd": ["gunicorn", "x"]})).kind == "web"


def test_later_sources_win() -> None:
    update = {"deploy": {"update_config": {"monitor": "7s"}}}
    beside = {**update, "x-evenkeel": {"monitor": "8s"}}
    assert settings().monitor == 5
    assert settings(update).monitor == 7
    assert settings(beside).monitor == 8
    assert settings(beside, common=CommonSettings(monitor=9.0)).monitor == 9
    assert settings(beside, common=CommonSettings(monitor=None)).monitor == 8
    assert settings(beside, common=CommonSettings(monitor=9.0), options={"monitor": 0}).monitor == 0


def test_defaults_of_the_kinds() -> None:
    web, worker, beat = (settings(options={"kind": k}) for k in ("web", "worker", "scheduler"))
    assert (web.order, web.prove_seconds, web.drain_timeout, web.ready_timeout) == ("start-first", 5, 60, 120)
    assert (worker.order, worker.prove_seconds, worker.drain_timeout) == ("start-first", 0, 300)
    assert (beat.order, beat.drain_timeout) == ("stop-first", 30)
    # Docker's grace period never cuts a worker's warm shutdown short.
    assert (web.stop_timeout, worker.stop_timeout, beat.stop_timeout) == (10, 300, 10)
    assert settings({"stop_grace_period": "1m30s"}).stop_timeout == 90
    assert settings(options={"kind": "worker", "stop_timeout": 5}).stop_timeout == 5


def test_on_the_way_back_it_is_proven_and_watched_for_less_where_nobody_says_how_long() -> None:
    web, worker = (settings(options={"kind": k}, backward=True) for k in ("web", "worker"))
    assert (web.prove_seconds, web.monitor) == (2, 2) and (worker.prove_seconds, worker.monitor) == (0, 1)
    written = settings({"x-evenkeel": {"prove_seconds": 20}}, common=CommonSettings(monitor=9.0), backward=True)
    assert (written.prove_seconds, written.monitor) == (20, 9)


def test_a_scheduler_is_never_two_whatever_compose_says() -> None:
    service = {"command": ["celery", "beat"], "deploy": {"update_config": {"order": "start-first"}}}
    assert settings(service, port=0).order == "stop-first"
    for options in ({"order": "start-first"}, {}):
        more = {} if options else {"deploy": {"replicas": 2}}
        with pytest.raises(BadService, match="api: a scheduler runs once at a time"):
            settings({**service, **more}, options=options, port=0)


@pytest.mark.parametrize(
    ("replicas", "service"),
    [
        (1, {}),
        (3, {"deploy": {"replicas": 3}}),
        (2, {"scale": 2}),
        (4, {"deploy": {"replicas": 4}, "scale": 2}),
    ],
)
def test_replicas(replicas: int, service: dict[str, Any]) -> None:
    assert settings(service).replicas == replicas


@pytest.mark.parametrize("service", [{"deploy": {"replicas": 0}}, {"scale": 0}])
def test_switched_off_is_not_one(service: dict[str, Any]) -> None:
    with pytest.raises(BadService, match=r"api: replicas 0 switches it off, .*; leave it out of services"):
        settings(service)


def test_memory_from_either_spelling() -> None:
    limits = {"deploy": {"resources": {"limits": {"memory": "536870912"}, "reservations": {"memory": "256m"}}}}
    assert (settings(limits).limit, settings(limits).reservation) == (512 << 20, 256 << 20)
    old = settings({"mem_limit": "512m", "mem_reservation": "128m"})
    assert (old.limit, old.reservation) == (512 << 20, 128 << 20)


def test_the_reconcilers_view_of_it_says_the_same() -> None:
    mine = settings({"deploy": {"replicas": 2}}, options={"parallelism": 1, "drain_policy": "wait", "delay": "3s"})
    wanted = wanted_of(mine, "sha256:1", "hash")
    assert (wanted.image, wanted.config_hash) == ("sha256:1", "hash")
    for key in (
        "name",
        "kind",
        "replicas",
        "order",
        "parallelism",
        "delay",
        "monitor",
        "drain_policy",
        "prove_seconds",
    ):
        assert getattr(wanted, key) == getattr(mine, key)


# -- durations and sizes ---------------------------------------------------------------------------------


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_durations_as_compose_prints_them(hours: int, minutes: int, secs: int, milliseconds: int) -> None:
    text = f"{hours}h{minutes}m{secs}.{milliseconds:03d}s"
    assert seconds(text) == pytest.approx(hours * 3600 + minutes * 60 + secs + milliseconds / 1000)
    assert seconds(f"{milliseconds}ms") == pytest.approx(milliseconds / 1000)


@given(st.floats(0, 1e9))
def test_numbers_of_seconds_also_as_text(number: float) -> None:
    assert seconds(number) == seconds(repr(number)) == number


@pytest.mark.parametrize("text", ["5", "1.5", 7])
def test_a_bare_number(text: Any) -> None:
    assert seconds(text) == float(text)


def test_small_units_and_nothing() -> None:
    assert seconds("1.5µs") == seconds("1500ns") == pytest.approx(1.5e-6)
    assert (seconds(None, 3), seconds("", 3), seconds(0, 3)) == (3, 3, 0)


@pytest.mark.parametrize("bad", ["soon", "5x", "-5s", -5, "1m 30s", "5s!", True, float("nan"), float("inf"), [5]])
def test_what_is_no_duration(bad: Any) -> None:
    with pytest.raises(ValueError, match="is not a duration such as 30s"):
        seconds(bad)


@given(st.integers(0, 2**50), st.sampled_from(["k", "m", "g"]), st.sampled_from(["", "b", "ib", "B"]))
def test_sizes(number: int, unit: str, tail: str) -> None:
    assert size(number) == size(str(number)) == number
    small = number % 10000
    assert size(f"{small}{unit}{tail}") == size(f"{small}{unit.upper()}{tail}") == small * 1024 ** " kmg".index(unit)


def test_size_of_nothing_and_of_a_fraction() -> None:
    assert (size(None), size(""), size("1.5g"), size("0.5 kb")) == (0, 0, 3 << 29, 512)


@pytest.mark.parametrize("bad", ["much", "-1", "5x", "1e", True])
def test_what_is_no_size(bad: Any) -> None:
    with pytest.raises(ValueError, match="is not a size such as 512m"):
        size(bad)


# -- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"knid": "web"}, "service_options of api: unknown key 'knid'; known are kind, order"),
        ({"kind": "webb"}, f"api: kind 'webb' is unknown; known are {', '.join(KINDS)}"),
        ({"order": "start"}, "api: order 'start' is not supported; write one of start-first, stop-first"),
        ({"drain_policy": "kill"}, "api: drain_policy 'kill' is not supported; write one of cut, wait"),
        (
            {"failure_action": "continue"},
            "api: failure_action 'continue' is not supported; write one of rollback, pause",
        ),
        ({"ready_path": "health/"}, "api: ready_path 'health/' must start with /"),
        ({"monitor": "soon"}, "api: 'soon' is not a duration such as 30s or 1m30s"),
        ({"parallelism": "two"}, "api: parallelism 'two' is not a whole number"),
        ({"parallelism": -1}, "api: parallelism -1 is not a whole number"),
        ({"ready_successes": True}, "api: ready_successes True is not a whole number"),
        ({"ready_port": "http"}, "api: ready_port 'http' is not a whole number"),
        ({"prove": ["health/"]}, "prove of api: 'health/' is no probe: a path that starts with / is needed"),
        ({"prove": [{"path": "/ x"}]}, "prove of api: {'path': '/ x'} is no probe: a path"),
        ({"prove": [7]}, "prove of api: 7 is no probe"),
        ({"prove": [{"path": "/", "body": "x"}]}, "is no probe: unknown key 'body'; write {path: /api/, status: 200}"),
        ({"prove": [{"path": "/", "status": "ok"}]}, "status is a number such as 200, method a word such as GET"),
        ({"prove": [{"path": "/", "method": "GET /x"}]}, "status is a number such as 200, method a word such as GET"),
        ({"prove": "/health/"}, "prove of api: '/health/' is no list"),
    ],
)
def test_bad_options_are_named_with_the_way_out(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadService) as refusal:
        settings(options=options)
    assert message in str(refusal.value)


def test_bad_definitions_are_named_too() -> None:
    with pytest.raises(BadService, match=r"^x-evenkeel of api: unknown key 'probe'"):
        settings({"x-evenkeel": {"probe": 1}})
    with pytest.raises(BadService, match=r"^x-evenkeel of api: unknown key"):
        settings({"x-evenkeel": ["kind"]})
    with pytest.raises(BadService, match=r"^api: 'lots' is not a size"):
        settings({"mem_limit": "lots"})


def test_probes_in_either_form() -> None:
    entries = ["/health/", {"path": "/api/?q=a", "status": 201, "contains": "ok", "method": "head"}]
    assert probes(entries, "prove") == (Probe("/health/"), Probe("/api/?q=a", 201, "ok", "HEAD"))
    assert probes(None, "prove") == ()


# -- health commands -------------------------------------------------------------------------------------

IMAGE = {"Healthcheck": {"Test": ["CMD", "python", "check.py", "$$"], "Timeout": 3_000_000_000}}


@pytest.mark.parametrize(
    ("healthcheck", "image", "expected"),
    [
        (None, {}, ((), 30)),
        (None, IMAGE, (("python", "check.py", "$$"), 3)),
        ({"test": ["CMD", "pg_isready", "-U", "$$POSTGRES_USER"]}, {}, (("pg_isready", "-U", "$POSTGRES_USER"), 30)),
        ({"test": ["CMD-SHELL", "curl -f $$URL"], "timeout": "5s"}, IMAGE, (("/bin/sh", "-c", "curl -f $URL"), 5)),
        ({"test": "curl -f localhost"}, {}, (("/bin/sh", "-c", "curl -f localhost"), 30)),
        # What the service leaves out comes from the image, as the engine has it.
        ({"timeout": "7s"}, IMAGE, (("python", "check.py", "$$"), 7)),
        ({"test": ["CMD", "true"]}, IMAGE, (("true",), 3)),
        ({"disable": True}, IMAGE, ((), 3)),
        ({"test": ["NONE"]}, IMAGE, ((), 3)),
        (None, {"Healthcheck": {"Test": ["NONE"]}}, ((), 30)),
        (None, {"Healthcheck": {"Test": ["CMD-SHELL", "x y"], "Timeout": 0}}, (("/bin/sh", "-c", "x y"), 30)),
        (None, {"Healthcheck": {"Test": ["CMD", "x"], "Timeout": 500_000}}, (("x",), 0.0005)),
    ],
)
def test_health_command(healthcheck: Any, image: dict[str, Any], expected: tuple[tuple[str, ...], float]) -> None:
    mine = settings({"healthcheck": healthcheck} if healthcheck else {}, evidence=Evidence(image))
    assert (mine.ready_command, mine.ready_command_timeout) == expected


@pytest.mark.parametrize(
    ("healthcheck", "image", "options", "expected"),
    [
        ({"start_period": "5m0s", "interval": "10s", "retries": 6}, {}, {}, 360),
        ({"start_period": "5m0s", "interval": "10s", "retries": 6}, {}, {"ready_timeout": 20}, 20),
        ({"interval": "5s"}, {}, {}, 120),
        ({}, {"Healthcheck": {"Test": ["CMD", "x"], "StartPeriod": 200_000_000_000}}, {}, 290),
        ({"disable": True, "start_period": "5m0s"}, {}, {}, 120),
        ({}, {}, {}, 120),
    ],
)
def test_a_container_has_as_long_as_its_own_health_check_gives_it(
    healthcheck: dict[str, Any], image: dict[str, Any], options: dict[str, Any], expected: float
) -> None:
    service = {"healthcheck": healthcheck} if healthcheck else {}
    assert settings(service, evidence=Evidence(image), options=options).ready_timeout == expected


# -- objections ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "image", "words"),
    [
        ({"container_name": "api"}, {}, "container_name: api lets only one exist"),
        ({"network_mode": "host"}, {}, "network_mode: host lets only one"),
        ({"networks": {"a": None, "b": {"ipv4_address": "10.0.0.2"}}}, {}, "a fixed address in network b"),
        (
            {"networks": {"b": {"ipv6_address": "fd00::2"}}},
            {},
            "network b, which only one can hold; remove ipv6_address",
        ),
        ({"volumes": [{"type": "volume", "target": "/data"}]}, {}, "an anonymous volume at /data"),
        ({}, {"Volumes": {"/var/lib/x": {}}}, "an anonymous volume at /var/lib/x"),
    ],
)
def test_what_cannot_run_twice(service: dict[str, Any], image: dict[str, Any], words: str) -> None:
    found = objections("api", service, settings(service), image)
    assert len(found) == 1
    assert found[0].startswith("api: ") and words in found[0]
    assert objections("api", service, settings(service, options={"order": "stop-first"}), image) == []


def test_what_can_run_twice() -> None:
    service = {
        "ports": [{"target": 8000}],
        "networks": {"default": None},
        "volumes": [{"type": "volume", "source": "media", "target": "/media"}, {"type": "bind", "target": "/b"}],
        "tmpfs": ["/run:size=8m"],
    }
    image = {"Volumes": {"/media": {}, "/run": {}}}
    assert objections("api", service, settings(service), image) == []


def test_a_note_where_a_plain_stop_would_cut_requests() -> None:
    note = longest_gap_note(settings({"stop_grace_period": "9s"}))
    assert note and "stop_grace_period is 9 s while requests may take up to 60 s" in note
    assert longest_gap_note(settings({"stop_grace_period": "10s"})) is None
    assert longest_gap_note(settings({"stop_grace_period": "1s"}, options={"kind": "worker"})) is None


def test_a_canary_is_asked_of_one_service_besides_what_is_always_asked() -> None:
    own = {"x-evenkeel": {"prove": ["/"]}}
    asked = {"canary": [{"path": "/tours/1/", "contains": "EUR"}], "canary_service": "api"}
    canary = Probe("/tours/1/", contains="EUR")
    assert settings(own, common=CommonSettings(**asked)).prove == (Probe("/"), canary)
    assert settings(own, common=CommonSettings(**asked), options={"prove": ["/x"]}).prove == (Probe("/x"), canary)
    assert settings(own, "other", common=CommonSettings(**asked)).prove == (Probe("/"),)
    assert settings(own, "other", common=CommonSettings(canary=asked["canary"])).prove == (Probe("/"), canary)
    with pytest.raises(BadService, match="canary"):
        settings(own, common=CommonSettings(canary=[{"path": "nowhere"}]))
