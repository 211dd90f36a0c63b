# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that answers who it is and goes on: real processes, and the command that looks after one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.clock import identity
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.runtime import JOB
from ansible_collections.evenkeel.deploy.plugins.plugin_utils.live import look_command, read_result

_ROOT = Path(__file__).parents[3]
_PROGRAM = """
import os, resource, sys, time
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.detached import answer_and_go_on
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))

def work():
    while os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    print('{"changed": true, "sid": %d}' % os.getsid(0))
    raise SystemExit(0)

answer_and_go_on(work)
"""
ID = "a" * 32


class Begun:
    """A module that works for as long as ``busy`` is there, and its progress file."""

    def __init__(self, folder: Path, room: int) -> None:
        self.busy, self.state, self.room = folder / "busy", folder / "state of it", room
        self.lines = self.state / "progress" / f"{ID}.jsonl"
        self.lines.parent.mkdir(parents=True)
        self.busy.touch()

    def answer(self) -> dict[str, Any]:
        path = os.pathsep.join([str(_ROOT / "collections"), *sys.path])
        argv = [sys.executable, "-c", _PROGRAM, str(self.busy), str(self.room)]
        done = subprocess.run(
            argv, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=True
        )
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def look(self, job: dict[str, Any], shown: int = 0) -> str:
        command = look_command([str(self.state)], ID, shown, job)
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60, check=True)
        assert not done.stderr
        return done.stdout


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Begun]:
    made = Begun(tmp_path, 1 << 20)
    yield made
    made.busy.unlink(missing_ok=True)


def left() -> set[str]:
    return {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("evenkeel-")}


def test_who_asked_is_answered_at_once_and_gets_the_result_when_it_is_there(begun: Begun) -> None:
    job = begun.answer()[JOB]
    process = identity(job["pid"])
    assert process is not None and process.start == job["started"]
    assert not Path(job["results"]).exists()
    assert Path(job["results"]).parent.stat().st_mode & 0o777 == 0o700
    threading.Timer(0.5, begun.busy.unlink).start()
    said = begun.look(job)
    assert "#ended" in said.splitlines()
    # It has a session of its own, which no closed connection ends.
    assert read_result(said) == {"changed": True, "sid": job["pid"]}
    shutil.rmtree(Path(job["results"]).parent)


def test_a_look_ends_with_the_first_new_line(begun: Begun) -> None:
    job = begun.answer()[JOB]
    rows = [json.dumps({"n": n, "text": "#ended #gone"}) + "\n" for n in (1, 2)]
    begun.lines.write_text(rows[0], encoding="utf-8")
    threading.Timer(0.5, begun.lines.write_text, ["".join(rows)]).start()
    began = time.monotonic()
    assert begun.look(job, shown=1).splitlines() == [rows[1].strip(), "#works"]
    assert time.monotonic() - began >= 0.4
    begun.busy.unlink()
    assert begun.look(job, shown=2).splitlines()[:2] == ["", "#ended"]
    shutil.rmtree(Path(job["results"]).parent)


def test_one_that_was_killed_is_gone_and_a_later_process_is_not_taken_for_it(begun: Begun) -> None:
    job = begun.answer()[JOB]
    assert begun.look({**job, "started": job["started"] + 1}).split() == ["#gone"]
    os.kill(job["pid"], signal.SIGKILL)
    assert begun.look(job).split() == ["#gone"]
    shutil.rmtree(Path(job["results"]).parent)


def test_where_there_is_no_room_for_the_answer_it_is_waited_for(tmp_path: Path) -> None:
    before, full = left(), Begun(tmp_path, 0)
    threading.Timer(0.5, full.busy.unlink).start()
    answer = full.answer()
    assert JOB not in answer and answer["changed"] is True
    assert left() <= before
