# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that waits for the next module: real ones, which hand over, are killed, and find nobody."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.clock import identity
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.runtime import is_followed, is_last

_ROOT = Path(__file__).parents[3]
# A module as module `call` runs one. It says who it is, and works until it is let go on.
_PROGRAM = """
import json, os, sys, time
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import detached, waiting_process
from ansible_collections.evenkeel.deploy.plugins.modules.call import Importer
folder = sys.argv[1]
waiting_process._PATIENCE, waiting_process._ANSWERS = float(sys.argv[3]), float(sys.argv[4])
importer = Importer("d" * 64, folder + "/code.runtime", {})

def work(module):
    asked = module.arguments
    found = {"pid": os.getpid(), "cwd": os.getcwd(), "umask": os.umask(0o77), "X": os.environ.get("X"), "name": module.name}
    print(json.dumps(found), flush="busy" in asked)
    while os.path.exists(asked.get("busy", "")):
        time.sleep(0.01)
    print("complaint", file=sys.stderr)
    if asked.get("last"):
        waiting_process.dismiss()
    raise SystemExit(asked.get("code", 0))

def prepare():
    open(folder + "/preparing", "w").close()
    return lambda: os.rename(folder + "/preparing", folder + "/prepared")

def run_next(module):
    following = waiting_process.leave_one(importer, prepare) if module.arguments.get("followed") else None
    if following:
        return run_next(following)
    try:
        if module.detach:
            detached.answer_and_go_on(lambda: work(module))
        else:
            work(module)
    except SystemExit as error:
        waiting_process.end(error.code)

asked = json.loads(sys.argv[2])
module = waiting_process.Next(asked.pop("name"), asked, asked.pop("detach", False))
waiting_process.hand_over(importer, module)
run_next(module)
"""

# A module that is heard of a moment after what it says can be read, as the kernel has it on busy processors.
_LATE = """
import socket
send_fds = socket.send_fds
def late(line, *said):
    send_fds(line, *said)
    line.send(b"?")
socket.send_fds = late
"""


def bound(folder: Path) -> socket.socket:
    """A socket where a process would wait."""
    made, handle = socket.socket(socket.AF_UNIX), os.open(folder, os.O_RDONLY)
    # By its handle: pytest's folders have longer names than a socket may have.
    made.bind(f"/proc/self/fd/{handle}/{'d' * 32}.{sys.implementation.cache_tag}.waiting")
    os.close(handle)
    return made


def until(met: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := met()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


class Target:
    """Modules of one user, one after the other; seconds that each waits for a next one, and for the other side to answer."""

    def __init__(self, folder: Path) -> None:
        # On a busy machine an answer may take a while.
        self.folder, self.patience, self.answers, self.program = folder, 20.0, 60.0, _PROGRAM
        self.env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT / "collections"), *filter(None, sys.path)])}

    def begin(self, name: str, cwd: str = "/", umask: int = -1, **asked: Any) -> subprocess.Popen[str]:
        waits = (str(self.patience), str(self.answers))
        words = [sys.executable, "-c", self.program, str(self.folder), json.dumps({"name": name, **asked}), *waits]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            words, cwd=cwd, env=self.env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, umask=umask
        )

    def run(self, name: str, **asked: Any) -> dict[str, Any]:
        """What a module tells, with the process that was started for it, and how that ended."""
        module = self.begin(name, **asked)
        printed, complaints = module.communicate(timeout=30)
        return {**json.loads(printed), "started": module.pid, "code": module.returncode, "complaints": complaints}

    def waiting(self) -> list[Path]:
        return list(self.folder.glob("*.waiting"))

    def first(self, **asked: Any) -> dict[str, Any]:
        """Run a module, and return when one waits for the next."""
        told = self.run("first", followed=True, **asked)
        until(self.waiting)
        return told


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    made = Target(tmp_path)
    yield made
    if made.waiting():
        made.run("last", last=True)
    until(lambda: not made.waiting())


@pytest.fixture
def busy(tmp_path: Path) -> Path:
    """What a module works for as long as it is there."""
    path = tmp_path / "busy"
    path.touch()
    return path


def worker_of(module: subprocess.Popen[str]) -> int:
    """The process that works for a module, which has begun."""
    assert module.stdout
    return int(json.loads(module.stdout.readline())["pid"])


@pytest.mark.parametrize(
    ("name", "arguments", "followed"),
    [
        ("deploy_lock", {}, True),
        ("deploy_lock", {"state": "released", "lock_token": "t"}, False),
        ("nginx_reload", {"lock_token": "t"}, True),
        ("hotfix_patch", {"operation": {"playbook": "hotfix"}}, True),
        ("nginx_reload", {"lock_token": None}, False),
        ("deploy_info", {}, False),
    ],
)
def test_who_waits_for_the_next_is_of_an_operation(name: str, arguments: dict[str, Any], followed: bool) -> None:
    assert is_followed(name, arguments) is followed


