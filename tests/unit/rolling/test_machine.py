# SPDX-License-Identifier: GPL-3.0-or-later
"""Acts on several containers at once: an act is over when every part of it is. And what containers are asked."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import processes, processor_share
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import EngineFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.kinds import Evidence
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import CommonSettings, settings_of
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.config import Route
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.machine import ComposeMachine
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.roller import StepFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.targets import Target


class Slow:
    """An engine on which the first removal fails at once, and each other one takes its time."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.lock = threading.Lock()

    def remove(self, container_id: str, **_options: Any) -> None:
        with self.lock:
            self.begun.append(container_id)
        if container_id == "c0":
            raise EngineFailed("no space left on device")
        time.sleep(0.05)
        with self.lock:
            self.ended.append(container_id)


def test_nothing_goes_on_or_begins_once_an_act_has_failed() -> None:
    engine = Slow()
    compose: Any = None
    machine = ComposeMachine(compose, cast(Any, engine), "shop", [])
    ids = [f"c{number}" for number in range(20)]
    with pytest.raises(StepFailed, match="c0 could not be removed: no space left"):
        machine.remove(ids)
    at_the_end = (sorted(engine.begun), sorted(engine.ended))
    time.sleep(0.2)
    assert at_the_end == (sorted(engine.begun), sorted(engine.ended)) == (sorted(ids), sorted(ids[1:]))


