# SPDX-License-Identifier: GPL-3.0-or-later
"""What a method of updating costs, read from the kernel and from users' answers, not from the method's own words."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from tests.bed.load.process import LoadRun
from tests.bed.load.result import Result
from tests.bed.processors import Others, wait_until_quiet

MIX = "new=4,keepalive=4,static=1,slow=2"
#: How long `slow` requests last, the longest that are in flight at the switch.
LONGEST_IN_FLIGHT = 2.0
WARM_SECONDS, TAIL_SECONDS, PATIENCE = 8.0, 4.0, 20.0
MIB = 1024 * 1024


class World(Protocol):
    """A shop that runs v1 somewhere: what a measurement has to know of it."""

    url: str
    folder: Path

    def prepare(self, method: Method) -> None:
        """Make it afresh: v1 runs and is well, v2 is built."""

    def command(self, method: Method) -> Command:
        """What an operator types."""

    def pids(self, services: Sequence[str]) -> list[int]:
        """This machine's ids of the first processes of the services' containers."""

    def groups(self) -> list[Path]:
        """The memory cgroups of all containers of the shop."""


@dataclass(frozen=True)
class Command:
    """A command line, where it is run, and what its environment has besides ours."""

    argv: Sequence[str]
    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 240.0


@dataclass(frozen=True)
class Method:
    """One way of getting from v1 to v2.

    :ivar world: which of the worlds it is tried in.
    :ivar services: what it replaces: their processes have to be others afterwards.
    :ivar version: what answers afterwards.
    :ivar ours: its command prints what `tests.bed.tasks` reads, and has to succeed.
    :ivar options: for the world.
    """

    key: str
    title: str
    world: str
    services: tuple[str, ...]
    ours: bool = False
    version: str = "v2"
    note: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """One method, measured (seconds, ms, MiB).

    :ivar seconds: until its command has ended, everything new answers and nothing old is left; None for never.
    :ivar old_gone: when the last process of the old had ended, None for never.
    :ivar new_came: when the first user was answered by the new version.
    :ivar memory_mib: of the containers, `tool_mib` of the command's own processes, both when their sum peaked.
    :ivar others: share of the processors that somebody else used, see :class:`tests.bed.processors.Others`.
    :ivar failed: of these `raced` are nginx's closes of idle connections that crossed a request.
    :ivar before: failures before the method began, which are nobody's.
    """

    method: Method
    total: int
    failed: int
    raced: int
    kinds: Mapping[str, int]
    before: int
    gap_ms: float
    seconds: float | None
    command_seconds: float
    old_gone: float | None
    new_came: float | None
    returncode: int
    memory_mib: float
    tool_mib: float
    requests_per_second: float
    p99_ms: float
    window: float
    others: float
    output: str = field(repr=False, default="")


def memory_group(pid: int) -> Path | None:
    """The directory of a process's memory cgroup (either version)."""
    with contextlib.suppress(OSError):
        lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()]
        for _number, controllers, path in lines:
            if "memory" in controllers.split(","):
                return Path("/sys/fs/cgroup/memory" + path)
        return Path("/sys/fs/cgroup" + lines[-1][2]) if lines else None
    return None


def group_memory(group: Path) -> int:
    """Bytes in a memory cgroup that cannot simply be dropped: its use without the page cache nobody touched lately."""
    with contextlib.suppress(OSError, ValueError):
        second = (group / "memory.current").exists()
        used = int((group / ("memory.current" if second else "memory.usage_in_bytes")).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, used - int(stat.get("inactive_file" if second else "total_inactive_file", 0)))
    return 0


def tree_memory(root: int) -> int:
    """Bytes that a process and its descendants hold for themselves alone (resident, not shared)."""
    parents: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{name}/stat").read_text(encoding="utf-8", errors="replace")
            parents[int(name)] = int(stat.rsplit(")", 1)[1].split()[1])
    inside, grown = {root}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in inside} - inside
        inside |= more
        grown = bool(more)
    pages = 0
    for pid in inside:
        with contextlib.suppress(OSError):
            _size, resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[:3]
            pages += int(resident) - int(shared)
    return pages * os.sysconf("SC_PAGE_SIZE")


