# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's shell: what it sees of an engine, how it listens, acts, keeps out of the way and ends."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.files import FilesFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.processes import Process, is_listening
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import EngineBarred, EngineFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.guard.guard import Memory
from ansible_collections.evenkeel.deploy.plugins.module_utils.guard.host import guard, view
from ansible_collections.evenkeel.deploy.plugins.module_utils.guard.host.info import is_guarded
from ansible_collections.evenkeel.deploy.plugins.module_utils.guard.host.view import Deployment, View, long_known
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host.nginx import Nginx, NginxFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.syntax import load
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.journal import Keeper
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.lease import Operation

ROOT = Path(__file__).parents[3]
DUMP = """# configuration file /etc/nginx/nginx.conf:
http {
    upstream pool { server web:8000; server backup.example.org:80; }
    server { location / { proxy_pass http://API:8000; } location /p { proxy_pass http://pool; }
             location /u { proxy_pass http://unix:/run/x.sock; } location /6 { proxy_pass http://[::1]:80; } }
    server { resolver 127.0.0.11 valid=5s; set $x soon; location / { proxy_pass http://$x:8000; } }
}
"""
LATER = """
    server { resolver 127.0.0.11; set $y later; location / { proxy_pass http://$y:8000; } }
    server { location / { proxy_pass http://$http_x:8000; } }
}
"""


def test_the_names_that_are_long_known() -> None:
    assert long_known(load(DUMP.rstrip().rstrip('}') + LATER)) == {
        "api": frozenset({8000}), "web": frozenset({8000}), "backup.example.org": frozenset({80}),
        "later": frozenset({8000}),
    }  # fmt: skip


TABLE = """  sl  local_address rem_address   st
   0: 00000000:1F40 00000000:0000 0A 0
   1: 0100007F:1F41 00000000:0000 0A 0
   2: 030011AC:1F42 020011AC:D431 01 0
"""


@pytest.mark.parametrize(("port", "listens"), [(8000, True), (8001, False), (8002, False), (8003, False)])
def test_who_listens(port: int, listens: bool) -> None:
    assert is_listening(TABLE, port) == listens


# -- an engine of our own ------------------------------------------------------------------------------------


class Docker:
    """Containers of a project, as the engine shows them."""

    def __init__(self) -> None:
        self.boxes: dict[str, dict[str, Any]] = {}
        self.add("nginx", "172.18.0.2", 900)
        self.add("api", "172.18.0.3", 901)
        self.add("web", "172.18.0.4", 902)

    def add(self, service: str, address: str, pid: int) -> None:
        network = {"NetworkID": "net-1", "IPAddress": address, "Aliases": [service, f"{service}-alias"]}
        self.boxes[service] = {
            "Id": f"{service}-0123456789abcdef",
            "Name": f"/travel-{service}-1",
            "State": {"Pid": pid, "Running": bool(pid), "StartedAt": "2026-11-20T10:00:00.5Z"},
            "Created": "2026-11-20T09:00:00.5Z",
            "Config": {"Labels": {"com.docker.compose.project": "travel", "com.docker.compose.service": service}},
            "NetworkSettings": {"Networks": {"travel_default": network}},
        }

    def running(self) -> list[dict[str, Any]]:
        return [{**b, "Labels": b["Config"]["Labels"]} for b in self.boxes.values() if b["State"]["Pid"]]

    def inspect(self, key: str) -> dict[str, Any]:
        return next((b for b in self.boxes.values() if b["Id"] == key), {})


