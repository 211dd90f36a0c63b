# SPDX-License-Identifier: GPL-3.0-or-later
"""/proc: who is connected, whose child is whose, when it started, how much it holds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import processes

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(local: str, remote: str, state: str) -> str:
    return (
        f"   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000     0        0 1 1 0000 20 4 30 10 -1\n"
    )


# 172.18.0.2, 172.18.0.5 and 127.0.0.1 as x86 and ARM print them; port 8000 is 1F40.
HERE, PEER, LOOP = "020012AC:1F40", "050012AC:C350", "0100007F:C350"
MAPPED = "0000000000000000FFFF0000050012AC:C350"
HERE6, PEER6 = "0000000000000000FFFF0000020012AC:1F40", "000000FD000000000000000012000000:C350"


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        ([row(HERE, PEER, "01")], 1),
        ([row(HERE, PEER, "03"), row(HERE, PEER, "04")], 2),
        # Listening, ended by both sides, or waiting for a late packet: nobody waits for an answer there.
        ([row("00000000:1F40", "00000000:0000", "0A"), row(HERE, PEER, "06"), row(HERE, PEER, "08")], 0),
        # The health command's own question is no user's.
        ([row("0100007F:1F40", LOOP, "01"), row(HERE, "0A01017F:C350", "01")], 0),
        # The other way round: what the service itself asks of somebody's port 8000.
        ([row("020012AC:C350", "050012AC:1F40", "01")], 0),
        ([row(HERE6, MAPPED, "01"), row(HERE6, PEER6, "01")], 2),
        ([row(HERE6, "00000000000000000000000001000000:C350", "01")], 0),
        ([row(HERE6, "0000000000000000FFFF00000100007F:C350", "01")], 0),
        (["   0: torn\n"], 0),
        ([], 0),
    ],
)
def test_connections_in_a_table(rows: list[str], count: int) -> None:
    assert processes.count_connections(HEAD + "".join(rows), 8000) == count
    assert processes.count_connections(HEAD + "".join(rows), 8001) == 0
    assert processes.count_connections(HEAD + "".join(rows), 8001, 8000) == count


def test_no_table_no_connections() -> None:
    assert processes.count_connections("", 8000) == 0
    assert processes.connections(2**22 + 1, 8000) == 0


def own_address() -> str:
    """An address of this machine that is not loopback; no packet is sent for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_real_connections_are_counted_until_they_end_and_loopback_never(family: int) -> None:
    address = own_address()
    if not address or address.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    six = family == socket.AF_INET6
    try:
        listener = socket.create_server(("::" if six else "0.0.0.0", 0), family=family, dualstack_ipv6=six)
    except OSError:
        pytest.skip("no IPv6 here")
    with listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection((address, port)):
            assert processes.connections(os.getpid(), port) == 1
            with socket.create_connection((address, port)):
                assert processes.connections(os.getpid(), port) == 2
        assert processes.connections(os.getpid(), port) == 0


def test_the_tree_of_a_process_holds_its_grandchildren_and_nobody_else() -> None:
    script = "import subprocess, sys; p = subprocess.Popen(['sleep', '30']); print(p.pid, flush=True); p.wait()"
    before = time.time()
    with subprocess.Popen([sys.executable, "-c", script, "a ) b"], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        # The kernel shows no command line for a moment within an exec.
        while not processes.words(grandchild):
            time.sleep(0.01)
        try:
            family = {p.pid: p for p in processes.tree(child.pid)}
            ours = {p.pid for p in processes.tree(os.getpid())}
        finally:
            os.kill(grandchild, 9)
    assert set(family) == {child.pid, grandchild}
    assert family[grandchild].parent == child.pid
    assert family[grandchild].command == "sleep 30"
    assert family[child.pid].command.endswith("a ) b")
    assert {os.getpid(), child.pid, grandchild} <= ours and 1 not in ours - {os.getpid()}
    # The kernel counts in hundredths of a second, rounded down.
    assert before - 0.02 <= family[child.pid].started <= family[grandchild].started <= time.time()


@pytest.mark.parametrize(
    ("work", "at_work"), [("while True: pass", True), ("time.sleep(60)", False)], ids=["counts", "sleeps"]
)
def test_what_a_process_or_a_thread_of_its_child_does_is_work(work: str, at_work: bool) -> None:
    inner = f"import threading, time; t = threading.Thread(target=lambda: exec({work!r})); t.start(); print(flush=True); t.join()"
    outer = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    with subprocess.Popen(
        [sys.executable, "-c", outer, inner], stdout=subprocess.PIPE, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        try:
            end = time.monotonic() + 10
            while processes.at_work(parent.pid) is not at_work and time.monotonic() < end:
                time.sleep(0.05)
            found = {processes.at_work(parent.pid) for _look in range(20)}
        finally:
            os.killpg(parent.pid, 9)
    assert at_work in found if at_work else found == {False}
    assert not processes.at_work(2**22 + 1)


def test_what_a_process_has_had_of_processors_counts_its_children_and_those_that_have_ended() -> None:
    busy = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    idle = "print(flush=True); time.sleep(60)"
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]]); "
    living = f"{busy}\n{idle}"
    for program in (f"{child}import time; {idle}", f"{child.replace('1])', '2])')}"):
        with subprocess.Popen(
            [sys.executable, "-c", program, busy, living], stdout=subprocess.PIPE, start_new_session=True
        ) as parent:
            assert parent.stdout is not None
            parent.stdout.readline()
            try:
                assert processes.processor_seconds(parent.pid) >= 0.29
            finally:
                os.killpg(parent.pid, 9)
    assert processes.processor_seconds(2**22 + 1) == 0.0


