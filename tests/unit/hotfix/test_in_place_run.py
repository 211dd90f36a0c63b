# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting a hotfix into what runs, on real files and real processes of this machine; only nginx and the engine are not there."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import processes
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.answer import Answer
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix import in_place as decide
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import in_place_view, loaded_code
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host.in_place import InPlace
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host.in_place_record import Entry, Record
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.roller import Seen, StepFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import Container, Proxy
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.steps import Start

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="memory of other processes is root's to see")

OLD, NEW = b'VERSION = "old"\n', b'VERSION = "new"\n'
#: As gunicorn does it: workers load the app, and a HUP starts new ones and lets the old ones go. Each says what it has loaded.
GUNICORN = """
import os, signal, socket, sys, time
said, preload = sys.argv[1], sys.argv[2] == "--preload"
listener = socket.socket(); listener.bind(("127.0.0.1", 0)); listener.listen()
if preload:
    import evenkeelshop.version
workers = []
def spawn():
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        import evenkeelshop.version
        with open(said, "a") as stream:
            stream.write(evenkeelshop.version.VERSION + chr(10))
        while True:
            time.sleep(60)
    workers.append(pid)
def again(*_args):
    old = list(workers)
    del workers[:]
    spawn(); spawn()
    for pid in old:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
signal.signal(signal.SIGHUP, again)
spawn(); spawn()
while True:
    time.sleep(60)
"""
#: As Celery does it: all is loaded before it forks.
CELERY = """
import os, sys, time
import evenkeelshop.version
with open(sys.argv[1], "a") as stream:
    stream.write(evenkeelshop.version.VERSION + chr(10))
if os.fork() == 0:
    time.sleep(60); os._exit(0)
time.sleep(60)
"""


