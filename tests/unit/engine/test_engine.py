# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's wrapper against an SDK that misbehaves: in time, in sentences, and with the streams apart."""

from __future__ import annotations

import os
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import processor_share

docker_errors = pytest.importorskip("docker.errors")
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import (  # noqa: E402
    Engine,
    EngineFailed,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host import nginx as nginx_module  # noqa: E402
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host.nginx import (  # noqa: E402
    Nginx,
    NginxFailed,
)


class Api:
    """The part of ``docker.APIClient`` that is asked for; ``pid`` is the process of a command."""

    def __init__(self, said: bytes | None = b"", complained: bytes | None = None, code: int | None = 0) -> None:
        self.said, self.complained, self.code = said, complained, code
        self.seconds = 0.0
        self.pid = 0
        self.problem: Exception | None = None
        self.waited = ("", "")

    def exec_create(self, container_id: str, argv: list[str], user: str, **more: object) -> dict[str, str]:
        return {"Id": "e"}

    base_url, api_version = "http+docker://localhost", "1.45"

    @contextmanager
    def post(self, _address: str, **_more: object) -> Iterator[SimpleNamespace]:
        time.sleep(self.seconds)
        if self.problem:
            raise self.problem
        parts = ((1, self.said), (2, self.complained))
        content = b"".join(struct.pack(">BxxxL", kind, len(part)) + part for kind, part in parts if part is not None)
        yield SimpleNamespace(status_code=200, iter_content=lambda size: iter([content]))

    def exec_inspect(self, exec_id: str) -> dict[str, Any]:
        return {"ExitCode": self.code, "Pid": self.pid}

    def _refuse(self, *_args: Any, **_more: Any) -> None:
        raise self.problem or AssertionError

    start = stop = remove_container = inspect_container = logs = version = _refuse

    def wait(self, container_id: str, timeout: float, condition: str) -> None:
        self.waited = (container_id, condition)


def engine(api: Api) -> Engine:
    made = Engine.__new__(Engine)
    made.api = api
    return made


def error(kind: str, text: str) -> Exception:
    return getattr(docker_errors, kind)(
        text, response=SimpleNamespace(status_code=500, reason="x", url="u"), explanation=text
    )


def test_both_streams_or_only_the_first_and_all_of_it_on_failure() -> None:
    assert engine(Api(b"out", b"err")).run_inside("c", ["x"]) == (0, "outerr")
    assert engine(Api(b"out", b"err")).run_inside("c", ["x"], errors_too=False) == (0, "out")
    assert engine(Api(b"out", b"err", 3)).run_inside("c", ["x"], errors_too=False) == (3, "outerr")
    assert engine(Api(None, None, None)).run_inside("c", ["x"]) == (126, "")
    assert engine(Api(b"\xff")).run_inside("c", ["x"]) == (0, "\ufffd")


def test_a_command_that_hangs_holds_nobody_up_and_is_ended() -> None:
    api = Api()
    api.seconds = 60
    with subprocess.Popen(["sleep", "31"]) as hanging:
        api.pid = hanging.pid
        began = time.monotonic()
        assert engine(api).run_inside("c", ["sleep", "31"], timeout=0.2) == (124, "no end within 0.2 s")
        assert time.monotonic() - began < 30
        # Python waits for all other threads before it ends.
        assert [t for t in threading.enumerate() if not t.daemon] == [threading.main_thread()]
        assert hanging.wait(20) == -9


def test_a_process_of_this_host_with_the_same_number_is_left_alone() -> None:
    api = Api()
    api.seconds, api.pid = 5, os.getpid()
    with subprocess.Popen(["sleep", "31"]) as other:
        api.pid = other.pid
        assert engine(api).run_inside("c", ["python", "check.py"], timeout=0.1)[0] == 124
        time.sleep(0.1)
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("seconds, back", [(0.3, False), (60.0, True)], ids=["it ends soon", "it does not"])
def test_a_command_that_takes_much_of_a_processor_leaves_it_to_others_for_a_while(
    seconds: float, back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[tuple[str, int]] = []
    monkeypatch.setattr(processor_share, "step_back", lambda pid: moved.append(("back", pid)) or "/its/own")
    monkeypatch.setattr(processor_share, "step_forward", lambda group, pid: moved.append((group, pid)))
    api = Api(b"said")
    api.seconds = seconds
    with subprocess.Popen(["sleep", "32"]) as asking:
        api.pid = asking.pid
        code, _text = engine(api).run_inside("c", ["sleep", "32"], timeout=0.2, behind=1.0)
        assert moved == [("back", asking.pid), *([("/its/own", asking.pid)] if back else [])]
        assert code == (124 if back else 0)
        asking.kill()


def test_a_command_that_is_found_nowhere_here_keeps_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor_share, "step_back", lambda *_words, **_more: pytest.fail("of which process?"))
    api = Api()
    api.seconds, api.pid = 60, os.getpid()
    assert engine(api).run_inside("c", ["sleep", "33"], timeout=0.1, behind=0.3)[0] == 124


@pytest.mark.parametrize("problem", [error("APIError", "no such thing"), OSError("socket closed")])
def test_what_cannot_be_run_is_told(problem: Exception) -> None:
    api = Api()
    api.problem = problem
    code, text = engine(api).run_inside("c", ["x"])
    assert code == 126 and ("no such thing" in text or "socket closed" in text)


def test_a_container_that_went_meanwhile() -> None:
    api = Api()
    api.problem = error("NotFound", "No such container: c")
    mine = engine(api)
    with pytest.raises(EngineFailed, match="it is not there any more"):
        mine.start("c")
    mine.stop("c", 1)
    mine.remove("c")
    assert (mine.inspect("c"), mine.logs("c")) == ({}, "")


def test_removing_what_somebody_else_removes() -> None:
    api = Api()
    api.problem = error("APIError", "removal of container c is already in progress")
    engine(api).remove("c")
    assert api.waited == ("c", "removed")
    api.problem = error("APIError", "You cannot remove a running container")
    with pytest.raises(EngineFailed, match="cannot remove a running"):
        engine(api).remove("c")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "('Connection aborted.', PermissionError(13, 'Permission denied'))",
            "no permission on the Docker socket; run with",
        ),
        (
            "('Connection aborted.', FileNotFoundError(2, 'No such file or directory'))",
            "no Docker engine answers on this",
        ),
        ("Not supported URL scheme http+docker", "the Docker engine cannot be used: Not supported URL scheme"),
    ],
)
def test_why_an_engine_cannot_be_used(text: str, said: str) -> None:
    api = Api()
    api.problem = docker_errors.DockerException(text)
    with pytest.raises(EngineFailed) as refusal:
        engine(api).version()
    assert str(refusal.value).startswith(said)