class World:
    """The engine, and an nginx whose workers, pins and reloads are ours."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.docker = Docker()
        self.loaded = 1000.0
        self.reloads = 0
        self.refuses = ""
        self.dump = DUMP
        self.uptime = 2000.0
        self.started = {901: 10.0, 902: 10.0}
        monkeypatch.setattr(view, "uptime", lambda: self.uptime)
        monkeypatch.setattr(view, "since_boot", lambda moment: moment)
        monkeypatch.setattr(guard, "Engine", lambda **_options: self.docker)
        monkeypatch.setattr(
            view.processes, "process", lambda pid: Process(pid, 1, self.started.get(pid, 5.0), "python")
        )
        monkeypatch.setattr(view.processes, "listens", lambda pid, port: True)
        monkeypatch.setattr(Nginx, "workers", lambda nginx: list(self.workers(nginx)))
        monkeypatch.setattr(Nginx, "pins", lambda nginx: {})
        monkeypatch.setattr(Nginx, "dump", lambda nginx: self.dump)
        monkeypatch.setattr(Nginx, "reload", lambda nginx: self.reload())

    def workers(self, nginx: Nginx) -> list[Process]:
        title = "nginx: worker process"
        return [Process(9001, 900, self.loaded, title), Process(9000, 900, 1.0, f"{title} is shutting down")] * (
            nginx.pid == 900
        )

    def reload(self) -> None:
        if self.refuses:
            raise NginxFailed(self.refuses)
        self.reloads += 1
        self.loaded = self.uptime

    def move_api(self) -> None:
        self.docker.add("api", "172.18.0.9", 911)
        self.started[911] = self.uptime


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def watch(world: World, said: list[str], tmp_path: Path) -> guard.Guard:
    return guard.Guard("travel", str(tmp_path / "state"), said.append)


def test_it_sees_whom_nginx_leads_to(world: World) -> None:
    (watched,) = View(world.docker, "travel").look()  # type: ignore[arg-type]
    names = {name.host: [b.addresses for b in name.backends] for name in watched.seen.names}
    assert names == {"api": [{"172.18.0.3"}], "web": [{"172.18.0.4"}], "backup.example.org": []}
    assert watched.seen.loaded == 1000.0
    assert View(world.docker, "other").look() == []  # type: ignore[arg-type]


def test_an_alias_and_a_name_with_its_network_are_found_and_other_networks_are_not(world: World) -> None:
    world.dump = (
        "# configuration file /n:\nhttp { server { location /1 { proxy_pass http://api-alias; } "
        "location /2 { proxy_pass http://travel-web-1.travel_default; } location /3 { proxy_pass http://far; } } }\n"
    )
    world.docker.add("far", "172.19.0.9", 903)
    world.docker.boxes["far"]["NetworkSettings"]["Networks"]["travel_default"]["NetworkID"] = "net-2"
    (watched,) = View(world.docker, "travel").look()  # type: ignore[arg-type]
    assert {n.host: len(n.backends) for n in watched.seen.names} == {
        "api-alias": 1, "travel-web-1.travel_default": 1, "far": 0,
    }  # fmt: skip


def test_it_waits_a_moment_and_has_nginx_loaded_again(world: World, watch: guard.Guard, said: list[str]) -> None:
    assert watch.look() == guard.SAFETY
    assert watch.hearing.networks == {"net-1"}
    world.move_api()
    assert watch.look() == 1.0
    world.uptime += 1
    watch.look()
    assert world.reloads == 1
    assert watch.look() == guard.SAFETY
    assert said == [
        "guarding travel: travel-nginx-1 (api, web)",
        "travel-nginx-1 was reloaded: api is at 172.18.0.9 now and api is no more at 172.18.0.3",
    ]


def test_a_refusal_is_said_once(world: World, watch: guard.Guard, said: list[str]) -> None:
    watch.look()
    world.move_api()
    world.refuses = "travel-nginx-1: nginx refuses its configuration: a semicolon is missing"
    watch.look()
    for _attempt in range(5):
        world.uptime += 700
        watch.look()
    assert world.reloads == 0
    assert len([line for line in said if "refuses" in line]) == 1
    world.refuses = ""
    world.uptime += 700
    watch.look()
    assert world.reloads == 1


def test_it_keeps_out_of_the_way_of_an_act(world: World, watch: guard.Guard, tmp_path: Path) -> None:
    state = tmp_path / "state"
    keeper = Keeper(str(state))
    token = keeper.take(Operation("update", "travel", "v2"), "anna").lock.token
    watch.look()
    world.move_api()
    watch.look()
    world.uptime += 10
    with keeper.act(token, "rotate api"):
        assert watch.look() == guard.ACT_RETRY
    assert world.reloads == 0
    watch.look()
    assert world.reloads == 1


def test_between_modules_nobody_works(tmp_path: Path) -> None:
    deployment = Deployment(str(tmp_path / "state"))
    assert not deployment.busy()
    with deployment.still() as still:
        assert still
    assert not (tmp_path / "state").exists()
    keeper = Keeper(str(tmp_path / "state"))
    keeper.take(Operation("update", "travel", "v2"), "anna")
    assert not deployment.busy()
    token = keeper.take(Operation("x", "travel", ""), "anna", over=True, alone=True).lock.token
    assert deployment.busy()
    keeper.release(token)
    assert not deployment.busy()
    with deployment.still() as still, open(tmp_path / "state/lock.guard", "rb") as other:
        assert still
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_lock_that_may_not_be_read_is_refused_by_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").mkdir()
    # Root may read everything.
    monkeypatch.setattr(os, "access", lambda *_asked: False)
    with pytest.raises(FilesFailed, match="may not be read"):
        Deployment(str(tmp_path / "state"))


def test_nothing_secret_is_said_of_a_configuration_that_cannot_be_read(
    world: World, watch: guard.Guard, said: list[str]
) -> None:
    world.dump = "# configuration file /n:\nhttp { server { location / { proxy_pass hunter2://token; } } }\n"
    watch.look()
    watch.look()
    assert "hunter2" not in str(said)
    assert len([line for line in said if "cannot be read safely" in line]) == 1


def test_an_engine_that_is_gone_is_said_once_and_waited_for(
    world: World, watch: guard.Guard, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_args: Any, **_kwargs: Any) -> Any:
        raise EngineFailed("no Docker engine answers on this host")

    monkeypatch.setattr(world.docker, "running", gone)
    monkeypatch.setattr(guard, "Engine", gone)
    watch.look()
    watch.look()
    assert said == ["no Docker engine answers on this host"]


# -- events --------------------------------------------------------------------------------------------------


class Streams:
    """Engines one after the other: what each connection gives, or how it fails."""

    def __init__(self, *each: Any) -> None:
        self.each = list(each)

    def __call__(self, timeout: int = 0) -> Streams:
        if isinstance(self.each[0], Exception):
            raise self.each.pop(0)
        return self

    def events(self, _filters: object, _since: float) -> Iterator[Any]:
        yield from self.each.pop(0)


def test_it_comes_back_to_the_engine_with_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    down = EngineFailed("no Docker engine answers on this host")
    monkeypatch.setattr(guard, "Engine", Streams([1, 2], down, down, down, [3], EngineBarred("no permission")))
    words: guard.SimpleQueue[guard.Word] = guard.SimpleQueue()
    said: list[str] = []
    pauses: list[float] = []
    with pytest.raises(EngineBarred):
        guard.Events(words, said.append).follow(pauses.append)
    # One for each connection, and one for each event.
    assert words.qsize() == 5
    assert pauses == [1, 2, 4, 8, 16]
    assert said == [
        "the Docker engine ended the connection; waiting for the engine",
        "the Docker engine answers again",
        "the Docker engine ended the connection; waiting for the engine",
    ]


def test_what_happens_elsewhere_on_a_busy_host_is_none_of_its_business() -> None:
    hearing = view.Hearing("travel")

    def heard(kind: str, action: str, key: str, **attributes: str) -> bool:
        return hearing.concerns({"Type": kind, "Action": action, "Actor": {"ID": key, "Attributes": attributes}})

    mine = {"com.docker.compose.project": "travel"}
    assert heard("container", "start", "c1", **mine)
    assert not heard("container", "start", "c2", **{"com.docker.compose.project": "other"})
    assert not heard("network", "connect", "net-1", container="c3")
    hearing.networks = frozenset({"net-1"})
    assert not heard("network", "connect", "net-2", container="c3")
    # Another project's container on the same network as nginx: connected, started, ended.
    assert heard("network", "connect", "net-1", container="c3")
    assert heard("container", "start", "c3")
    assert heard("container", "die", "c3")
    assert not heard("container", "start", "c3")


# -- as a process --------------------------------------------------------------------------------------------


@pytest.fixture
def lib(tmp_path: Path) -> Path:
    """The copy that the role makes."""
    kept = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "plugins/module_utils", tmp_path / "lib/evenkeel", ignore=kept)
    return tmp_path / "lib"


GUARD = ("-m", "evenkeel.guard.host.guard")
# Hands the signal to a thread that is not the main one, as the kernel may.
TOLD_ELSEWHERE = """
import signal, sys, threading
from evenkeel.guard.host.guard import main
def tell():
    sys.stdin.readline()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