class Services:
    """Containers that are only processes in folders of their own: what an engine and nginx would do is written down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kinds: dict[str, str] = {}
        self.scripts: dict[str, tuple[str, ...]] = {}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.inside: set[str] = set()
        self.done: list[str] = []
        self.wrong: dict[str, str] = {}
        self.busy: dict[str, int] = {}
        self.patience = 60.0
        self.held = False

    def add(self, name: str, kind: str, script: str, *words: str, code: str = "") -> None:
        """``code`` names another whose files it has."""
        top = self.folder / name
        top.mkdir()
        if code:
            (top / "evenkeelshop").symlink_to(self.folder / code / "evenkeelshop")
        else:
            (top / "evenkeelshop").mkdir()
            (top / "evenkeelshop/version.py").write_bytes(OLD)
        program = top / ("gunicorn" if script == GUNICORN else "celery")
        program.write_text(script)
        self.kinds[name], self.scripts[name] = kind, (str(program), str(top / "said"), *words)
        self.inside |= {name} if kind == "web" else set()
        self._begin(name)

    def _begin(self, name: str) -> None:
        said = self.folder / name / "said"
        before = len(self.said(name))
        # Versions of one length, written within one second, are one to Python's cache.
        self.running[name] = subprocess.Popen(
            [sys.executable, "-B", *self.scripts[name]], cwd=self.folder / name, start_new_session=True
        )
        _until(lambda: said.exists() and len(self.said(name)) > before)

    def said(self, name: str) -> list[str]:
        said = self.folder / name / "said"
        return said.read_text().split() if said.exists() else []

    def alive(self, name: str) -> bool:
        return name in self.running and self.running[name].poll() is None

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    # -- what a roll has of the machine ------------------------------------------------------------

    def inspection(self, name: str) -> dict[str, Any]:
        return {"Id": name, "Name": f"/{name}", "State": {"Pid": self.running[name].pid if self.alive(name) else 0}}

    def look(self) -> Seen:
        containers = tuple(
            Container(n, n, n.split("-")[0], "i", "h", "running" if self.alive(n) else "exited", address=n,
                      in_rotation=n in self.inside, consumes=None)
            for n in self.kinds
        )  # fmt: skip
        pinned = tuple(
            {n.split("-")[0] for n in self.kinds if self.kinds[n] == "web" and "rotate" in "".join(self.done)}
        )
        return Seen(containers, Proxy(pinned=pinned))

    def ready(self, ids: Sequence[str]) -> dict[str, Answer]:
        return {i: Answer(self.alive(i)) for i in ids}

    def prove(self, ids: Sequence[str], proxied: bool) -> dict[str, Answer]:
        self.done += [f"prove {i}{' as users' if proxied else ''}" for i in ids]
        return {i: Answer(not self.wrong.get(i), self.wrong.get(i, "")) for i in ids}

    def quiesce(self, ids: Sequence[str]) -> list[str]:
        self.done.append(f"quiesce {' '.join(ids)}")
        return []

    def tasks(self, ids: Sequence[str]) -> dict[str, int | None]:
        told = {i: self.busy.get(i, 0) for i in ids}
        self.busy = {}
        return dict(told)

    def rotate(self, service: str, addresses: Sequence[str]) -> None:
        self.done.append(f"rotate {' '.join(sorted(addresses))}")
        self.inside = set(addresses)

    def unpin(self, service: str) -> None:
        self.done.append(f"settle {service}")

    def stop(self, ids: Sequence[str], idle: Collection[str] = ()) -> None:
        for one in ids:
            self.done.append(f"stop {one}")
            if one in self.running:
                self.kill(one)

    def put_archive(self, name: str, _folder: str, files: bytes) -> None:
        self.done.append(f"write to {name}")
        with tarfile.open(fileobj=io.BytesIO(files)) as archive:
            for entry in archive:
                text = archive.extractfile(entry)
                assert text is not None
                Path("/", entry.name).write_bytes(text.read())

    def start(self, step: Start) -> None:
        for one in step.restart:
            self.done.append(f"start {one}")
            self._begin(one)


def _until(true: Any) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


class Fence:
    """Everybody may act."""

    def act(self, _what: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    made = Services(tmp_path)
    monkeypatch.setattr(in_place_view.firewall, "unavailable", lambda: "")
    monkeypatch.setattr(in_place_view.firewall, "hold", lambda *_args: made.done.append("hold"))
    monkeypatch.setattr(in_place_view.firewall, "is_held", lambda _pid: made.held)
    monkeypatch.setattr(in_place_view.firewall, "let_in", lambda *_args: made.done.append("let in"))
    monkeypatch.setattr(processes, "listening_ports", lambda _pid: frozenset({8000}))
    yield made
    for name in list(made.running):
        made.kill(name)


def of(services: Services, goal: str = "applied", after: bytes = NEW) -> InPlace:
    """What one call would see: each service has an image of its own, since here each has a folder of its own."""
    names = sorted(services.kinds)
    images = {
        n: (Entry(str(services.folder / n / "evenkeelshop/version.py"), "shop/version.py", OLD, after),) for n in names
    }
    record = Record("night", "b", "c", "r", "now", time.time(), images, goal)

    def target(name: str) -> Any:
        kind = services.kinds[name]
        settings = SimpleNamespace(
            name=name.split("-")[0], kind=kind, ready_timeout=60.0, ready_successes=2, drain_timeout=60.0
        )
        steering = object() if kind == "web" else None
        routes = [SimpleNamespace(patience=services.patience)] if steering else []
        return SimpleNamespace(settings=settings, steering=steering, route=steering, dns_seconds=None, routes=routes)

    targets = {n.split("-")[0]: target(n) for n in names}
    engine = SimpleNamespace(api=SimpleNamespace(put_archive=services.put_archive))
    call: Any = SimpleNamespace(
        targets=list(targets.values()), problems={}, proxy_name="nginx", notes=[], engine=engine
    )
    machine: Any = services
    return InPlace(call, machine, record, {s: next(n for n in names if n.startswith(s)) for s in targets})


def go(services: Services, **more: Any) -> InPlace:
    place = of(services, **more)
    place.run(Fence(), decide.plan(place.look()))  # type: ignore[arg-type]
    return place


def test_gunicorns_workers_load_it_while_requests_wait_and_its_master_goes_on(services: Services) -> None:
    services.add("api-1", "web", GUNICORN, "")
    master = services.running["api-1"].pid
    place = go(services)
    assert services.said("api-1") == ["old", "old", "new", "new"] and services.running["api-1"].pid == master
    assert services.done == ["hold", "prove api-1", "let in"]
    assert [c.due for c in place.look()] == [False] and decide.plan(of(services).look()).turns == ()
    go(services, goal="reverted")
    assert services.said("api-1")[-2:] == ["old", "old"] and services.running["api-1"].pid == master


def test_a_worker_fetches_no_more_before_the_web_changes_and_is_started_again(services: Services) -> None:
    services.add("api-1", "web", GUNICORN, "")
    services.add("celery-1", "worker", CELERY)
    go(services)
    assert services.said("celery-1") == ["old", "new"] and services.said("api-1")[-1] == "new"
    # It ends while the web changes, and takes no processor from that by its start.
    assert services.done[0] == "quiesce celery-1" and services.done[-1] == "start celery-1"
    assert {"stop celery-1", "hold", "let in"} < set(services.done[1:-1])


def test_a_busy_worker_does_not_keep_users_from_it(services: Services) -> None:
    services.add("api-1", "web", GUNICORN, "")
    services.add("celery-1", "worker", CELERY)
    services.busy = {"celery-1": 1}
    go(services)
    assert (
        services.done.index("let in") < services.done.index("stop celery-1") and services.said("celery-1")[-1] == "new"
    )


def test_preloaded_it_is_refused_and_where_that_is_accepted_started_again(services: Services) -> None:
    services.add("api-1", "web", GUNICORN, "--preload")
    place = of(services)
    assert "preload" in decide.plan(place.look()).refusal
    place.run(Fence(), decide.plan(place.look(), True))  # type: ignore[arg-type]
    assert services.said("api-1") == ["old", "old", "new", "new"]
    assert services.done[:4] == ["stop api-1", "start api-1", "prove api-1", "rotate api-1"]


@pytest.mark.parametrize("preload", ["", "--preload"])
def test_two_of_a_service_are_led_around_one_after_the_other(services: Services, preload: str) -> None:
    services.add("api-1", "web", GUNICORN, preload)
    services.add("api-2", "web", GUNICORN, preload, code="api-1")
    go(services)
    assert services.said("api-1")[2:] == ["new", "new"] and services.said("api-2")[2:] == ["new", "new"]
    turns = [
        [f"rotate {other}", *([f"stop {one}", f"start {one}"] if preload else []), f"prove {one}", "rotate api-1 api-2"]
        for one, other in (("api-1", "api-2"), ("api-2", "api-1"))
    ]
    assert services.done == [*turns[0], *turns[1], "settle api"]


def test_where_nginx_would_not_wait_it_is_refused(services: Services) -> None:
    services.add("api-1", "web", GUNICORN, "")
    services.patience = 1.0
    assert "after 1 s (proxy_connect_timeout)" in decide.plan(of(services).look()).refusal


def test_what_answers_wrongly_stops_it_and_the_way_back_brings_all_to_what_it_was(services: Services) -> None:
    services.add("api-1", "web", GUNICORN, "")
    services.add("celery-1", "worker", CELERY)
    services.wrong = {"api-1": "GET /x answered 500"}
    with pytest.raises(StepFailed, match="api-1 GET /x answered 500"):
        go(services)
    assert services.done[-1] == "let in"
    # What was there before answers wrongly as well, and that is what it was to be mended for.
    go(services, goal="reverted")
    assert services.said("api-1")[-1] == "old" and services.said("celery-1")[-1] == "old"
    assert not any(c.due for c in of(services, goal="reverted").look())


class BreaksOff(Fence):
    """Lets an act end, and the run with it."""

    def __init__(self, after: str) -> None:
        self.after = after

    @contextlib.contextmanager
    def act(self, what: str) -> Iterator[None]:
        yield
        if what.startswith(self.after):
            raise KeyboardInterrupt


@pytest.mark.parametrize("act", ["write", "load anew", "stop", "start", "hold", "quiesce"])
def test_broken_off_after_any_act_the_next_call_ends_it(services: Services, act: str) -> None:
    services.add("api-1", "web", GUNICORN, "")
    services.add("celery-1", "worker", CELERY)
    place = of(services)
    with pytest.raises(KeyboardInterrupt):
        place.run(BreaksOff(act), decide.plan(place.look()))  # type: ignore[arg-type]
    go(services)
    assert services.said("api-1")[-1] == "new" and services.said("celery-1")[-1] == "new"
    assert not any(c.due for c in of(services).look())


def test_one_that_a_killed_run_has_told_to_end_is_written_to_by_the_engine(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.add("api-1", "web", GUNICORN, "")
    services.add("celery-1", "worker", CELERY)
    # Seen running, and gone when it is written to.
    monkeypatch.setattr(services, "quiesce", lambda _ids: services.kill("celery-1"))
    seen = services.inspection("celery-1")
    monkeypatch.setattr(services, "inspection", lambda name: seen if name == "celery-1" and not services.alive(name) else
                        Services.inspection(services, name))  # fmt: skip
    go(services)
    assert "write to celery-1" in services.done and services.said("celery-1")[-1] == "new"
    assert not any(c.due for c in of(services).look())


def test_one_that_ends_while_it_is_looked_at_is_started_again(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.add("celery-1", "worker", CELERY)
    go(services)
    # A run that was killed has written to it, and told it to end.
    (services.folder / "celery-1/evenkeelshop/version.py").write_bytes(OLD)
    seen = services.inspection("celery-1")
    monkeypatch.setattr(
        services, "inspection", lambda name: Services.inspection(services, name) if services.alive(name) else seen
    )
    keeping = loaded_code.keeping

    def ends(main: int, changed: float, words: Sequence[str]) -> list[processes.Process]:
        if main == seen["State"]["Pid"]:
            services.kill("celery-1")
        return keeping(main, changed, words)

    monkeypatch.setattr(loaded_code, "keeping", ends)
    go(services, goal="reverted")
    assert services.said("celery-1")[-1] == "old" and not any(c.due for c in of(services, goal="reverted").look())


def test_requests_that_a_killed_run_holds_are_let_in_before_anything_else(services: Services) -> None:
    services.add("api-1", "web", GUNICORN, "")
    services.add("celery-1", "worker", CELERY)
    services.held = True
    go(services)
    assert services.done[:2] == ["let in", "quiesce celery-1"]
    services.done.clear()
    place = go(services)
    assert decide.plan(place.look()).turns == () and services.done == ["let in"]


def test_a_hand_edit_stops_it_before_anything_is_touched(services: Services) -> None:
    services.add("api-1", "web", GUNICORN, "")
    (services.folder / "api-1/evenkeelshop/version.py").write_bytes(b"nano\n")
    with pytest.raises(StepFailed, match=r"version\.py is another one"):
        of(services).look()
    assert services.done == []


def test_one_that_ends_with_it_is_told_at_once(services: Services) -> None:
    services.add("api-1", "web", GUNICORN, "")
    with pytest.raises(StepFailed, match="api-1"):
        go(services, after=b"import os, signal; os.kill(os.getppid(), signal.SIGKILL); os._exit(3)\n")