# -- nginx through it -------------------------------------------------------------------------------------


def nginx(api: Api, hosts: str = "") -> Nginx:
    return Nginx(engine(api), {"Id": "c", "Name": "/shop-nginx-1", "HostsPath": hosts, "State": {"Pid": 0}})


def test_the_dump_is_free_of_what_nginx_says_beside_it() -> None:
    text = b"# configuration file /etc/nginx/nginx.conf:\n"
    assert nginx(Api(text, b"nginx: configuration file test is successful\n")).dump() == text.decode()
    refused = (
        b'2024/01/01 [emerg] 7#7: host not found in upstream "api" in /etc/nginx/nginx.conf:4\nnginx: test failed\n'
    )
    with pytest.raises(NginxFailed, match=r"^shop-nginx-1: nginx -T failed: the upstream api cannot be resolved"):
        nginx(Api(b"", refused, 1)).dump()


def test_pins_are_written_in_place_beside_what_is_there(tmp_path: Any) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1\tlocalhost\n172.18.0.9\tnginx # evenkeel\n")
    inode = hosts.stat().st_ino
    mine = nginx(Api(b"172.18.0.4      STREAM api\n172.18.0.5      STREAM \n"), str(hosts))
    before = time.time()
    mine.pin("api", ("api", "web"), ("172.18.0.5", "172.18.0.4"))
    mine.pin("other", ("other",), ("172.18.0.6",))
    pins = mine.pins()
    assert {k: p.addresses for k, p in pins.items()} == {"api": ("172.18.0.4", "172.18.0.5"), "other": ("172.18.0.6",)}
    assert before - 0.01 <= pins["api"].written <= time.time() + 0.01
    assert "172.18.0.5\tapi web\t# evenkeel api " in hosts.read_text()
    mine.pin("api", ("api",), ("172.18.0.7",))
    assert mine.pins()["api"].addresses == ("172.18.0.7",)
    mine.pin("api", (), ())
    mine.pin("other", (), ())
    assert hosts.read_text() == "127.0.0.1\tlocalhost\n172.18.0.9\tnginx # evenkeel\n"
    assert hosts.stat().st_ino == inode


