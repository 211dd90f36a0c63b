# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock and its records with real processes, real flocks, real kills and a real full disk."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.file_lock import flock
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.files import FilesFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.deploy_lock import call as deploy_lock
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host import journal, records
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.journal import (
    FencedOff,
    Keeper,
    LockHeld,
    begin_undo,
    end_undo,
    working,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.records import Journal, first_line
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.lease import Operation
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.options import LockOptions, lock_options

V2, V3 = Operation("update", "travel", "v2"), Operation("update", "travel", "v3")


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(str(tmp_path / "state"))


@contextmanager
def another(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs a script with our code, until it has said ``ready``."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    head = """
        import sys, time
        from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host import journal
        from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.lease import Operation
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


WORKER = """
    with journal.working(journal.LockOptions(lock_token=sys.argv[2]), sys.argv[1], "compose_rolling of travel") as fence:
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            with fence.act("stop api-1"):
                print("acted", flush=True)
        except journal.FencedOff as error:
            print("fenced off:", error, flush=True)
"""
ACTOR = """
    with journal.working(journal.LockOptions(lock_token=sys.argv[2]), sys.argv[1], "compose_rolling of travel") as fence:
        with fence.act("stop api-1"):
            print("ready", flush=True)
            sys.stdin.readline()
"""
ALONE = """
    with journal.working(journal.LockOptions(), sys.argv[1], "compose_rolling of travel"):
        print("ready", flush=True)
        sys.stdin.readline()
"""


def test_files_are_private_and_nothing_is_left_but_the_number(keeper: Keeper) -> None:
    grant = keeper.take(V2, "anna@laptop")
    with (
        working(LockOptions(lock_token=grant.lock.token), keeper.directory, "compose_build of travel") as fence,
        fence.act("x"),
    ):
        pass
    assert keeper.release(grant.lock.token)
    folder = Path(keeper.directory)
    modes = {str(p.relative_to(folder)): stat.S_IMODE(p.stat().st_mode) for p in [folder, *folder.rglob("*")]}
    assert {m for p, m in modes.items() if (folder / p).is_dir()} == {0o700}
    assert {m for p, m in modes.items() if (folder / p).is_file()} == {0o600}
    assert set(modes) == {".", "journal.jsonl", "lock", "lock.guard", "lock.mutex", "operations",
                          f"operations/{grant.lock.run}.json"}  # fmt: skip
    lock = keeper.read()
    assert (lock.number, lock.held, lock.who) == (1, False, "")


def test_two_operations_do_not_meet_and_the_second_is_told_whom_to_ask(keeper: Keeper) -> None:
    first = keeper.take(V2, "anna@laptop")
    with pytest.raises(LockHeld) as refusal:
        keeper.take(V3, "ben@desk")
    assert "update of travel to v2, begun 20" in str(refusal.value) and "by anna@laptop" in str(refusal.value)
    assert "no process works on it now" in str(refusal.value)
    for word in ("ask anna@laptop", "takes over at once", "app_lock_take_over=true", "app_lock_wait="):
        assert word in refusal.value.advice
    keeper.release(first.lock.token)
    assert keeper.take(V3, "ben@desk").lock.number == 2


def test_the_same_operation_takes_over_where_no_process_lives_and_the_first_is_fenced_off(keeper: Keeper) -> None:
    first = keeper.take(V2, "anna@laptop")
    second = keeper.take(V2, "ben@desk")
    assert second.lock.number == 2 and "the same operation of anna@laptop" in second.over
    assert keeper.records.read(first.lock.run)["result"] == "interrupted"
    for attempt in (lambda: keeper.renew(first.lock.token), lambda: keeper.check(first.lock.token)):
        with pytest.raises(FencedOff, match=r"of ben@desk has taken the lock over \(number 2\)"):
            attempt()
    assert not keeper.release(first.lock.token)
    assert keeper.read().token == second.lock.token


def test_the_same_operation_waits_for_the_module_that_works_and_takes_over_when_it_is_killed(keeper: Keeper) -> None:
    token = keeper.take(V2, "anna@laptop").lock.token
    with another(WORKER, keeper.directory, token) as worker:
        threading.Timer(0.4, worker.kill).start()
        began = time.monotonic()
        grant = keeper.take(V2, "ben@desk")
        assert time.monotonic() - began > 0.3
    assert grant.lock.number == 2


def test_a_module_that_ends_is_waited_for_and_nothing_of_it_is_fenced_off(keeper: Keeper) -> None:
    token = keeper.take(V2, "anna@laptop").lock.token
    with another(WORKER, keeper.directory, token) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        with pytest.raises(LockHeld, match=f"process {worker.pid} works on it"):
            keeper.take(V3, "ben@desk")
        more = working(LockOptions(lock_token=token), keeper.directory, "compose_build of travel")
        with pytest.raises(LockHeld, match="another module of the same operation"), more:
            pass
        worker.stdin.write("go\n")
        worker.stdin.flush()
        assert keeper.take(V2, "ben@desk").lock.number == 2
        assert worker.stdout.readline() == "acted\n"
        assert worker.wait(60) == 0


def test_a_zombie_that_wakes_up_after_its_lease_is_fenced_off(keeper: Keeper) -> None:
    token = keeper.take(V2, "anna@laptop", length=0.9).lock.token
    with another(WORKER, keeper.directory, token) as zombie:
        assert zombie.stdin is not None and zombie.stdout is not None
        # While it lives it renews: nobody else gets in.
        begun = keeper.read().renewed
        wait_until(lambda: keeper.read().renewed != begun)
        with pytest.raises(LockHeld):
            keeper.take(V3, "ben@desk")
        # Not in the middle of a renewal, which would keep the records locked for as long as it is stopped.
        with flock(os.path.join(keeper.directory, "lock.mutex"), fcntl.LOCK_EX):
            zombie.send_signal(signal.SIGSTOP)
            wait_until(lambda: Path(f"/proc/{zombie.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        grant = keeper.take(V3, "ben@desk", wait=60)
        assert "whose lease ran out" in grant.over
        zombie.send_signal(signal.SIGCONT)
        zombie.stdin.write("go\n")
        zombie.stdin.flush()
        assert zombie.stdout.readline() == (
            "fenced off: update of travel to v3 of ben@desk has taken the lock over (number 2)\n"
        )
        assert zombie.wait(60) == 0
    assert keeper.read() == grant.lock
    assert [line["event"] for line in keeper.journal.lines()] == ["taken", "taken"]


def test_nobody_takes_over_in_the_middle_of_an_act(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "ACT_PATIENCE", 0.5)
    token = keeper.take(V2, "anna@laptop").lock.token
    with another(ACTOR, keeper.directory, token) as actor:
        with pytest.raises(
            LockHeld, match=f"process {actor.pid} of update of travel to v2 by anna@laptop is in the middle"
        ) as no:
            keeper.take(V3, "ben@desk", over=True)
        assert "kill -9" in no.value.advice
        assert keeper.renew(token).number == 1
        actor.kill()
        actor.wait()
        assert keeper.take(V3, "ben@desk", over=True).lock.number == 2


PARENT = """
    import subprocess
    from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.file_lock import held_for_acts
    with journal.working(journal.LockOptions(lock_token=sys.argv[2]), sys.argv[1], "compose_rolling of travel") as fence:
        with fence.act("start api"):
            child = subprocess.Popen(["sh", "-c", 'sleep 0.5; touch "$1"', "sh", sys.argv[3]], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, pass_fds=tuple(held_for_acts))
            print("ready", flush=True)
            sys.stdin.readline()
"""


def test_what_a_killed_module_had_started_is_waited_for_too(keeper: Keeper, tmp_path: Path) -> None:
    token, ended = keeper.take(V2, "anna@laptop").lock.token, tmp_path / "ended"
    with another(PARENT, keeper.directory, token, str(ended)) as parent:
        parent.kill()
        parent.wait()
        assert keeper.take(V2, "ben@desk").lock.number == 2
        assert ended.exists()


def test_a_module_alone_holds_it_for_as_long_as_it_lives(keeper: Keeper) -> None:
    with another(ALONE, keeper.directory) as alone:
        with pytest.raises(LockHeld, match=f"compose_rolling of travel, begun .* process {alone.pid} works on it"):
            keeper.take(V2, "anna@laptop")
        with pytest.raises(LockHeld), working(LockOptions(), keeper.directory, "compose_build of travel"):
            pass
        alone.kill()
        alone.wait()
        with working(LockOptions(), keeper.directory, "compose_build of travel") as fence:
            assert fence.number == 2
    assert not keeper.read().held
    assert not (Path(keeper.directory) / "operations").exists()


def test_many_at_once_get_it_one_after_the_other(keeper: Keeper, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = """
        print("ready", flush=True)
        for _round in range(5):
            while True:
                try:
                    with journal.working(journal.LockOptions(), sys.argv[1], "compose_rolling of travel") as fence:
                        with fence.act("x"):
                            with open(sys.argv[2], "a") as log:
                                log.write(f"{fence.number} in\\n")
                                log.flush()
                                time.sleep(0.01)
                                log.write(f"{fence.number} out\\n")
                    break
                except journal.LockHeld:
                    time.sleep(0.01)
    """
    processes = []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    head = "import sys, time\nfrom ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host import journal\n"
    for _index in range(6):
        code = head + textwrap.dedent(script)
        argv = [sys.executable, "-c", code, keeper.directory, str(log)]
        processes.append(subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL))
    assert [p.wait(120) for p in processes] == [0] * 6
    lines = log.read_text().splitlines()
    numbers = [int(line.split()[0]) for line in lines]
    assert len(lines) == 60 and numbers == sorted(numbers)
    assert lines[1::2] == [line.replace("in", "out") for line in lines[::2]]


def test_a_full_journal_is_put_aside_and_numbers_go_on(tmp_path: Path) -> None:
    full = records.Journal(str(tmp_path / "journal.jsonl"), full=60)
    for number in range(1, 8):
        full.append({"number": number, "event": "taken"})
    assert [line["number"] for line in full.lines()] == [4, 5, 6, 7]
    assert full.highest_number() == 7
    assert sorted(p.name for p in tmp_path.iterdir()) == ["journal.jsonl", "journal.jsonl.1"]
    os.unlink(full.path)
    assert full.highest_number() == 6


@pytest.mark.parametrize("torn", [b'{"number": 9, "ru', b"\0\0\0", b"\xff\xfe{", b'"text"\n[1]\n'])
def test_torn_lines_are_passed_over_and_end_nothing(tmp_path: Path, torn: bytes) -> None:
    own = Journal(str(tmp_path / "journal.jsonl"))
    assert list(own.lines()) == [] and own.highest_number() == 0
    own.append({"number": 3})
    with open(own.path, "ab") as stream:
        stream.write(torn)
    own.append({"number": 4})
    assert list(own.lines()) == [{"number": 3}, {"number": 4}]
    assert own.highest_number() == 4


@pytest.mark.parametrize("damage", ["", "{", '{"number": 1}', None])
def test_a_lost_record_does_not_lower_the_number(keeper: Keeper, damage: str | None) -> None:
    token = keeper.take(V2, "anna@laptop").lock.token
    path = Path(keeper.directory) / "lock"
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)
    with pytest.raises(FencedOff):
        keeper.check(token)
    assert keeper.take(V3, "ben@desk").lock.number == 2


def test_a_link_is_not_followed(keeper: Keeper, tmp_path: Path) -> None:
    for name in ("lock.guard", "journal.jsonl"):
        (Path(keeper.directory) / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FilesFailed, match=r"lock\.guard cannot be opened"):
        keeper.take(V2, "anna@laptop")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "token", ["", "x", "1.../../etc/passwd", "0.20261120T084911Z-update-3f2a1c9b", "1.20261120T084911Z-u-"]
)
def test_what_is_no_token_opens_nothing(keeper: Keeper, token: str) -> None:
    keeper.take(V2, "anna@laptop")
    with pytest.raises(FencedOff, match="is no lock token"):
        keeper.check(token)


def test_an_undo_is_owed_over_kills_and_takeovers_until_it_is_finished(keeper: Keeper) -> None:
    first = keeper.take(V2, "anna@laptop").lock
    keeper.note(first.run, before={"release": "r1"}, release="r2")
    begin_undo(keeper, first.token, "What: api answered 500\nlog: password=hunter2")
    second = keeper.take(V2, "ben@desk")
    assert (second.pending_undo["before"], second.pending_undo["goal"], second.pending_undo["reason"]) == (
        {"release": "r1"}, "undo", "api answered 500")  # fmt: skip
    # Its own way back fails as well: the first one stays the one that is owed.
    begin_undo(keeper, second.lock.token, "no room")
    keeper.release(second.lock.token)
    third = keeper.take(V3, "ben@desk")
    assert third.pending_undo["run"] == first.run
    end_undo(keeper, third.lock.token)
    assert keeper.records.read(first.run)["undone"] is True
    keeper.release(third.lock.token)
    assert keeper.take(V3, "ben@desk").pending_undo == {}
    assert "hunter2" not in Path(keeper.journal.path).read_text()


def test_a_step_is_recorded_with_how_it_ended(keeper: Keeper) -> None:
    lock = keeper.take(V2, "anna@laptop").lock
    params = {"lock_token": lock.token}
    with working(lock_options(params), keeper.directory, "compose_build of travel") as fence:
        assert fence.reported({"changed": True}) == {"changed": True}
    with pytest.raises(ZeroDivisionError), working(lock_options(params), keeper.directory, "compose_rolling of travel"):
        raise ZeroDivisionError("a defect\nsecond line")
    steps = keeper.records.read(lock.run)["steps"]
    assert [(s["step"], s["result"], s.get("changed")) for s in steps] == [
        ("compose_build of travel", "ok", True), ("compose_rolling of travel", "failed: a defect", None)]  # fmt: skip
    assert keeper.read().process is None


@pytest.mark.parametrize("text", ["", "\n\n", "What: \n"])
def test_a_reason_may_be_empty(text: str) -> None:
    assert first_line(text) in ("", "What:")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(path)], check=False)
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def fill(folder: Path) -> None:
    with pytest.raises(OSError, match="No space left"), open(folder / "filler", "wb", buffering=0) as stream:
        while True:
            stream.write(b"x" * 4096)


