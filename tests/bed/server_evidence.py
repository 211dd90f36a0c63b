# SPDX-License-Identifier: GPL-3.0-or-later
"""What befalls a server in the middle of an update: its engine ends, its power goes, the ssh connection is cut.

Each time the same playbook is run again and has to converge. What failed while the engine was away or its containers
were coming back is not an update's doing, and is shown beside what the same accident costs without an update.
Part of ``make evidence``; alone: ``python -m tests.bed.server_evidence [CASE …]``.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

from tests.bed.load.process import LoadRun
from tests.bed.load.result import Result
from tests.bed.server import IMAGES, Server
from tests.bed.shop import ROOT, Play, run

#: What the playbook prints at two places in the middle: nothing is switched yet, and old and new serve at once.
BEFORE_SWITCH = r"api: \S+ is asked what users would ask"
AFTER_SWITCH = r"api: \S+ gets the requests of users now"
#: What a failed update says where users are served again.
UNDONE = "Now: undone, the version from before is serving"
#: Seconds for which a site may stay away before the playbook is run again.
PATIENCE = 20.0
#: Seconds after which nobody waits any more.
LONGEST = 300.0
COLUMNS = (
    "accident", "engine back after", "site back after", "requests", "failed, engine away", "failed, until it serves",
    "failed otherwise", "first run", "same playbook again",
)  # fmt: skip

LEGEND = """A nested server with an engine of its own, reached by ssh as a user with sudo, under 25 requests a second from outside.
*engine back* and *site back* are seconds after the accident; *failed, engine away* were in flight between the accident
and the engine's first answer, *until it serves* came after that and before users were served again: compare them with
the same accident without an update. Whatever failed otherwise is ours, but for nginx's keep-alive race. *ok*: the same
playbook, run again, ended well, users get the new version, no pin and no container is left, and a plain
`docker compose up -d` would recreate nothing.
"""


@dataclass
class Accident:
    """What was seen of one accident; moments are seconds after the load's beginning."""

    case: str
    engine_after: float = 0.0
    site_after: float | None = 0.0
    by_itself: bool = True
    first: Play | None = None
    again: Play | None = None
    wrong: list[str] = field(default_factory=list)
    away: int = 0
    until_served: int = 0
    otherwise: int = 0
    requests: int = 0

    def count(self, result: Result, log: str) -> None:
        """Sort the failures of a load; those that nginx never read after all was well are its keep-alive race."""
        self.requests = result.total
        moments = {mark["name"]: float(mark["at"]) for mark in result.raw["marks"]}
        fell = moments.get("accident", result.seconds)
        back = moments.get("engine-back", fell)
        served = moments.get("served", fell)
        race = 0
        for failure in result.failures:
            if failure["at"] >= fell and failure["begun"] <= back:
                self.away += 1
            elif back < failure["begun"] <= served:
                self.until_served += 1
            elif failure.get("agent") and f'{failure["agent"]}"' not in log:
                race += 1
            else:
                self.otherwise += 1
                self.wrong.append(json.dumps(failure))
        self.otherwise += result.failed - len(result.failures)

    def row(self) -> str:
        """One line of the table."""
        engine = f"{self.engine_after:.1f} s" if self.engine_after else "-"
        site = "never" if self.site_after is None else f"{self.site_after:.1f} s" if self.engine_after else "-"
        site += "" if self.by_itself else ", by the second run"
        first = "-" if self.first is None else _ending(self.first)
        again = "-" if self.again is None else f"{_ending(self.again)}, {self.again.seconds:.0f} s"
        cells = [self.case, engine, site, f"{self.requests:,}", str(self.away)]
        cells += [str(self.until_served), str(self.otherwise), first, again]
        return f"| {' | '.join(cells)} | {'ok' if not self.wrong and not self.otherwise else '**not ok**'} |"


def _ending(play: Play) -> str:
    if play.returncode == 0:
        return f"ok, changed={play.changed}"
    if play.returncode < 0:
        return "killed"
    return "failed: " + (play.message.splitlines() or ["unreachable" if "UNREACHABLE" in play.output else "?"])[0]


def _kill_engine(server: Server) -> None:
    server.engine.end_engine("KILL")


def _restart_engine(server: Server) -> None:
    server.engine.end_engine("TERM")


def _cut_power(server: Server) -> None:
    server.engine.cut_power()
    server.engine.power_on()


def suffer(server: Server, case: str, accident: Callable[[Server], None], place: str = "") -> Accident:
    """Let something happen under load, in the middle of an update where a place is given; then the same playbook."""
    seen = Accident(case)
    version = server.version()
    if place:
        version = "v1" if version == "v2" else "v2"
    with server.load() as load:
        time.sleep(3)
        begun = server.begin(version) if place else None
        if begun:
            begun.wait_for(place)
        load.mark("accident")
        fell = time.monotonic()
        accident(server)
        server.engine.wait_for_engine(120)
        load.mark("engine-back")
        seen.engine_after = time.monotonic() - fell
        with ThreadPoolExecutor(1) as watcher:
            served = watcher.submit(_serving, server, load, fell)
            if begun:
                seen.first = begun.end()
            else:
                wait([served], PATIENCE)
            seen.by_itself = served.done()
            seen.again = server.update(version)
            seen.site_after = served.result()
        if seen.first and seen.first.returncode and seen.by_itself and UNDONE not in seen.first.flat_message:
            seen.wrong.append(f"users were served, and it does not say so: {seen.first.message}")
        _hold(server, seen, version)
        time.sleep(3)
        result = load.stop()
    seen.count(result, server.engine.docker("logs", server.nginx()))
    return seen