class Ending:
    """An engine that notes what it is told."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def containers(self, *_asked: Any) -> list[dict[str, Any]]:
        labels = {"com.docker.compose.service": "api"}
        return [
            {"Id": name, "Name": f"/{name}", "Image": "sha256:1", "Config": {"Labels": labels}} for name in ("c1", "c2")
        ]

    def stop(self, container_id: str, _seconds: float) -> None:
        self.told.append(f"stop {container_id}")


def test_only_what_is_idle_has_less_of_the_processors_while_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    compose: Any = None
    monkeypatch.setattr(processor_share, "lower", lambda _pid: told.append("lower"))
    settings = settings_of("api", {"command": ["gunicorn", "x"]}, Evidence(), CommonSettings(), {})
    machine = ComposeMachine(compose, cast(Any, Ending(told)), "shop", [Target(settings, "sha256:1", "new", ())])
    machine.look()
    machine.stop(["c1"])
    assert told == ["stop c1"]
    machine.stop(["c2"], {"c2"})
    assert told == ["stop c1", "lower", "stop c2"]


@contextmanager
def answering(versions: dict[str, dict[str, int]]) -> Iterator[int]:
    """Serves at several addresses of this machine, of each what it answers at which path; gives the port of all."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = versions[str(self.connection.getsockname()[0])]
            self.send_response(known.get(self.path, 404))
            self.end_headers()

        def log_message(self, *_words: Any) -> None:
            pass

    with socket.socket() as free:
        free.bind(("127.0.0.2", 0))
        port = int(free.getsockname()[1])
    with ExitStack() as stack:
        for address in versions:
            server = stack.enter_context(ThreadingHTTPServer((address, port), Handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        yield port


class Running:
    """An engine that runs a container of api at each address; what its configuration hash is, is told."""

    def __init__(self, hashes: dict[str, str]) -> None:
        self.hashes = hashes

    def containers(self, *_asked: Any) -> list[dict[str, Any]]:
        return [
            {
                "Id": address, "Name": f"/shop-api-{address}", "Image": "sha256:1",
                "Config": {"Labels": {
                    "com.docker.compose.service": "api", "com.docker.compose.config-hash": known}},
                "State": {"Pid": os.getpid(), "Running": True, "Status": "running", "StartedAt": "2026-01-01T00:00:00Z"},
                "NetworkSettings": {"Networks": {"shop_default": {"IPAddress": address}}},
            }
            for address, known in self.hashes.items()
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("new", "ready"),
    [({"/healthz": 200}, True), ({"/healthz": 401}, False), ({"/healthz": 503}, False), ({"/": 200}, True)],
)
def test_without_a_health_command_an_api_is_asked_where_the_site_is(new: dict[str, int], ready: bool) -> None:
    compose: Any = None
    with answering({"127.0.0.2": {"/healthz": 200}, "127.0.0.3": new}) as port:
        common = CommonSettings(health_url="https://shop.example/healthz")
        settings = settings_of("api", {"command": ["gunicorn", "x"]}, Evidence(), common, {}, port)
        engine = Running({"127.0.0.2": "old", "127.0.0.3": "new"})
        target = Target(settings, "sha256:1", "new", (Route("api", port),))
        machine = ComposeMachine(compose, cast(Any, engine), "shop", [target])
        machine.look()
        assert machine.ready(["127.0.0.3"])["127.0.0.3"].ok is ready


@pytest.mark.parametrize(
    ("old", "new", "proven"),
    [
        ({"/": 404, "/api/": 200}, {"/": 404, "/api/": 200}, True),
        ({"/": 200, "/api/": 200}, {"/": 404, "/api/": 200}, False),
        ({"/": 404, "/api/": 200}, {"/": 500, "/api/": 200}, False),
        ({"/": 404, "/api/": 200}, {"/": 404, "/api/": 404}, False),
        ({"/": 500, "/api/": 500}, {"/": 500, "/api/": 200}, False),
    ],
)
def test_what_nginx_answers_itself_is_not_asked_of_the_app(
    old: dict[str, int], new: dict[str, int], proven: bool
) -> None:
    """The page of a front end that nginx serves is among what users ask; an API has nothing there, as ever."""
    compose: Any = None
    with answering({"127.0.0.2": old, "127.0.0.3": new}) as port:
        settings = settings_of(
            "api", {"command": "gunicorn x"}, Evidence(), CommonSettings(prove=["/api/", "/"]), {}, port, proxied=True
        )
        # It may publish a port besides.
        ports = ({"target": port, "host_ip": "127.0.0.1"},)
        target = Target(settings, "sha256:1", "new", (Route("api", port, "shop.example"),), surge_ports=ports)
        engine = Running({"127.0.0.2": "old", "127.0.0.3": "new"})
        machine = ComposeMachine(compose, cast(Any, engine), "shop", [target])
        machine.look()
        answer = machine.prove(["127.0.0.3"], True)["127.0.0.3"]
    assert answer.ok is proven, answer


class Several:
    """An engine that runs containers, of each whose service, address and configuration hash are told."""

    def __init__(self, known: list[tuple[str, str, str]]) -> None:
        self.known = known

    def containers(self, *_asked: Any) -> list[dict[str, Any]]:
        every = []
        for service, address, config in self.known:
            (inspection,) = Running({address: config}).containers()
            inspection["Config"]["Labels"]["com.docker.compose.service"] = service
            every.append(inspection)
        return every


def test_only_those_that_users_are_led_to_count_where_questions_are_asked_side_by_side() -> None:
    """A worker that is watched meanwhile is asked nothing."""
    compose: Any = None
    known = [("api", "127.0.0.2", "old"), ("api", "127.0.0.3", "new")]
    known += [("celery", f"127.0.0.{number}", "new") for number in range(4, 10)]
    asked: list[str] = []

    class Counts(dict[str, int]):
        def get(self, path: str, _otherwise: Any = None) -> int:
            asked.append(path)
            return 200

    with answering({"127.0.0.2": Counts(), "127.0.0.3": Counts()}) as port:
        api = settings_of("api", {"command": "gunicorn x"}, Evidence(), CommonSettings(prove=["/"]), {}, port)
        celery = settings_of("celery", {"command": "celery worker"}, Evidence(), CommonSettings(), {})
        to_the_old = SimpleNamespace(inside={"127.0.0.2"}, held=False, stale=False, cooling=False)
        led: Any = {"steering": SimpleNamespace(look=lambda *_words: to_the_old), "door": object()}
        targets = [
            Target(api, "sha256:1", "new", (Route("api", port),), **led),
            Target(celery, "sha256:1", "new", ()),
        ]
        machine = ComposeMachine(compose, cast(Any, Several(known)), "shop", targets)
        machine.look()
        answers = machine.prove([address for _service, address, config in known if config == "new"], False)
    assert all(answer.ok for answer in answers.values())
    # Once to be judged, once to see how long it takes, and eight times at once.
    assert len(asked) == 10


def test_connections_are_counted_of_those_alone_that_users_may_have_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel looks through its whole table for each of them: milliseconds, several times in each second of a roll."""
    compose: Any = None
    counted: list[int] = []
    monkeypatch.setattr(processes, "connections", lambda _pid, *ports: counted.extend(ports) or 3)
    api = settings_of("api", {"command": "gunicorn x"}, Evidence(), CommonSettings(), {}, 8000)
    to = SimpleNamespace(inside={"127.0.0.2"}, held=False, stale=False, cooling=False)
    led: Any = {"steering": SimpleNamespace(look=lambda *_words: to), "door": object()}
    engine = Several([("api", "127.0.0.2", "old"), ("api", "127.0.0.3", "old")])
    target = Target(api, "sha256:1", "new", (Route("api", 8000),), **led)
    machine = ComposeMachine(compose, cast(Any, engine), "shop", [target])

    def connections() -> dict[str, int]:
        counted.clear()
        seen = {c.id: c.connections for c in machine.look().containers}
        assert len(counted) == sum(map(bool, seen.values()))
        return seen

    # Of one that was there before this run, the run before may have led users away.
    assert connections() == {"127.0.0.2": 0, "127.0.0.3": 3}
    engine.known.append(("api", "127.0.0.4", "new"))
    assert connections() == {"127.0.0.2": 0, "127.0.0.3": 3, "127.0.0.4": 0}
    to.inside = {"127.0.0.4"}
    assert connections() == {"127.0.0.2": 3, "127.0.0.3": 3, "127.0.0.4": 0}
    to.inside = {"127.0.0.2"}
    assert connections() == {"127.0.0.2": 0, "127.0.0.3": 3, "127.0.0.4": 3}