def test_a_full_disk_begins_nothing(small_disk: Path) -> None:
    keeper = Keeper(str(small_disk))
    fill(small_disk)
    with pytest.raises(
        FilesFailed, match=r"nothing can be written to .*: No space left on device; nothing was touched"
    ):
        keeper.take(V2, "anna@laptop")
    (small_disk / "filler").unlink()
    assert keeper.take(V2, "anna@laptop").lock.number == 1


def test_on_a_full_disk_the_lock_never_gets_shorter_so_that_whoever_reads_sees_it_whole(small_disk: Path) -> None:
    keeper, path = Keeper(str(small_disk)), small_disk / "lock"
    lock = keeper.take(V2, "anna@laptop").lock
    fill(small_disk)
    with working(LockOptions(lock_token=lock.token), str(small_disk), "compose_rolling of travel"):
        # With a process in it the lock is longer than without.
        size = path.stat().st_size
    assert path.stat().st_size == size and keeper.read().process is None
    assert keeper.release(lock.token) and path.stat().st_size == size and not keeper.read().held


def test_a_full_disk_keeps_nobody_from_acting_going_back_and_giving_back(small_disk: Path) -> None:
    keeper = Keeper(str(small_disk))
    lock = keeper.take(V2, "anna@laptop").lock
    fill(small_disk)
    with working(LockOptions(lock_token=lock.token), str(small_disk), "compose_rolling of travel") as fence:
        with fence.act("rotate api"):
            pass
        fence.undo_begins("api answered 500")
        with fence.act("rotate api"):
            pass
    assert keeper.read().pending_undo == lock.run
    assert json.loads((small_disk / "operations" / f"{lock.run}.json").read_text())["run"] == lock.run
    assert keeper.release(lock.token) and not keeper.read().held
    (small_disk / "filler").unlink()
    # Whole lines only, also after it was full.
    Journal(keeper.journal.path).append({"number": 1, "event": "after"})
    text = Path(keeper.journal.path).read_text()
    assert all(json.loads(line) for line in text.splitlines())


