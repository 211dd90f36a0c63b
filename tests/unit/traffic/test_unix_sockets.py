# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of a UNIX socket, with real sockets, processes and mount namespaces in place of containers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host.nginx import Master, NginxFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host import unix_sockets
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host.socket_view import Linking
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host.steering import Endpoint
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host.unix_sockets import (
    SocketFailed,
    SocketFolder,
)

#: What gunicorn does: unlinks the socket that is there, binds its own, answers with its name, unlinks whatever lies there
#: when it ends.
SERVER = """
import contextlib, os, signal, socket, sys
path, name = sys.argv[1:]
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
if os.path.exists(path):
    os.unlink(path)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(int(os.environ.get("ROOM", "16")))
print("listens", flush=True)
held = []
try:
    while os.environ.get("DEAF"):
        signal.pause()
    while True:
        client = listener.accept()[0]
        with contextlib.suppress(BrokenPipeError):
            client.sendall(name.encode())
        held.append(client)
finally:
    os.unlink(path)
"""
#: What connects as nginx does: in a mount namespace of its own.
ASK = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(99).decode())"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a server that listens at the one path."""
    started: list[subprocess.Popen[str]] = []
    (tmp_path / "shared").mkdir(exist_ok=True)

    def start(name: str, **environment: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", SERVER, str(tmp_path / "shared/app.sock"), name]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
        started.append(process)
        assert process.stdout and process.stdout.readline() == "listens\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


class Proxy(Master):
    """A process with a mount namespace of its own, as a container's nginx has one."""

    name = "nginx"

    def __init__(self, folder: Path) -> None:
        # /seen is where the proxy has the shared folder, /var/seen is a link to it.
        script = f"mount -t tmpfs none /mnt && mkdir /mnt/seen && mount --bind {folder} /mnt/seen && echo up && exec sleep 600"
        self.sleeper = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
        assert self.sleeper.stdout and self.sleeper.stdout.readline() == "up\n"
        self.pid = self.sleeper.pid
        self.reloads = 0

    def reload(self, timeout: float = 30.0) -> None:
        """Counted only."""
        self.reloads += 1

    def ask(self) -> str:
        """Who answers at the socket."""
        argv = ["nsenter", f"--mount=/proc/{self.pid}/ns/mnt", sys.executable, "-c", ASK, "/mnt/seen/app.sock"]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    (tmp_path / "shared").mkdir(exist_ok=True)
    made = Proxy(tmp_path / "shared")
    yield made
    made.sleeper.kill()
    made.sleeper.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> SocketFolder:
    return SocketFolder("api", "/mnt/seen/app.sock", str(tmp_path / "shared/app.sock"))


def endpoint(process: subprocess.Popen[str], address: str) -> Endpoint:
    return Endpoint(address, address, process.pid, 0.0, {})


def test_who_listens(tmp_path: Path, server: Callable[..., subprocess.Popen[str]]) -> None:
    path = str(tmp_path / "shared/app.sock")
    assert unix_sockets.listener_at(path) is None
    old = server("old")
    assert unix_sockets.listener_at(path) == old.pid
    Path(path).unlink()
    Path(path).write_text("no socket", encoding="utf-8")
    assert unix_sockets.listener_at(path) is None


def test_a_full_queue_is_waited_for_and_no_crash(server: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    server("deaf", ROOM="0", DEAF="1")
    path = str(tmp_path / "shared/app.sock")
    first = socket.socket(socket.AF_UNIX)
    first.connect(path)
    assert unix_sockets.listener_at(path, patience=0.2) is None
    first.close()


def test_a_change_over_as_gunicorn_makes_it(
    server: Callable[..., subprocess.Popen[str]], proxy: Proxy, folder: SocketFolder
) -> None:
    strategy = Linking(folder, keepalive=False)
    old = server("old")
    endpoints = [endpoint(old, "10.0.0.1")]
    assert proxy.ask() == "old"
    lead = strategy.look(proxy, endpoints, 0.0)
    assert (lead.inside, lead.held, lead.stale) == ({"10.0.0.1"}, False, False)
    strategy.hold(proxy, ["10.0.0.1"], list)
    new = server("new")
    endpoints.append(endpoint(new, "10.0.0.2"))
    assert proxy.ask() == "old", "nobody meets the new one before it is let in"
    assert strategy.look(proxy, endpoints, 0.0).inside == {"10.0.0.1"}
    assert folder.address_of(new.pid) == folder.path
    assert folder.address_of(old.pid).startswith(folder.view)
    strategy.rotate(proxy, endpoints, ["10.0.0.2"])
    assert proxy.ask() == "new"
    strategy.rotate(proxy, endpoints, ["10.0.0.1"])
    strategy.rotate(proxy, endpoints, ["10.0.0.2"])
    assert proxy.ask() == "new"
    assert folder.connections(proxy.pid, old.pid) == 3, "it holds what it was asked twice, and the look for who listens"
    old.terminate()
    old.wait()
    assert not Path(folder.path).exists(), "an ending gunicorn takes the name of its successor away"
    assert proxy.ask() == "new"
    lead = strategy.look(proxy, endpoints[1:], 0.0)
    assert (lead.inside, lead.held, lead.stale) == ({"10.0.0.2"}, True, False)
    strategy.unpin(proxy, endpoints[1:])
    lead = strategy.look(proxy, endpoints[1:], 0.0)
    assert (lead.inside, lead.held, lead.stale) == ({"10.0.0.2"}, False, False)
    assert proxy.ask() == "new"
    assert os.listdir(os.path.dirname(folder.path)) == ["app.sock"]
    assert proxy.reloads == 0


def test_a_bad_version_leaves_the_socket_to_the_old_one(
    server: Callable[..., subprocess.Popen[str]], proxy: Proxy, folder: SocketFolder
) -> None:
    strategy, old = Linking(folder, keepalive=True), server("old")
    strategy.hold(proxy, ["10.0.0.1"], list)
    strategy.hold(proxy, ["10.0.0.1"], list)
    bad = server("bad")
    bad.terminate()
    bad.wait()
    assert proxy.ask() == "old"
    strategy.unpin(proxy, [endpoint(old, "10.0.0.1")])
    strategy.unpin(proxy, [endpoint(old, "10.0.0.1")])
    assert proxy.ask() == "old"
    with pytest.raises(NginxFailed, match="nobody listens"):
        strategy.rotate(proxy, [endpoint(bad, "10.0.0.2")], ["10.0.0.2"])
    strategy.rotate(proxy, [endpoint(old, "10.0.0.1")], ["10.0.0.1"])
    assert proxy.reloads == 1, "what is kept alive leads to another one until nginx is loaded again"


def test_somebody_who_looks_into_the_folder_is_waited_for(
    server: Callable[..., subprocess.Popen[str]], proxy: Proxy, folder: SocketFolder
) -> None:
    strategy, old = Linking(folder, keepalive=False), server("old")
    strategy.hold(proxy, ["10.0.0.1"], list)
    argv = ["nsenter", f"--mount=/proc/{proxy.pid}/ns/mnt", "sh", "-c", "cd /mnt/seen && echo in && exec sleep 0.4"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as guest:
        assert guest.stdout and guest.stdout.readline() == "in\n"
        strategy.unpin(proxy, [endpoint(old, "10.0.0.1")])
    assert (folder.is_covered(proxy.pid), folder.is_prepared(), proxy.ask()) == (False, False, "old")


def test_an_nginx_that_restarts_in_between_is_led_back(
    server: Callable[..., subprocess.Popen[str]], proxy: Proxy, folder: SocketFolder, tmp_path: Path
) -> None:
    strategy, old = Linking(folder, keepalive=False), server("old")
    strategy.hold(proxy, ["10.0.0.1"], list)
    new = server("new")
    endpoints = [endpoint(old, "10.0.0.1"), endpoint(new, "10.0.0.2")]
    fresh = Proxy(tmp_path / "shared")
    try:
        lead = strategy.look(fresh, endpoints, 0.0)
        assert (lead.inside, lead.held) == ({"10.0.0.2"}, True)
        strategy.rotate(fresh, endpoints, ["10.0.0.1"])
        assert fresh.ask() == "old"
        strategy.rotate(fresh, endpoints, ["10.0.0.2"])
        strategy.unpin(fresh, endpoints)
        assert (fresh.ask(), folder.is_prepared()) == ("new", False)
    finally:
        fresh.sleeper.kill()
        fresh.sleeper.communicate()


def test_what_nobody_has_taken_yet_is_waited_for(
    server: Callable[..., subprocess.Popen[str]], proxy: Proxy, folder: SocketFolder
) -> None:
    unreachable = server("deaf", DEAF="1")
    assert folder.connections(proxy.pid, unreachable.pid) == 0
    client = socket.socket(socket.AF_UNIX)
    client.connect(folder.path)
    assert folder.connections(proxy.pid, unreachable.pid) == 1
    client.close()


def test_other_things_in_the_folder_are_named(
    server: Callable[..., subprocess.Popen[str]], folder: SocketFolder, tmp_path: Path
) -> None:
    server("old")
    (tmp_path / "shared/gunicorn.pid").write_text("1", encoding="utf-8")
    (tmp_path / "shared/.gunicorn").mkdir()
    assert folder.strangers() == []
    (tmp_path / "shared/media").mkdir()
    assert folder.strangers() == ["media"]


def test_links_of_a_container_lead_where_it_sees_them(proxy: Proxy) -> None:
    script = "ln -s /mnt/seen /mnt/link && ln -s link /mnt/second"
    subprocess.run(["nsenter", f"--mount=/proc/{proxy.pid}/ns/mnt", "sh", "-c", script], check=True)
    assert unix_sockets.resolved(proxy.pid, "/mnt/second/app.sock") == "/mnt/seen/app.sock"
    assert unix_sockets.resolved(proxy.pid, "/mnt/seen/app.sock") == "/mnt/seen/app.sock"
    assert unix_sockets.resolved(proxy.pid, "/mnt/../none/app.sock") == "/none/app.sock"
    began = time.monotonic()
    subprocess.run(["nsenter", f"--mount=/proc/{proxy.pid}/ns/mnt", "ln", "-s", "loop", "/mnt/loop"], check=True)
    assert unix_sockets.resolved(proxy.pid, "/mnt/loop/app.sock")
    assert time.monotonic() - began < 30


# -- a container that shares the folder is not to be trusted ---------------------------------------------------


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of the server's own that no container has."""
    (tmp_path / "etc").mkdir(mode=0o700)
    return tmp_path / "etc"


def state_of(folder: Path) -> tuple[int, int, list[str]]:
    known = folder.stat()
    return known.st_uid, known.st_mode, sorted(os.listdir(folder))


def test_a_link_in_the_place_of_our_folder_is_not_followed(
    server: Callable[..., subprocess.Popen[str]], folder: SocketFolder, victim: Path
) -> None:
    server("old")
    Path(folder.view).symlink_to(victim)
    before = state_of(victim)
    for act in (folder.prepare, lambda: folder.show(folder.path)):
        with pytest.raises(SocketFailed):
            act()
    assert state_of(victim) == before


def test_a_folder_that_is_exchanged_as_soon_as_it_is_made_is_not_given_away(
    server: Callable[..., subprocess.Popen[str]], folder: SocketFolder, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server("old")
    os.chown(os.path.dirname(folder.path), 33, 33)
    before, mkdir = state_of(victim), os.mkdir

    def exchanged(path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        mkdir(path, mode, dir_fd=dir_fd)
        os.rename(folder.view, f"{folder.view}.away")
        os.symlink(victim, folder.view)

    monkeypatch.setattr(os, "mkdir", exchanged)
    with pytest.raises(SocketFailed, match="a link is on the way"):
        folder.prepare()
    assert state_of(victim) == before


def test_a_folder_between_the_mount_and_the_socket_may_be_a_link_of_the_container(tmp_path: Path, victim: Path) -> None:
    # Root in a container is root of this server by number, and so are its links.
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted/run").symlink_to(tmp_path)
    before = state_of(victim)
    folder = SocketFolder(
        "api", "/run/etc/app.sock", str(tmp_path / "mounted/run/etc/app.sock"), str(tmp_path / "mounted")
    )
    with pytest.raises(SocketFailed, match="a link is on the way"):
        folder.prepare()
    assert state_of(victim) == before


def test_a_folder_that_is_exchanged_before_nginx_is_shown_it_is_not_left_there(
    server: Callable[..., subprocess.Popen[str]], proxy: Proxy, folder: SocketFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    server("old")
    folder.prepare()
    run = subprocess.run

    def exchanged(argv: list[str], check: bool = False, **how: Any) -> Any:
        if argv[0] == "mount" and not os.path.islink(folder.view):
            os.rename(folder.view, f"{folder.view}.away")
            os.symlink("/etc", folder.view)
        return run(argv, check=check, **how)

    with monkeypatch.context() as patch, pytest.raises(SocketFailed, match="was exchanged"):
        patch.setattr(subprocess, "run", exchanged)
        folder.cover(proxy.pid)
    assert proxy.ask() == "old"
