# SPDX-License-Identifier: GPL-3.0-or-later
"""What users and operators notice of each operation on a server with one processor: a cell of ``make evidence``.

Load generator and ``ansible-playbook`` have the first processor of this machine; a nested server, with its engine, its
modules and all its containers, has the second. So neither is measured in the other's place. In the server processors are shared as
systemd has it: with engine and containers all below one group, each process of the engine's would have as much as all containers.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import processor_share
from tests.bed.load.database import Database, wait_for_tasks
from tests.bed.load.process import LoadRun
from tests.bed.load.result import Phase, Result
from tests.bed.processors import busy_share
from tests.bed.server import Server
from tests.bed.shop import BedError, run
from tests.bed.ssh_speed import acts, timed, warm
from tests.bed.tasks import Run

#: What part of the server's processor its users fill while nothing is done to it. Machines are not equally fast, and
#: where users fill all of it nothing can be done for them.
FILLED = (0.3, 0.6)
#: Requests a second that are wanted to be carried while something is done, where the server's processor has a fifth to spare with them.
WANTED, _SPARE = 100, 0.2
#: Requests a second, and seconds, by which it is found how many that takes.
_SAMPLE, _SAMPLED = 20, 20.0
#: Seconds before the first operation, between two, and after the last.
_BETWEEN = 10.0
_COLUMNS = (
    "in use without it | requests a second | operation | beside its roll | its roll | p99 before | p99 | ratio | slowest | "
    "requests | failed"
)
_LEGEND = f"""One processor for load generator and `ansible-playbook`, the other for a nested server, reached by ssh, which shares
it as systemd does: half for engine and containers (`system.slice`), half for who is logged in (`user.slice`).
*In use without it* is the part of that processor that is in use in the ten seconds before and after
the operation. The rates were chosen to fill 30 % and 60 % of it, with {WANTED} besides where that leaves {_SPARE:.0%}; machines
change their speed meanwhile.
*p99* and *slowest* are of pages and orders while the playbook ran; requests that take seconds by themselves are in flight too,
and are counted. *p99 before* is the median of the times in which nothing was done: before, between and after the operations.
The images of both versions are there. *six starts* is what the engine costs with its usual share of the
processors, of which an operation leaves it a tenth: six containers of the app's image, one every ten seconds, with a tenth
of the processors and a program that ends at once. An update starts five, and ends three.
"""


@contextmanager
def _apart(server: Server) -> Iterator[int]:
    """This process and its children have one processor meanwhile, the server has another: its number."""
    ours = sorted(os.sched_getaffinity(0))
    if len(ours) < 2:
        raise BedError("it takes two processors to keep a load apart from its server")
    run(["docker", "update", "--cpuset-cpus", str(ours[1]), server.name])
    os.sched_setaffinity(0, ours[:1])
    try:
        yield ours[1]
    finally:
        os.sched_setaffinity(0, ours)


def _rates(server: Server, processor: int) -> list[int]:
    """How many requests a second fill those parts of the server's processor, and those that are wanted where it carries them."""
    idle = busy_share(_SAMPLED, processor)
    with server.load(rate=_SAMPLE) as load:
        # New connections of each kind come first.
        time.sleep(_BETWEEN)
        each = (busy_share(_SAMPLED, processor) - idle) / _SAMPLE
        load.stop()
    rates = [round((part - idle) / each) for part in FILLED]
    if min(rates) < 1:
        raise BedError(
            f"with nobody there {idle:.0%} of the server's processor is used, and {each:.1%} by each request"
        )
    carried = [WANTED] if idle + each * WANTED < 1 - _SPARE else []
    # The names of hotfixes are made of the rate, and none is brought twice.
    return list(dict.fromkeys([*rates, *carried]))


def _operations(server: Server, word: str) -> dict[str, Callable[[], Run]]:
    # With the proofs that users have.
    return {
        name: partial(timed, server, 0.0, True, playbook, app_services={}, **variables)
        for name, playbook, variables in acts(server, word)
    }