def test_what_a_module_returned_is_in_its_step_or_in_one_of_its_own(keeper: Keeper) -> None:
    lock = keeper.take(V2, "anna@laptop").lock
    began = time.time()
    with working(LockOptions(keeper.directory, lock.token), keeper.directory, "hotfix_live of /srv/travel"):
        pass
    # It noted one thing under the lock, and told another at its end.
    keeper.add_report(lock.token, "hotfix_live", began, {"notes": ["a file is gone"], "result": "not this"})
    keeper.add_report(lock.token, "django_migrate", time.time(), {"comes_back": True})
    first, second = keeper.records.read(lock.run)["steps"]
    assert (first["step"], first["notes"], first["result"]) == ("hotfix_live of /srv/travel", ["a file is gone"], "ok")
    assert (second["step"], second["comes_back"], second["result"]) == ("django_migrate", True, "ok")
    keeper.release(lock.token)
    keeper.add_report(lock.token, "late", time.time(), {"notes": ["too late"]})
    assert len(keeper.records.read(lock.run)["steps"]) == 2


def test_what_a_full_disk_keeps_from_the_record_is_told_and_that_it_ended_is_on_record(small_disk: Path) -> None:
    keeper = Keeper(str(small_disk))
    token = keeper.take(V2, "anna@laptop").lock.token
    options = LockOptions(str(small_disk), token)

    def done(step: str, **facts: Any) -> None:
        with working(options, str(small_disk), f"{step} of /srv/travel") as fence:
            fence.reported({"changed": True, **facts})

    done("symlink_release", release="r2", revision="2" * 40, rollback_target="r1", rollback_target_revision="1" * 40)
    fill(small_disk)
    # As long as it fits into what the record takes on the disk, it is there.
    done("django_static", msg="7 files")
    done("compose_rolling", msg="x" * 8000)
    done("smoke_test", msg="y" * 8000)
    base = {
        "state_dir": str(small_disk),
        "playbook": "update",
        "app_name": "travel",
        "target": "v2",
        "lease": 1800,
        "wait": 0,
    }
    lines = deploy_lock({**base, "state": "released", "lock_token": token}, False)["summary"]
    assert lines[0].startswith("travel is at v2 (222222222222), after ")
    assert "7 files" in lines
    assert (
        "note: what was done is not all told here, since it could not be written down: No space left on device" in lines
    )
    assert lines[-1].endswith("rollback --check tells whether it can go back to 111111111111")
    (record,) = (small_disk / "operations").glob("*.json")
    assert json.loads(record.read_text())["result"] == "ok"
    # The next holder's record is whole again.
    (small_disk / "filler").unlink()
    assert keeper.take(V2, "anna@laptop").lock.unwritten == ""