threading.Thread(target=tell, daemon=True).start()
sys.exit(main())
"""


def begin(lib: Path, *program: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-s", "-B", *program, "--app", "travel", "--state-dir", "/nonexistent"]
    pipe, nobody = subprocess.PIPE, {"DOCKER_HOST": f"unix://{lib}/none.sock"}
    return subprocess.Popen(words, cwd=lib, env=nobody, stdin=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("program", [GUARD, ("-c", TOLD_ELSEWHERE)], ids=["main thread", "another thread"])
def test_without_an_engine_it_waits_and_ends_cleanly_when_told_to(lib: Path, program: tuple[str, ...]) -> None:
    with begin(lib, *program) as running:
        try:
            assert running.stdin and running.stderr
            assert "no Docker engine answers on this host" in running.stderr.readline()
            if program is GUARD:
                running.terminate()
            else:
                running.stdin.write("\n")
                running.stdin.flush()
            assert running.wait(60) == 0
        finally:
            running.kill()


def test_without_permission_it_says_so_and_does_not_try_again(lib: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def barred(*_args: Any, **_kwargs: Any) -> Any:
        raise EngineBarred("no permission on the Docker socket; run with become: true")

    monkeypatch.setattr(guard, "Engine", barred)
    for changed in ("signal", "set_wakeup_fd"):
        monkeypatch.setattr(guard.signal, changed, lambda *_args, **_kwargs: None)
    said: list[str] = []
    assert guard.Guard("travel", "/nonexistent", said.append).run() == guard.BARRED == 78
    assert said == ["the guard of travel cannot go on: no permission on the Docker socket; run with become: true"]


def test_its_process_is_known_by_its_command_line() -> None:
    mine = ["/usr/bin/python3", "-s", "-B", "-m", "evenkeel.guard.host.guard", "--app", "travel", "--state-dir", "/srv"]
    assert is_guarded("travel", [["sh"], mine])
    assert not is_guarded("trav", [mine])
    assert not is_guarded("travel", [["grep", "evenkeel.guard.host.guard", "--app", "travel"], []])


# -- the role ------------------------------------------------------------------------------------------------


def test_the_role_installs_the_collections_own_version() -> None:
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    assert yaml.safe_load((ROOT / "roles/guard/vars/main.yml").read_text())["guard_version"] == version
    assert (
        f"RestartPreventExitStatus={guard.BARRED}"
        in (ROOT / "roles/guard/templates/evenkeel-guard.service.j2").read_text()
    )


def test_a_memory_is_forgotten_with_its_nginx(world: World, watch: guard.Guard) -> None:
    watch.look()
    assert list(watch.memories) == ["nginx-0123456789abcdef"]
    assert isinstance(watch.memories["nginx-0123456789abcdef"], Memory)
    world.docker.boxes.pop("nginx")
    watch.look()
    assert watch.memories == {}