def _serving(server: Server, load: LoadRun, since: float) -> float | None:
    """Seconds after a moment when users were served again, which is marked in the load; None where they never were."""
    if server.serves_within(LONGEST) is None:
        return None
    load.mark("served")
    return time.monotonic() - since


def _hold(server: Server, seen: Accident, version: str) -> None:
    """What has to be true after the same playbook was run again."""
    if seen.again is None or seen.again.returncode:
        seen.wrong.append(seen.again.output[-3000:] if seen.again else "never run again")
    if server.version() != version:
        seen.wrong.append(f"users get {server.version() or 'nothing'} instead of {version}")
    seen.wrong += server.leftovers()


def cut_off(server: Server, case: str, place: str, controller: bool) -> Accident:
    """Cut the ssh connections of an update, or end the controller with them; nothing on the server is touched."""
    seen = Accident(case)
    version = "v1" if server.version() == "v2" else "v2"
    with server.load() as load:
        time.sleep(3)
        begun = server.begin(version)
        begun.wait_for(place)
        if controller:
            begun.process.send_signal(signal.SIGKILL)
        if not server.cut_connections():
            seen.wrong.append("there was no connection to cut")
        seen.first = begun.end()
        seen.again = server.update(version)
        _hold(server, seen, version)
        time.sleep(3)
        result = load.stop()
    seen.count(result, server.engine.docker("logs", server.nginx()))
    return seen


def guarded(server: Server) -> Accident:
    """The engine restarts beside a guard; then the web container comes back at another address."""
    library, log = "/usr/local/lib/evenkeel-bed", "/var/log/evenkeel-guard.log"
    server.engine.exec("mkdir", "-p", library)
    run(["docker", "cp", str(ROOT / "plugins/module_utils"), f"{server.name}:{library}/evenkeel"])
    argv = "python3 -s -B -m evenkeel.guard.host.guard --app travel --state-dir /var/lib/evenkeel/travel"
    server.engine.exec("sh", "-c", f"cd {library} && exec setsid {argv} >{log} 2>&1 </dev/null &")
    time.sleep(3)
    seen = suffer(server, "engine restarted, no update, a guard beside it", _restart_engine)
    own = "label=com.docker.compose.service=api"
    name = server.engine.docker("ps", "--quiet", "--filter", own).split()[0]
    server.engine.docker("stop", "--time", "1", name)
    server.engine.docker("run", "--detach", "--name", "taker", "--network", "travel_default", IMAGES[2], "sleep", "60")
    server.engine.docker("start", name)
    healed = server.serves_within(30)
    server.engine.docker("rm", "--force", "taker")
    said = server.engine.exec("cat", log)
    server.engine.try_exec("pkill", "-f", "evenkeel.guard.host.guard")
    if healed is None or "was reloaded" not in said:
        seen.wrong.append(f"the guard did not heal a moved container: {said[-1500:]}")
    return replace(seen, case=f"{seen.case}; then a container that moved served after {healed or 0:.1f} s")


CASES: dict[str, Callable[[Server], Accident]] = {
    "restart": lambda s: suffer(s, "engine restarted, no update", _restart_engine),
    "restart-after": lambda s: suffer(
        s, "engine restarted while the old version drains", _restart_engine, AFTER_SWITCH
    ),
    "engine": lambda s: suffer(s, "engine killed, no update", _kill_engine),
    "engine-before": lambda s: suffer(s, "engine killed while the new version is proven", _kill_engine, BEFORE_SWITCH),
    "engine-after": lambda s: suffer(s, "engine killed while the old version drains", _kill_engine, AFTER_SWITCH),
    "restart-guard": guarded,
    "power": lambda s: suffer(s, "power cut, no update", _cut_power),
    "power-before": lambda s: suffer(s, "power cut while the new version is proven", _cut_power, BEFORE_SWITCH),
    "power-after": lambda s: suffer(s, "power cut while the old version drains", _cut_power, AFTER_SWITCH),
    "ssh": lambda s: cut_off(s, "ssh is cut while the new version is proven", BEFORE_SWITCH, False),
    "ssh-after": lambda s: cut_off(s, "ssh is cut while the old version drains", AFTER_SWITCH, False),
    "controller": lambda s: cut_off(s, "controller and ssh are killed, new version proven", BEFORE_SWITCH, True),
}


def accidents(names: Sequence[str] = ()) -> list[Accident]:
    """Every case on one server, one after the other."""
    found = []
    with Server("evidence-server") as server:
        first = server.update("v1")
        if first.returncode:
            raise RuntimeError(f"the first deployment failed:\n{first.output[-3000:]}")
        for name in names or CASES:
            seen = CASES[name](server)
            print(seen.row(), *seen.wrong, sep="\n   ", flush=True)
            found.append(seen)
            if server.serves_within(10) is None:
                raise RuntimeError(f"after {name} the site does not serve: {server.containers()}")
    return found


def accidents_table(found: Sequence[Accident]) -> str:
    """What was seen as Markdown: what the columns mean, and the table."""
    lines = [LEGEND, f"| {' | '.join(COLUMNS)} | |", f"|{'---|' * (len(COLUMNS) + 1)}"]
    return "\n".join([*lines, *(seen.row() for seen in found)])


if __name__ == "__main__":
    print(accidents_table(accidents(sys.argv[1:])))
