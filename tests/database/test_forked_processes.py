# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that are forked from a warm Django behave as ``python manage.py``, share nothing, and end with who asked for them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host import app_script
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.host import migrate
from tests.database.migrations.forked import WarmDjango
from tests.database.migrations.operations import CREATE, NOTE, REMOVE
from tests.database.migrations.running import Running
from tests.database.postgres_server import Postgres

ROOT = Path(__file__).parents[2]
#: What a process knows of itself and of its start, and what a database tells it.
SELF = """
import gc, json, locale, os, signal, sys, threading, warnings
from django.conf import settings
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT current_database(), current_setting('lock_timeout'), current_setting('TimeZone')")
    asked = cursor.fetchone()
main = sys.modules["__main__"]
streams = [[s.fileno(), s.encoding, s.errors, s.isatty(), s.line_buffering, s.write_through]
           for s in (sys.stdin, sys.stdout, sys.stderr)]
print("SELF " + json.dumps({
    "argv": sys.argv[:2], "path": sys.path, "cwd": os.getcwd(), "environment": dict(os.environ), "flags": repr(sys.flags),
    "main": [main.__name__, main.__file__, main.__spec__], "streams": streams, "locale": locale.getlocale(),
    "signals": [str(signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE)],
    "wakeup": signal.set_wakeup_fd(-1), "threads": threading.active_count(), "gc": gc.isenabled(), "filters": repr(warnings.filters),
    "bytecode": sys.dont_write_bytecode, "descriptors": len(os.listdir("/proc/self/fd")), "settings": settings.SETTINGS_MODULE,
    "debug": settings.DEBUG, "asked": asked, "stdin": sys.stdin.read()}))
"""
#: Ends of a process, each with how.
ENDS = {
    "at its end": "import atexit; atexit.register(print, 'at exit')",
    "exit code": "import sys; sys.exit(3)",
    "words": "import sys; sys.exit('why')",
    "exception": "raise ValueError('why')",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "thread": "import threading, time; threading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()",
}


@pytest.fixture
def project(tmp_path: Path, django: WarmDjango, postgres: Postgres) -> Running:
    """Some migrations are pending; its database tells apart whose settings are read."""
    more = 'DATABASES["default"]["OPTIONS"] = {"options": "-c lock_timeout=4321"}'
    made = Running(tmp_path / "project", django, postgres, "shop", settings=more)
    made.migration("0001_initial", CREATE)
    made.start()
    made.migration("0002_both", f"{NOTE}, {REMOVE}", "0001_initial")
    return made


def forked(project: Running, script: str, given: str = "") -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr of a forked process."""
    process = project.process("shell", "-c", script)
    printed, errors = process.communicate(given)
    return process.returncode, printed, errors


def plain(project: Running, script: str, given: str = "") -> tuple[int | None, str, str]:
    """The same of a process of its own."""
    done = subprocess.run(
        [project.django.python, "manage.py", "shell", "-c", script],
        cwd=project.folder, env=project.environment, input=given, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def told(printed: str) -> dict[str, Any]:
    (line,) = [line for line in printed.splitlines() if line.startswith("SELF ")]
    found: dict[str, Any] = json.loads(line.removeprefix("SELF "))
    return found


def undigested(printed: str) -> dict[str, Any]:
    """The answer to a plan, without digests: each process takes a key of its own for them."""
    found: dict[str, Any] = json.loads(re.sub(r'"[0-9a-f]{16}"', '""', json.dumps(app_script.answer_in(printed))))
    return found


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Undo for plain processes what a run in the background of a shell hands on: that Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_it_answers_as_a_plain_process_does(project: Running) -> None:
    plan = app_script.as_text(migrate.MODULES, [[], True, 3000, "", []])
    answer = undigested(plain(project, plan)[1])
    assert answer["databases"][0]["migrations"]
    assert undigested(forked(project, plan)[1]) == answer
    code, printed, errors = forked(project, SELF, "given\n")
    assert (code, errors) == (0, "")
    found = told(printed)
    assert found == told(plain(project, SELF, "given\n")[1])
    assert found["asked"] == ["planned", "4321ms", "UTC"] and found["stdin"] == "given\n"


@pytest.mark.parametrize("script", [pytest.param(text, id=name) for name, text in ENDS.items()])
def test_it_ends_as_a_plain_process_does(project: Running, script: str) -> None:
    code, printed, errors = forked(project, script)
    code_of_plain, printed_by_plain, errors_of_plain = plain(project, script)
    assert (code, printed) == (code_of_plain, printed_by_plain)
    assert errors.splitlines()[-1:] == errors_of_plain.splitlines()[-1:]


def test_one_leaves_nothing_to_the_next(project: Running) -> None:
    seen = """
import builtins, json, os, sys, django.db
from django.conf import settings
print("SELF " + json.dumps({"left": [hasattr(builtins, "left"), "LEFT" in os.environ, hasattr(django.db, "left"), "left" in sys.modules],
    "mode": oct(os.umask(0o22)), "name": settings.DATABASES["default"]["NAME"], "key": settings.SECRET_KEY,
    "connected": django.db.connection.connection is not None}))
"""
    leaving = """
import builtins, os, sys, django.db
from django.conf import settings
builtins.left = django.db.left = sys.modules["left"] = 1
os.environ["LEFT"] = "1"
os.umask(0)
os.chdir("/")
settings.SECRET_KEY = "left"
django.db.connection.ensure_connection()
"""
    before = told(forked(project, seen)[1])
    assert before["left"] == [False] * 4 and not before["connected"] and before["name"] == "planned"
    assert forked(project, leaving)[0] == 0
    assert told(forked(project, seen)[1]) == before
    project.databases["default"] = "another"
    project.settle()
    assert told(forked(project, seen)[1]) == {**before, "name": "another"}


def test_it_can_be_waited_for_and_killed(project: Running) -> None:
    process = project.process("shell", "-c", "print('ready', flush=True); import sys; sys.stdin.read()")
    while process.stdout.readline() != "ready\n":
        pass
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    os.kill(process.pid, 0)
    process.kill()
    assert process.wait() == process.returncode == process.poll() == -signal.SIGKILL
    process.kill()
    # Beside one that is not read from, another one comes to its end.
    waiting = project.process("shell", "-c", "import sys; sys.stdin.read()")
    assert forked(project, "print('beside')")[1].endswith("beside\n")
    waiting.give("")
    assert waiting.wait() == 0


def runs(pid: int) -> bool:
    """Whether there is such a process; what nobody has waited for yet is none any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_all_of_it_ends_with_the_process_that_asked_even_if_that_is_killed(project: Running) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from tests.database.migrations.forked import WarmDjango\n"
        "warm = WarmDjango(sys.argv[1])\n"
        "child = warm.begin(['manage.py', 'shell', '-c', 'import time; time.sleep(600)'], Path(sys.argv[2]), {})\n"
        "print(warm.pid, child.pid, flush=True)\ntime.sleep(600)\n"
    )
    argv = [sys.executable, "-c", code, project.django.python, str(project.folder)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout
        pids = [int(pid) for pid in asking.stdout.readline().split()]
        assert len(pids) == 2 and all(map(runs, pids))
        asking.kill()
    deadline = time.monotonic() + 60
    while any(map(runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(runs, pids))