@pytest.mark.parametrize(
    ("arguments", "result", "last"),
    [
        ({"lock_token": "t"}, {"changed": True}, False),
        ({}, {"lock_token": "t"}, False),
        ({"lock_token": None}, {"failed": True}, True),
        ({"operation": {"playbook": "hotfix"}}, {"whole": True, "summary": ["done"]}, True),
        ({"lock_token": "t"}, {"summary": ["done"]}, True),
    ],
)
def test_the_last_is_the_one_that_ends_the_operation(
    arguments: dict[str, Any], result: dict[str, Any], last: bool
) -> None:
    assert is_last(arguments, result) is last


def test_one_that_waits_runs_the_next_as_if_it_had_been_started_for_it(target: Target) -> None:
    first = target.first()
    assert first["pid"] == first["started"]
    target.env["X"] = "of the second"
    second = target.run("second", cwd=str(target.folder), umask=0o27, code=3)
    assert second["pid"] not in (first["pid"], second["started"])
    assert (second["name"], second["X"], second["cwd"], second["umask"]) == (
        "second", "of the second", str(target.folder), 0o27,
    )  # fmt: skip
    assert (second["code"], second["complaints"]) == (3, "complaint\n")
    # It was the last, so nobody waits any more.
    assert target.waiting() == []
    assert [path.name for path in target.folder.glob("prep*")] == ["prepared"]


def test_each_has_one_wait_for_the_one_after_it(target: Target) -> None:
    pids = [target.first()["pid"] for _number in range(5)]
    assert len(set(pids)) == 5


def test_after_the_last_one_nobody_waits(target: Target) -> None:
    target.first()
    target.run("last but one", followed=True, last=True)
    until(lambda: not target.waiting(), 5.0)


def test_whoever_waits_in_vain_ends(target: Target) -> None:
    target.patience = 0.3
    target.first()
    until(lambda: not target.waiting(), 10.0)
    assert target.run("later")["code"] == 0


def test_one_waits_for_as_long_as_the_module_before_works(target: Target, busy: Path) -> None:
    target.patience = 0.1
    long = target.begin("long", followed=True, busy=str(busy))
    until(target.waiting)
    time.sleep(0.5)
    assert target.waiting()
    busy.unlink()
    long.communicate(timeout=30)
    until(lambda: not target.waiting(), 10.0)


def test_killing_the_one_that_handed_over_kills_the_one_that_works(target: Target, busy: Path) -> None:
    target.first()
    module = target.begin("second", busy=str(busy))
    worker = worker_of(module)
    assert worker != module.pid and identity(worker)
    module.kill()
    module.communicate(timeout=30)
    until(lambda: not identity(worker), 5.0)


def test_what_is_heard_of_late_is_not_taken_for_an_end(target: Target) -> None:
    target.first()
    target.program = _LATE + _PROGRAM
    told = target.run("second", code=3)
    assert told["pid"] != told["started"] and told["code"] == 3


def test_where_the_one_that_works_is_killed_the_other_ends_as_killed(target: Target, busy: Path) -> None:
    target.first()
    module = target.begin("second", busy=str(busy))
    os.kill(worker_of(module), signal.SIGKILL)
    module.communicate(timeout=30)
    assert module.returncode == 128 + signal.SIGKILL


def test_a_long_one_answers_and_goes_on(target: Target, busy: Path) -> None:
    target.first()
    module = target.begin("second", detach=True, followed=True, busy=str(busy))
    answer, _complaints = module.communicate(timeout=30)
    job = json.loads(answer)["evenkeel_job"]
    assert module.returncode == 0 and identity(job["pid"])
    until(target.waiting)
    busy.unlink()
    until(lambda: Path(job["results"]).exists())
    assert '"name": "second"' in Path(job["results"]).read_text(encoding="utf-8")
    third = target.run("third")
    assert third["started"] != third["pid"]


def test_of_two_at_once_one_is_run_by_its_own_process(target: Target, busy: Path) -> None:
    target.first()
    both = [target.begin(name, busy=str(busy)) for name in ("a", "b")]
    pids = [worker_of(module) for module in both]
    busy.unlink()
    for module in both:
        module.communicate(timeout=30)
    assert sum(pid == module.pid for pid, module in zip(pids, both)) == 1


def test_another_surrounding_is_no_place_to_run_in(target: Target) -> None:
    target.first()
    target.env["PYTHONPATH"] += ":/elsewhere"
    told = target.run("second")
    assert told["pid"] == told["started"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_another_user_reaches_nobody(target: Target) -> None:
    target.first()
    target.folder.chmod(0o755)
    (path,) = target.waiting()
    pid = os.fork()
    if not pid:
        met = 1
        try:
            os.chdir(target.folder)
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            socket.socket(socket.AF_UNIX).connect(path.name)
        except PermissionError:
            met = 0
        finally:
            os._exit(met)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_socket_behind_which_nobody_is_any_more_is_in_nobodys_way(target: Target) -> None:
    bound(target.folder).close()
    first = target.run("first", followed=True)
    assert first["pid"] == first["started"]
    until(lambda: target.run("next", followed=True)["code"] == 0)


def test_one_behind_which_somebody_says_nothing_is_not_waited_for(target: Target) -> None:
    target.answers = 0.5
    with bound(target.folder) as mute:
        mute.listen(1)
        told = target.run("first")
        assert told["pid"] == told["started"]
    (path,) = target.waiting()
    path.unlink()