def test_the_start_of_a_process_stays_what_it_is() -> None:
    starts = [next(p for p in processes.processes() if p.pid == os.getpid()).started for _look in range(5)]
    assert max(starts) - min(starts) < 0.05


def test_a_program_named_like_the_end_of_its_own_name(tmp_path: Path) -> None:
    odd = tmp_path / "a) S 1 ("
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([str(odd), "30"]) as child:
        try:
            found = {p.pid: p for p in processes.tree(os.getpid())}
        finally:
            child.kill()
    assert found[child.pid].parent == os.getpid()


def test_the_inner_process_id_is_the_own_one_without_namespaces() -> None:
    assert processes.inner_pid(os.getpid()) == os.getpid()
    assert processes.inner_pid(2**22 + 1) == 2**22 + 1


# -- memory, of both cgroup versions ----------------------------------------------------------------------


def faked(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    monkeypatch.setattr(processes, "text_of", lambda path: files.get(path, ""))


SECOND = {
    "/proc/7/cgroup": "0::/system.slice/docker-1.scope\n",
    "/sys/fs/cgroup/system.slice/docker-1.scope/memory.current": "1000000\n",
    "/sys/fs/cgroup/system.slice/docker-1.scope/memory.stat": "anon 5\ninactive_file 400000\nactive_file 9\n",
    "/sys/fs/cgroup/system.slice/docker-1.scope/memory.events": "low 0\noom 4\noom_kill 3\n",
}
FIRST = {
    "/proc/7/cgroup": "12:cpu,cpuacct:/docker/1\n5:memory:/docker/1\n0::/other\n",
    "/sys/fs/cgroup/memory/docker/1/memory.usage_in_bytes": "1000000\n",
    "/sys/fs/cgroup/memory/docker/1/memory.stat": "inactive_file 1\ntotal_inactive_file 400000\n",
    "/sys/fs/cgroup/memory/docker/1/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
}


@pytest.mark.parametrize("files", [SECOND, FIRST], ids=["v2", "v1"])
def test_memory_without_the_page_cache_and_what_was_killed(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    faked(monkeypatch, files)
    assert processes.memory_used(7) == 600_000
    assert processes.kills_for_memory(7) == 3


def test_memory_that_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    faked(monkeypatch, {})
    assert processes.memory_used(7) is None
    assert processes.kills_for_memory(7) == 0


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max", (2_000 * 1024, 900 * 1024)),
        ("1000000", (1_000_000, 400_000)),
        ("9223372036854771712", (2_000 * 1024, 900 * 1024)),
    ],
)
def test_the_machines_memory_within_its_limit(
    limit: str, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {k.replace("/proc/7/", f"/proc/{os.getpid()}/"): v for k, v in SECOND.items()}
    own["/proc/meminfo"] = "MemTotal:       2000 kB\nMemFree: 1 kB\nMemAvailable:    900 kB\nHugePages_Total:   0\n"
    own["/sys/fs/cgroup/system.slice/docker-1.scope/memory.max"] = f"{limit}\n"
    faked(monkeypatch, own)
    assert processes.memory_of_machine() == expected


def test_this_machines_memory_makes_sense() -> None:
    total, available = processes.memory_of_machine()
    assert 0 < available <= total


def status_of(caught: int, blocked: int = 0, inner: str = "4711\t1") -> str:
    return f"Name:\tcelery\nNSpid:\t{inner}\nSigBlk:\t{blocked:016x}\nSigCgt:\t{caught:016x}\n"


@pytest.mark.parametrize(
    ("status", "lost"),
    [
        (status_of(caught=0), True),
        # Python by itself handles SIGINT only.
        (status_of(caught=1 << 1), True),
        (status_of(caught=1 << 14), False),
        # tini and docker-init block what they wait for.
        (status_of(caught=0, blocked=1 << 14), False),
        # Not process 1 where it lives: the default is to end.
        (status_of(caught=0, inner="4711\t7"), False),
        (status_of(caught=0, inner="4711"), False),
        ("", False),
    ],
)
def test_the_kernel_keeps_a_signal_from_process_1_without_a_handler(status: str, lost: bool) -> None:
    assert processes.drops(status, 15) is lost


def test_who_boots_is_given_time_to_handle_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [status_of(caught=1 << 1)] * 3 + [status_of(caught=1 << 14)]
    monkeypatch.setattr(processes, "text_of", lambda path: "0" if path.endswith("wchan") else answers.pop(0))
    young = processes.Process(4711, 1, time.time(), "celery")
    monkeypatch.setattr(processes, "process", lambda _pid: young)
    monkeypatch.setattr(processes.time, "sleep", lambda _seconds: None)
    processes.await_handler(4711, 15)
    assert answers == []


@pytest.mark.parametrize(
    ("program", "hears"),
    [("signal.sigtimedwait({signal.SIGTERM}, 60)", True), ("time.sleep(60)", False)],
)
def test_who_waits_for_signals_as_an_init_does_hears_them(program: str, hears: bool) -> None:
    argv = [sys.executable, "-c", f"import signal, time; print('here', flush=True); {program}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline()
        end = time.monotonic() + 5
        while processes.waits_for_signals(process.pid) is not hears and time.monotonic() < end:
            time.sleep(0.01)
        found = processes.waits_for_signals(process.pid)
        process.kill()
    assert found is hears


def test_an_init_that_has_just_begun_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {"/proc/4711/status": status_of(caught=0), "/proc/4711/wchan": "do_sigtimedwait.isra.0"}
    monkeypatch.setattr(processes, "text_of", shown.__getitem__)
    monkeypatch.setattr(processes, "process", lambda _pid: pytest.fail("waited"))
    processes.await_handler(4711, 15)


@pytest.mark.parametrize("seen", [None, processes.Process(4711, 1, time.time() - 60, "sleep infinity")])
def test_who_is_gone_or_never_handles_signals_is_not_waited_for(
    seen: processes.Process | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "text_of", lambda _path: status_of(caught=0))
    monkeypatch.setattr(processes, "process", lambda _pid: seen)
    monkeypatch.setattr(processes.time, "sleep", lambda _seconds: pytest.fail("waited"))
    processes.await_handler(4711, 15)


def test_where_somebody_listens_is_told_as_people_write_it() -> None:
    table = HEAD + row("0100007F:1F40", "00000000:0000", "0A") + row("00000000:1F40", "00000000:0000", "0A")
    # Connected is not listening, and 8001 is another port.
    table += row(HERE, PEER, "01") + row("020012AC:1F41", "00000000:0000", "0A")
    assert processes.addresses_listening(table, 8000) == ["127.0.0.1", "0.0.0.0"]
    six = HEAD + row("00000000000000000000000000000000:1F40", PEER6, "0A")
    assert processes.addresses_listening(six, 8000) == ["::"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert processes.listening_addresses(listener.getsockname()[1]) == ["127.0.0.1"]


@pytest.mark.parametrize(("state", "waiting"), [("0A", 3), ("01", 0), ("03", 1)])
def test_connections_that_wait_to_be_accepted(state: str, waiting: int) -> None:
    row = f"   0: 00000000:1F40 00000000:0000 {state} 00000000:00000003 00:00000000 00000000     0        0 1 1 0000 100 0 0 10 0\n"
    assert processes.queued(HEAD + row) == waiting