def test_an_image_that_resolves_only_one_of_several_addresses_is_refused(tmp_path: Any) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("")
    with pytest.raises(NginxFailed, match=r"resolves only one address of several for api; put a file /etc/host.conf"):
        nginx(Api(b"172.18.0.4      STREAM api\n"), str(hosts)).pin("api", ("api",), ("172.18.0.4", "172.18.0.5"))


def test_a_file_is_read_byte_by_byte_also_without_root() -> None:
    # With no process to look through it is asked for inside; a comment in Latin-1 is no UTF-8.
    assert nginx(Api(b"IyDk9g0KCg==\n")).read("/etc/nginx/none/a.conf") == b"# \xe4\xf6\r\n\n"
    assert nginx(Api(b"", b"no such file", 1)).read("/etc/nginx/none/a.conf") is None


class Stubborn(Nginx):
    """Says yes to everything and never starts a new worker; its log gets a line at the reload."""

    lines = ("2024/01/01 [emerg] 1#1: bind() to 0.0.0.0:443 failed (13: Permission denied)",)
    after: tuple[str, ...] = ()

    def command(self, *argv: str, errors_too: bool = True) -> tuple[int, str]:
        if "reload" in argv:
            self.lines += self.after
        return 0, ""

    def logged(self) -> list[str]:
        return list(self.lines)


def test_why_no_new_worker_came_is_read_in_the_log() -> None:
    mine = Stubborn(engine(Api()), {"Id": "c", "Name": "/shop-nginx-1", "State": {"Pid": 0}})
    with pytest.raises(NginxFailed, match=r"^shop-nginx-1: no new worker took over .*: see its log$"):
        mine.reload(0.05)
    mine.after = ("2024/01/01 [emerg] 1#1: bind() to 0.0.0.0:80 failed (98: Address already in use)",)
    with pytest.raises(NginxFailed, match=r": nginx cannot listen on 0\.0\.0\.0:80: Address already in use$"):
        mine.reload(0.05)


class Clock:
    """A clock on which only sleeping takes time."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_the_last_word_of_a_reload_is_not_waited_for_any_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(nginx_module, "time", clock)
    mine = Stubborn(engine(Api()), {"Id": "c", "Name": "/shop-nginx-1", "State": {"Pid": 0}})
    mine.after = (
        "2024/01/01 [emerg] 1#1: bind() to 0.0.0.0:80 failed (98: Address already in use)",
        "2024/01/01 [emerg] 1#1: still could not bind()",
    )
    with pytest.raises(NginxFailed, match=r"nginx cannot listen on 0\.0\.0\.0:80: Address already in use$"):
        mine.reload(60)
    assert 1.0 < clock.now < 1.1


def test_a_refusal_quotes_no_value() -> None:
    said = b'2024/01/01 [emerg] 7#7: invalid parameter "S3cr3t" in /etc/nginx/nginx.conf:4\n'
    with pytest.raises(NginxFailed) as refusal:
        nginx(Api(b"", said, 1)).dump()
    assert "S3cr3t" not in str(refusal.value) and "line 4" in str(refusal.value)