def _one_by_one(
    operations: Mapping[str, Callable[[], Run]], processor: int, mark: Callable[[str], None] = lambda _name: None
) -> list[tuple[str, str, Run]]:
    """How much of the processor is in use before and after each, its name, and what it took."""
    done = []
    before = busy_share(_BETWEEN, processor)
    for number, (name, operation) in enumerate(operations.items()):
        mark(f"act{number}-start")
        run = operation()
        mark(f"act{number}-end")
        after = busy_share(_BETWEEN, processor)
        done.append((f"{(before + after) / 2:.0%}", name, run))
        before = after
    return done


def _six_starts(server: Server) -> Run:
    """Six containers that do nothing, started as an operation starts those that answer one question."""
    image = server.engine.docker("inspect", "--format", "{{.Config.Image}}", server.container("api")).strip()
    began = time.monotonic()
    for _number in range(6):
        server.engine.docker("run", "--rm", "--cpu-shares", str(processor_share.TENTH), "--entrypoint", "true", image)
        time.sleep(_BETWEEN)
    return Run(time.monotonic() - began, ())


def _accounts(server: Server, load: LoadRun, result: Result) -> str:
    """One sentence of what was asked and promised; raises BedError where something promised is not there."""
    database = Database(server.container("db"), "shop", "shop", run=lambda argv: server.engine.exec(*argv))
    verdict = wait_for_tasks(database, load.acknowledged(), result.unknown_orders).audit
    said = (
        f"{result.total:,} requests at {result.rate['requests']:.0f} a second, {result.failed_beyond_race} failed beside "
        f"{result.keepalive_race} that met nginx's keep-alive race; {verdict.acknowledged:,} orders were acknowledged"
    )
    if not verdict.flawless:
        raise BedError(f"{said}, and not each has its row and task: {verdict}")
    return f"{said}, and each has its row and its task"


def _row(filled: str, rate: int, name: str, done: Run, *seen: str) -> str:
    cells = [filled, str(rate), name, f"{done.seconds - done.roll:.1f} s", f"{done.roll:.1f} s", *(seen or ["-"] * 6)]
    return f"| {' | '.join(cells)} |"


def _seen(calm: float, during: Phase) -> list[str]:
    p99, slowest = during.latency_ms["p99"], during.latency_ms["max"]
    times = [f"{calm:.0f} ms", f"{p99:.0f} ms", f"{p99 / calm:.1f}", f"{slowest:.0f} ms"]
    return [*times, f"{during.total:,}", str(during.failed)]


def _under_load(server: Server, processor: int, rate: int) -> tuple[list[str], str]:
    """Each operation at that many requests a second: rows, and what is to be said of the orders."""
    operations = {**_operations(server, f"crowded-{rate}"), "six starts": partial(_six_starts, server)}
    with server.load(rate=rate) as load:
        # New connections of each kind come first.
        time.sleep(_BETWEEN)
        done = _one_by_one(operations, processor, load.mark)
        result = server.judged(load.stop())
    if result.abandoned:
        raise BedError(f"{result.abandoned} requests were given up by the load generator itself")
    phases = {phase.name: phase for phase in result.phases}
    names = [f"act{number}" for number in range(len(done))]
    calm = statistics.median(phase.latency_ms["p99"] for name, phase in phases.items() if name not in names)
    rows = [
        _row(filled, rate, name, run, *_seen(calm, phases[act]))
        for act, (filled, name, run) in zip(names, done, strict=True)
    ]
    return rows, _accounts(server, load, result)


def measured() -> str:
    """Each operation with nobody there and under load, as a table."""
    with Server("crowded", slices=True) as server, _apart(server) as processor:
        warm(server)
        quiet = _one_by_one(_operations(server, "quiet"), processor)
        rows = [_row(filled, 0, name, run) for filled, name, run in quiet]
        said = []
        for rate in _rates(server, processor):
            more, line = _under_load(server, processor, rate)
            rows += more
            said.append(line)
    head = [f"| {_COLUMNS} |", f"|{'---|' * (_COLUMNS.count('|') + 1)}"]
    return "\n".join([_LEGEND, *head, *rows, "", *said])


if __name__ == "__main__":
    print(measured())
