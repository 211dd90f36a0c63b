# SPDX-License-Identifier: GPL-3.0-or-later
"""A hotfix in running containers: what is done to which in which order, and real files and processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import processes
from ansible_collections.evenkeel.deploy.plugins.module_utils.drift.drift import CHANGED, Difference
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host import live_root
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.live_root import LiveRoot, RootFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix import in_place as decide
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import in_place_record, loaded_code
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host.in_place_record import Entry, Record
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.hotfix import IMAGE, MOUNT, STATIC, Home, Verdict
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.in_place import (
    CUT,
    FREE,
    HELD,
    NOTHING,
    QUIET,
    RESTART,
    ROTATED,
    SIGNAL,
    Copy,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.choice import BACKEND


def web(name: str = "api-1", **more: Any) -> Copy:
    return Copy(name, name, "api", "web", **{"steered": True, "in_rotation": True, "by_signal": True, **more})


def users_of(*copies: Copy, consent: bool = False) -> list[tuple[str, str, str]]:
    return [(t.copy.name, t.reload, t.users) for t in decide.plan(copies, consent).turns]


# -- the plan ---------------------------------------------------------------------------------------------


def test_one_web_container_of_gunicorn_has_its_requests_wait_and_says_so() -> None:
    plan = decide.plan([web()])
    assert [(t.reload, t.users) for t in plan.then] == [(SIGNAL, HELD)] and not plan.refusal and "wait" in plan.notes[0]


def test_several_are_out_of_rotation_one_after_the_other_however_they_load() -> None:
    assert users_of(web(), web("api-2", by_signal=False)) == [
        ("api-1", SIGNAL, ROTATED),
        ("api-2", RESTART, ROTATED),
    ]


@pytest.mark.parametrize(
    ("copy", "expected"),
    [
        (web(by_signal=False), "--preload"),
        (web(unholdable="nftables missing"), "nftables missing"),
        (web(by_signal=False, steered=False), "--preload"),
        (Copy("f", "flower-1", "flower", "other"), "flower would fail"),
    ],
)
def test_a_single_one_that_would_be_gone_is_refused_before_it_begins_or_the_price_is_told(
    copy: Copy, expected: str
) -> None:
    plan = decide.plan([copy])
    assert expected in plan.refusal
    accepted = decide.plan([copy], consent=True)
    assert not accepted.refusal and accepted.turns[0].users == CUT and "fail" in accepted.notes[0]


def test_workers_fetch_no_more_first_and_what_has_loaded_nothing_is_only_written() -> None:
    copies = [
        web(),
        Copy("w", "celery-1", "celery", "worker"),
        Copy("b", "beat-1", "beat", "scheduler"),
        Copy("o", "other-1", "other", "other", keeps=False),
        web("api-2", written=True, keeps=False),
    ]
    plan = decide.plan(copies)
    assert plan.quiesce == ("w",) and [t.copy.id for t in plan.then] == ["api-1"]
    assert [(t.copy.id, t.reload, t.users) for t in plan.first] == [
        ("w", RESTART, QUIET),
        ("b", RESTART, FREE),
        ("o", NOTHING, FREE),
    ]


def test_what_a_killed_run_has_left_is_due_and_only_that() -> None:
    stopped = web("api-1", running=False, keeps=False, written=False)
    loading = web("api-2", written=True, keeps=True, in_rotation=False)
    done = web("api-3", written=True, keeps=False)
    assert users_of(stopped, loading, done) == [("api-1", RESTART, FREE), ("api-2", SIGNAL, ROTATED)]


def test_of_two_the_one_that_a_killed_run_has_taken_away_comes_back_before_the_other_goes() -> None:
    serves = web("api-1", by_signal=False)
    stopped = web("api-2", running=False, keeps=False, in_rotation=False)
    assert users_of(serves, stopped) == [("api-2", RESTART, FREE), ("api-1", RESTART, ROTATED)]
    apart = web("api-2", by_signal=False, in_rotation=False)
    assert users_of(serves, apart) == [("api-2", RESTART, ROTATED), ("api-1", RESTART, ROTATED)]
    done = web("api-2", written=True, keeps=False, in_rotation=False)
    assert users_of(serves, done) == [("api-1", RESTART, ROTATED)], "led to again, once it is ready"


COPIES = st.builds(
    Copy,
    id=st.uuids().map(str),
    name=st.just("x"),
    service=st.sampled_from(["a", "b"]),
    kind=st.sampled_from(["web", "worker", "scheduler", "other"]),
    running=st.booleans(),
    written=st.booleans(),
    keeps=st.booleans(),
    by_signal=st.booleans(),
    unholdable=st.sampled_from(["", "no nft"]),
    steered=st.booleans(),
    in_rotation=st.booleans(),
)


@given(st.lists(COPIES, max_size=8), st.booleans())
def test_each_due_container_has_one_turn_and_no_request_fails_unasked(copies: list[Copy], consent: bool) -> None:
    plan = decide.plan(copies, consent)
    assert sorted(t.copy.id for t in plan.turns) == sorted(c.id for c in copies if c.due)
    # Whatever is not web does not wait for one that may take long to drain.
    assert all(t.copy.kind == "web" for t in plan.then) and all(t.copy.kind != "web" for t in plan.first)
    for turn in plan.turns:
        copy, others = turn.copy, [c for c in copies if c.service == turn.copy.service and c.id != turn.copy.id]
        if turn.users == CUT:
            assert consent or plan.refusal
        if turn.users == ROTATED:
            before = [t.copy.id for t in plan.turns[: plan.turns.index(turn)]]
            assert copy.steered and any(c.running or c.id in before for c in others)
        if turn.users == HELD:
            assert turn.reload == SIGNAL and not copy.unholdable
        if copy.running and copy.keeps:
            assert turn.reload != NOTHING
        if copy.kind == "worker" and copy.running and turn.reload == RESTART:
            assert copy.id in plan.quiesce
    assert bool(plan.refusal) <= any(t.users == CUT for t in plan.turns)


def test_only_code_and_templates_of_images_go_into_running_containers() -> None:
    good = Verdict({BACKEND: ("a.py",)})
    assert decide.objections(good, [Home(IMAGE, "api", "web", "/app/a.py")]) == []
    assert "kind static" in decide.objections(Verdict({STATIC: ("a.css",)}), [])[0]
    assert "mounted" in decide.objections(good, [Home(MOUNT, "api", "web", "/app/a.py")])[0]


def test_a_trace_is_the_end_of_a_path_and_of_a_new_file_its_folder() -> None:
    assert decide.traces("/app/tours/views.py", False) == ("tours/views.py",)
    assert decide.traces("/views.py", False) == ("/views.py",)
    assert decide.traces("/app/tours/extra.py", True) == ("/app/tours/",)
    assert decide.traces("/app/tours/tags/x.py", True) == ("/app/tours/tags/", "/app/tours/")
    assert decide.traces("/app/x.py", True) == ("/app/",)


def test_of_compiled_files_those_of_the_module_go_and_no_others() -> None:
    there = ["views.cpython-313.pyc", "views.cpython-313.opt-1.pyc", "views_more.cpython-313.pyc", "views.txt"]
    assert live_root.compiled_of("views.py", there) == there[1::-1]
    assert live_root.compiled_of("page.html", there) == []


def test_status_says_what_is_to_be_sealed_and_who_came_without_it() -> None:
    one = {"name": "price", "files": ["tours/views.py"], "seal": "SEAL", "goes_back": False, "lacking": []}
    assert decide.unsealed([{"name": "x", "files": []}]) == []
    ((what, command),) = decide.unsealed([one])
    assert "tours/views.py" in what and command == "SEAL"
    ((what, command),) = decide.unsealed([{**one, "lacking": ["api-2"]}])
    assert "api-2 did" in what and "again" in command
    ((what, command),) = decide.unsealed([{**one, "goes_back": True}])
    assert "way back" in what and "rollback_hotfix=price" in command


# -- files ------------------------------------------------------------------------------------------------


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "app/tours/__pycache__").mkdir(parents=True)
    (tmp_path / "app/tours/views.py").write_text("one\n")
    (tmp_path / "app/tours/views.py").chmod(0o640)
    for name in ("views.cpython-313.pyc", "models.cpython-313.pyc"):
        (tmp_path / "app/tours/__pycache__" / name).write_text("compiled")
    return tmp_path


def test_a_file_is_replaced_with_its_mode_and_what_was_compiled_of_it_goes(top: Path) -> None:
    root = LiveRoot(0, str(top))
    before = root.changed("/app/tours/views.py")
    root.put({"/app/tours/views.py": (b"two\n", 0o644), "/app/new/deep/x.py": (b"x\n", 0o644)})
    assert root.content("/app/tours/views.py") == b"two\n" and root.content("/app/new/deep/x.py") == b"x\n"
    assert (top / "app/tours/views.py").stat().st_mode & 0o777 == 0o640
    assert (top / "app/new/deep/x.py").stat().st_mode & 0o777 == 0o644
    assert os.listdir(top / "app/tours/__pycache__") == ["models.cpython-313.pyc"]
    assert sorted(os.listdir(top / "app/tours")) == ["__pycache__", "views.py"]
    after = root.changed("/app/tours/views.py")
    assert before is not None and after is not None and after >= before
    root.put({"/app/new/deep/x.py": (None, 0o644), "/app/nowhere/y.py": (None, 0o644)})
    assert root.content("/app/new/deep/x.py") is None and root.content("/app/nowhere/y.py") is None


def test_the_moment_of_a_change_is_the_kernels_whatever_times_a_file_is_given(top: Path) -> None:
    began = time.time()
    os.utime(top / "app/tours/views.py", (1, 1))
    moment = LiveRoot(0, str(top)).changed("/app/tours/views.py")
    # The kernel's clock for files is as coarse as its ticks.
    assert moment is not None and moment > began - 0.1


def test_no_link_leads_out_of_a_container(top: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "views.py").write_text("the host's\n")
    (top / "app/linked").symlink_to(outside)
    (top / "app/tours/link.py").symlink_to(outside / "views.py")
    root = LiveRoot(0, str(top))
    for path in ("/app/linked/views.py", "/app/tours/link.py"):
        with pytest.raises(RootFailed):
            root.content(path)
    with pytest.raises(RootFailed):
        root.put({"/app/linked/views.py": (b"bad\n", 0o644)})
    # A link at the end of the way is replaced itself.
    root.put({"/app/tours/link.py": (b"good\n", 0o644)})
    assert (outside / "views.py").read_text() == "the host's\n" and root.changed("/app/linked/views.py") is None


def test_where_one_file_cannot_be_written_none_is(top: Path) -> None:
    (top / "app/file").write_text("no folder")
    root = LiveRoot(0, str(top))
    with pytest.raises(RootFailed):
        root.put({"/app/tours/views.py": (b"two\n", 0o644), "/app/file/x.py": (b"x\n", 0o644)})
    assert root.content("/app/tours/views.py") == b"one\n" and sorted(os.listdir(top / "app/tours")) == [
        "__pycache__",
        "views.py",
    ]


# -- processes --------------------------------------------------------------------------------------------

WAIT = "import sys, time; sys.stdout.write('up\\n'); sys.stdout.flush(); time.sleep(60)"


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (tmp_path / "evenkeelpkg").mkdir()
    # Of a module without any function only its name is left.
    (tmp_path / "evenkeelpkg/loaded_or_not.py").write_text("VERSION = 1\n")
    return tmp_path


@pytest.fixture
def started() -> Iterator[Any]:
    running: list[subprocess.Popen[str]] = []

    def start(code: str, folder: Path) -> int:
        process = subprocess.Popen([sys.executable, "-c", code], cwd=folder, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout and process.stdout.readline() == "up\n"
        return process.pid

    yield start
    for process in running:
        process.kill()
        process.wait()


TRACE = ("evenkeelpkg/loaded_or_not.py",)


def test_what_a_process_has_loaded_is_in_its_memory_and_what_it_has_not_is_not(module: Path, started: Any) -> None:
    without, having = started(WAIT, module), started(f"import evenkeelpkg.loaded_or_not; {WAIT}", module)
    assert not loaded_code.holds(without, TRACE) and loaded_code.holds(having, TRACE)
    # What may not be looked at counts as having it, what is gone as not.
    assert loaded_code.holds(without, ("tours/été.py",)) and not loaded_code.holds(2**22 + 5, TRACE)


def test_who_was_started_after_the_change_keeps_nothing(module: Path, started: Any) -> None:
    having = started(f"import evenkeelpkg.loaded_or_not; {WAIT}", module)
    seen = processes.process(having)
    assert seen is not None
    assert [p.pid for p in loaded_code.keeping(having, seen.started + 1, TRACE)] == [having]
    assert loaded_code.keeping(having, seen.started - 1, TRACE) == []
    assert [p.pid for p in loaded_code.keeping(having, float("inf"), TRACE)] == [having]


LISTENS = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()"


def test_who_listens_takes_requests_and_who_has_closed_does_not(tmp_path: Path, started: Any) -> None:
    unix = f"import socket; s = socket.socket(socket.AF_UNIX); s.bind({str(tmp_path / 's')!r}); s.listen()"
    assert loaded_code.accepts(started(f"{LISTENS}; {WAIT}", tmp_path))
    assert loaded_code.accepts(started(f"{unix}; {WAIT}", tmp_path))
    assert not loaded_code.accepts(started(f"{LISTENS}; s.close(); {WAIT}", tmp_path))
    asks = f"{LISTENS}; import select; e = select.epoll(); e.register(s); "
    assert loaded_code.accepts(started(asks + WAIT, tmp_path))
    assert not loaded_code.accepts(started(f"{asks} e.unregister(s); {WAIT}", tmp_path))


#: As gunicorn does it: a master that forks, and its workers load the app; with ``preload`` the master does.
MASTER = """
import os, signal, sys, time
signal.signal(signal.SIGHUP, lambda *a: None)
if {preload}:
    import evenkeelpkg.loaded_or_not