class Sampler:
    """Looks at a world's containers, and at a command's own processes, four times a second until the block is left."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._samples: list[tuple[float, int, int]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.tool: int | None = None
        self.others = Others()

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join(10)

    def _sample(self) -> None:
        while not self._end.wait(0.25):
            # A container may go while it is looked at; the next sample has the truth.
            with contextlib.suppress(Exception):
                groups = self._world.groups()
                used, own = sum(map(group_memory, groups)), tree_memory(self.tool) if self.tool else 0
                self._samples.append((time.monotonic(), used, own))
                self.others.look(groups)

    def extra(self, since: float) -> tuple[float, float]:
        """MiB of the containers, above what was usual in the 3 seconds before, and of the tool, when both peaked."""
        usual = [used for at, used, _own in self._samples if since - 3 <= at < since]
        later = [(used, own) for at, used, own in self._samples if at >= since]
        if not usual or not later:
            return 0.0, 0.0
        used, own = max(later, key=sum)
        return (used - statistics.median(usual)) / MIB, own / MIB


def answers(url: str, path: str, timeout: float = 2.0) -> tuple[int, str]:
    """Status and version of one GET on a connection of its own; 0 when there was no answer."""
    connection = http.client.HTTPConnection(url.split("//", 1)[1], timeout=timeout)
    try:
        connection.request("GET", path, headers={"Host": "shop.localhost", "Connection": "close"})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("X-Shop-Version", "")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def serves(url: str, version: str, paths: Iterable[str] = ("/health/", "/", "/api/tours/")) -> bool:
    """Whether users get this version, and rightly."""
    return all(answers(url, path) == (200, version) for path in paths)


def wait_until_serving(url: str, version: str, seconds: float = 120.0) -> None:
    """Wait for ten right answers in a row.

    :raises TimeoutError: there were none.
    """
    deadline, right = time.monotonic() + seconds, 0
    while right < 10:
        right = right + 1 if serves(url, version) else 0
        if time.monotonic() > deadline:
            raise TimeoutError(f"{url} does not serve {version} after {seconds:g} s: {answers(url, '/health/')}")
        time.sleep(0.05)


def load_on(world: World, rate: float, seconds: float = 400.0) -> LoadRun:
    """The load that every method meets."""
    patience = ["--timeout", "30", "--connect-timeout", "5", "--drain", "20"]
    return LoadRun(world.url, world.folder / "load", rate=rate, seconds=seconds, mix=MIX, arguments=patience)


class Operator:
    """Runs a method's command, and ends all of it when the block is left."""

    def __init__(self, command: Command, log: Path) -> None:
        self._command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Operator:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                list(self._command.argv), cwd=self._command.cwd, env={**os.environ, **self._command.environment},
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.poll() if self._process else None

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


def measure(world: World, method: Method, rate: float) -> Measurement:
    """Try one method on a fresh v1 under load."""
    world.prepare(method)
    wait_until_serving(world.url, "v1")
    wait_until_quiet()
    with load_on(world, rate) as load, Sampler(world) as sampler:
        time.sleep(WARM_SECONDS)
        old = world.pids(method.services)
        command = world.command(method)
        load.mark("method-start")
        began = time.monotonic()
        with Operator(command, world.folder / f"{method.key}.log") as operator:
            sampler.tool = operator.pid
            end = _wait_for_the_end(world, method, operator, old, began + command.timeout)
            load.mark("method-end")
            output, returncode = operator.output, operator.returncode
        time.sleep(TAIL_SECONDS)
        result = load.stop()
        memory, others = sampler.extra(began), sampler.others.share()
    return _measurement(method, result, began, end, memory, others, -1 if returncode is None else returncode, output)


@dataclass
class _End:
    """Moments (monotonic): the command had ended, the old was gone, all was as wanted."""

    command: float = 0.0
    gone: float | None = None
    settled: float | None = None


def _wait_for_the_end(world: World, method: Method, operator: Operator, old: Sequence[int], deadline: float) -> _End:
    end = _End()
    while end.settled is None and time.monotonic() < (end.command + PATIENCE if end.command else deadline):
        if not end.command and operator.returncode is not None:
            end.command = time.monotonic()
        if end.gone is None and not any(os.path.exists(f"/proc/{pid}") for pid in old):
            end.gone = time.monotonic()
        # Nothing to ask for while the command runs: asking costs the machine under measurement.
        if end.command and end.gone is not None and serves(world.url, method.version):
            end.settled = time.monotonic()
        time.sleep(0.1 if end.command else 0.02)
    end.command = end.command or time.monotonic()
    return end


def _measurement(
    method: Method,
    result: Result,
    began: float,
    end: _End,
    memory: tuple[float, float],
    others: float,
    returncode: int,
    output: str,
) -> Measurement:
    during, after = result.phase("method"), result.phase("after-method")
    kinds = {
        kind: during.failed_by_kind.get(kind, 0) + after.failed_by_kind.get(kind, 0)
        for kind in {*during.failed_by_kind, *after.failed_by_kind}
    }
    first = result.versions.get(method.version, {}).get("first", -1.0)
    return Measurement(
        method=method,
        total=during.total + after.total,
        failed=during.failed + after.failed,
        raced=result.keepalive_race,
        kinds=dict(sorted(kinds.items(), key=lambda item: -item[1])),
        before=result.phases[0].failed,
        gap_ms=max(during.longest_app_gap_ms, after.longest_app_gap_ms),
        seconds=None if end.settled is None else end.settled - began,
        command_seconds=end.command - began,
        old_gone=None if end.gone is None else end.gone - began,
        new_came=first - during.start if first > during.start else None,
        returncode=returncode,
        memory_mib=memory[0],
        tool_mib=memory[1],
        requests_per_second=float(result.rate["requests"]),
        p99_ms=float(during.latency_ms.get("p99", 0.0)),
        window=during.seconds + after.seconds,
        others=others,
        output=output,
    )