for _n in range(2):
    if os.fork() == 0:
        import evenkeelpkg.loaded_or_not
        sys.stdout.write("up\\n"); sys.stdout.flush()
        time.sleep(60)
        os._exit(0)
time.sleep(60)
"""


@pytest.mark.parametrize("preload", [False, True])
@pytest.mark.parametrize("name", ["gunicorn", "python"])
def test_a_master_that_has_loaded_nothing_is_told_and_no_other(module: Path, preload: bool, name: str) -> None:
    script = module / name
    script.write_text(MASTER.format(preload=preload))
    master = subprocess.Popen(
        [sys.executable, str(script)], cwd=module, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert master.stdout and [master.stdout.readline() for _n in range(2)] == ["up\n", "up\n"]
        kept = loaded_code.keeping(master.pid, float("inf"), TRACE)
        assert len(kept) == (3 if preload else 2)
        expected = master.pid if name == "gunicorn" and not preload else 0
        assert loaded_code.master_of(kept, master.pid) == expected
        # They listen at nothing, but nobody has come for them.
        assert len(loaded_code.keeping(master.pid, time.time() + 1, TRACE)) == len(kept)
    finally:
        os.killpg(master.pid, signal.SIGKILL)
        master.wait()


# -- what is remembered ------------------------------------------------------------------------------------


def record(**more: Any) -> Record:
    entry = Entry("/app/tours/views.py", "tours/views.py", b"one\n", b"two\n", 0o640, 1000, 1000)
    new = Entry("/app/tours/x.py", "tours/x.py", None, b"\xff\x00")
    return Record(**{
        "name": "price", "base": "b" * 40, "commit": "c" * 40, "release": "r1", "made": "2026-11-21T10:00:00Z", "since": 5.5,
        "images": {"shop-api:1": (entry, new)}, **more,
    })  # fmt: skip


def test_it_is_remembered_whole_by_its_owner_alone_and_a_torn_one_is_none(tmp_path: Path) -> None:
    kept = record(goal="reverted", reason="it failed", earlier=("a",))
    in_place_record.write(str(tmp_path), kept)
    assert in_place_record.read(str(tmp_path)) == kept
    path = tmp_path / "in-place.json"
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text(path.read_text().replace('"since": 5.5', '"since": null'))
    assert in_place_record.read(str(tmp_path)) is None
    in_place_record.forget(str(tmp_path))
    in_place_record.forget(str(tmp_path))
    assert not path.exists()


def test_contents_of_the_image_of_this_and_of_an_earlier_one_are_known_and_a_hand_edit_is_not() -> None:
    kept = record(earlier=(in_place_record.sum_of(b"one and a half\n"),))
    entry = kept.images["shop-api:1"][0]
    assert all(kept.knows(entry, there) for there in (b"one\n", b"two\n", b"one and a half\n"))
    assert not kept.knows(entry, b"nano\n") and not kept.knows(entry, None)


def test_what_differs_in_a_container_is_told_from_hand_edits_and_one_that_lacks_it_is_seen() -> None:
    kept = record()
    mine = [Difference(e.path, CHANGED, "", e.sum) for e in kept.images["shop-api:1"]]
    other = Difference("/app/tours/views.py", CHANGED, "", in_place_record.sum_of(b"nano\n"))
    assert kept.there("shop-api:1", mine) == in_place_record.There(True, ())
    assert kept.there("shop-api:1", [other, mine[1]]) == in_place_record.There(False, (other,))
    # Started again in the same second, it is not what its entrypoint wrote.
    started = [Difference(d.path, CHANGED, "", d.after, at_start=True) for d in (*mine, other)]
    assert [d.at_start for d in kept.judged("shop-api:1", started)] == [False, False, True]
    assert kept.there("shop-api:1", []) == in_place_record.There(False, ())
    assert kept.there("postgres:17", [other]) == in_place_record.There(True, (other,))
