# SPDX-License-Identifier: GPL-3.0-or-later
"""``make bench``: ours against the usual ways, one after the other, on the same shop under the same load.

Each method meets a fresh v1 of the demo shop and brings it to v2, whose images are built (a build takes as long
whoever asks for it). What is counted is what clients without retries see.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "collections"))

from tests.bed.baselines import (
    COMPOSE_FILE,
    NO_PROOF,
    OURS,
    SCHEDULER,
    WORKER,
    Bound,
    Checkout,
    Overloaded,
    Releases,
    described,
    script,
)
from tests.bed.meter import Command, Measurement, Method, Operator, World, measure
from tests.bed.processors import Turn
from tests.bed.shop import ROOT, BedError, Shop
from tests.bed.swarm import Swarm
from tests.bed.tasks import Run, read_run

NAME = "bench"
#: With more of the processors than this in others' hands a measurement is made once more. Nobody else being at work ours show up to 0.42.
OTHERS = 0.5
COMPOSE = ("docker", "compose", "-f", COMPOSE_FILE)
UNTOLD = "nobody tells nginx, which resolved the name when it started"
PUBLISHED = "v2's static files lie there before it begins"
METHODS = (
    Method("roll", "compose_rolling api, without proof time", "checkout", ("api",), ours=True,
           options={"argv": ("compose_rolling",), "settings": NO_PROOF}),
    Method("roll-default", "compose_rolling api", "checkout", ("api",), ours=True,
           note="5 s of proof before nginx knows it, 5 s of watching after", options={"argv": ("compose_rolling",)}),
    Method("update", "playbook update, without proof time", "releases", OURS, ours=True,
           note="export, static files, worker, beat, web, verification", options={"settings": NO_PROOF}),
    Method("update-default", "playbook update", "releases", OURS, ours=True),
    Method("update-canary", "playbook update, canary of 20 s", "releases", OURS, ours=True,
           note="20 s of its time one new container has users beside the old one",
           options={"variables": {"update_strategy": "canary", "update_canary_time": "20s"}}),
    Method("update-blue-green", "playbook update, blue_green", "releases", (WORKER, SCHEDULER), ours=True,
           note="the old web container goes on running, which its memory shows",
           options={"variables": {"update_strategy": "blue_green"}}),
    Method("update-quick", "playbook update, quick", "releases", OURS, ours=True, note="a gap, in which requests wait",
           options={"variables": {"update_strategy": "quick", "update_allow_downtime": True}}),
    Method("restart-ours", "hotfix_restart=api,celery", "releases", ("api", WORKER), ours=True, version="v1",
           note="nothing new is deployed", options={"playbook": "hotfix", "variables": {"hotfix_restart": "api,celery"}}),
    Method("down-up", "docker compose down, up -d", "checkout", OURS, note=PUBLISHED,
           options={"argv": ("sh", "-c", " ".join([*COMPOSE, "down", "&&", *COMPOSE, "up", "-d"]))}),
    Method("up", "docker compose up -d", "checkout", OURS, note=PUBLISHED, options={"argv": (*COMPOSE, "up", "-d")}),
    Method("restart", "docker compose restart api celery", "checkout", ("api", WORKER), version="v1",
           note="the hot reload: nothing new is deployed", options={"argv": (*COMPOSE, "restart", "api", WORKER)}),
    Method("script", "rolling-update.sh", "checkout", OURS, note=PUBLISHED,
           options={"argv": script("rolling-update.sh"), "root": True}),
    Method("script-static", "rolling-update.sh, its own static files only", "checkout", OURS,
           note="v2 has read the manifest before the script collects, and answers 500 until it is restarted",
           options={"argv": script("rolling-update.sh"), "root": True, "publish": False}),
    Method("rollout", "docker-rollout's method", "checkout", ("api",), note=UNTOLD,
           options={"argv": script("scale-and-remove.sh", "api")}),
    Method("swarm", "Swarm start-first, dnsrr, plain nginx", "swarm", ("api",), note=UNTOLD),
    Method("swarm-resolver", "Swarm start-first, dnsrr, nginx with a resolver", "swarm", ("api",),
           note="its configuration changed by hand: it asks for the name each second", options={"resolver": True}),
)  # fmt: skip


def say(text: str) -> None:
    """A line of progress."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def _once_more(command: Command, log: Path) -> Run:
    """The same playbook when there is nothing to do."""
    began = time.monotonic()
    with Operator(command, log) as operator:
        while operator.returncode is None and time.monotonic() < began + command.timeout:
            time.sleep(0.02)
        return read_run(operator.output, time.monotonic() - began)


@dataclass
class Bench:
    """One run, and what is measured so far."""

    shop: Shop
    rate: float
    measurements: list[Measurement] = field(default_factory=list)
    runs: dict[str, Run] = field(default_factory=dict)
    bounds: dict[str, Bound] = field(default_factory=dict)

    # -- measuring ------------------------------------------------------------------------------------

    def run(self, methods: Sequence[Method]) -> None:
        """Measure the bound and all of these; nothing is left of it, however it ends."""
        checkout = Checkout(self.shop)
        swarm = Swarm(checkout)
        worlds: dict[str, World] = {"checkout": checkout, "releases": Releases(self.shop), "swarm": swarm}
        try:
            turn = Turn(ROOT / ".cache/machine.lock")
            turn.take()
            say("building v1 and v2")
            self.shop.destroy()
            self.shop.create()
            checkout.build()
            turn.take()
            say("measuring the lower bounds")
            self.bounds = self._lower_bounds(checkout)
            say("  " + described(self.bounds))
            for number, method in enumerate(methods, 1):
                turn.take()
                say(f"{number}/{len(methods)} {method.title}")
                self._measure(worlds[method.world], method)
                swarm.close()
        finally:
            say("removing everything")
            swarm.close()
            self.shop.destroy()

    def _lower_bounds(self, checkout: Checkout) -> dict[str, Bound]:
        """At half the rate where the machine does not carry it: what fails then is not a method's fault."""
        try:
            return checkout.lower_bounds(self.rate)
        except Overloaded as error:
            say(f"  {error}")
            self.rate /= 2
            return checkout.lower_bounds(self.rate)

    def _measure(self, world: World, method: Method) -> None:
        began = time.monotonic()
        measured = measure(world, method, self.rate)
        if measured.others > OTHERS:
            say(f"  others used {measured.others:.0%} of the processors meanwhile: once more")
            measured = min(measured, measure(world, method, self.rate), key=lambda m: m.others)
        self.measurements.append(measured)
        if method.ours:
            self.runs[method.key] = read_run(measured.output, measured.command_seconds)
        if method.key == "update-default":
            self.runs["again"] = _once_more(world.command(method), self.shop.folder / "again.log")
        took = "never" if measured.seconds is None else f"{measured.seconds:.1f} s"
        whole = time.monotonic() - began
        say(
            f"  {measured.failed} of {measured.total} failed, {took} ({whole:.0f} s in all, others {measured.others:.0%})"
        )
        if measured.returncode and method.ours:
            raise BedError(f"{method.title} failed:\n{measured.output[-3000:]}")

    # -- reporting ------------------------------------------------------------------------------------

    def bound(self, method: Method) -> float:
        """The least that any method can take to replace the same services, all at the same time: the slowest one's seconds."""
        return max(self.bounds[service].seconds for service in method.services)

    def ratio(self, m: Measurement) -> float | None:
        """How many times the lower bound; None for what never ended, and for what deploys nothing."""
        if m.seconds is None or m.method.version == "v1":
            return None
        return m.seconds / self.bound(m.method)

    def table(self) -> str:
        """One row for each method."""
        head = ("", "failed/requests", "longest gap", "seconds", "x bound", "memory (tool)")
        rows = [head]
        for m in self.measurements:
            ratio = self.ratio(m)
            rows.append(
                (
                    m.method.title,
                    f"{m.failed}/{m.total}",
                    f"{m.gap_ms:,.0f} ms",
                    "never" if m.seconds is None else f"{m.seconds:.1f}",
                    "-" if ratio is None else f"{ratio:.2f}",
                    f"{m.memory_mib:+.0f} ({m.tool_mib:+.0f}) MiB",
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        text = [
            "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in list(zip(row, widths))[1:])])
            for row in rows
        ]
        return "\n".join([text[0], "-" * len(text[0]), *text[1:]])

    def remarks(self) -> str:
        """What stands below the table."""
        lines = [
            f"load: {self.rate:g} requests a second",
            f"bound: the slowest, in seconds, of what a method replaces: {described(self.bounds)} (medians, under the same load)",
            "seconds: from the command's start until it has ended, the new serves and nothing old runs",
            "memory: of the containers, above the seconds before; (of the tool's processes); when both together peaked",
            "gap: without an answer from the application; static files do not count",
        ]
        for m in self.measurements:
            parts = [f"{number} {kind}" for kind, number in m.kinds.items()]
            parts += [f"{m.raced} of them nginx's close of an idle connection crossing a request"] if m.raced else []
            parts += [f"its command took {m.command_seconds:.1f} s"] if m.seconds is None else []
            parts += [f"exit code {m.returncode}"] if m.returncode else []
            parts += [f"{m.before} had failed before it began"] if m.before else []
            parts += [f"others used {m.others:.0%} of the processors meanwhile"] if m.others > OTHERS else []
            parts += [m.method.note] if m.method.note else []
            lines += [f"{m.method.title}: {'; '.join(parts)}"] if parts else []
        return "\n".join(lines)

    def playbooks(self) -> str:
        """Where the time of ours goes beyond roll and build."""
        methods = {m.method.key: m.method for m in self.measurements}
        lines = []
        for key, run in self.runs.items():
            title = methods[key].title if key in methods else "playbook update again, nothing to change"
            lines += ["", f"{title}: {run.overhead_text()}"]
            if run.roll and key in methods:
                share = run.roll / self.bound(methods[key])
                lines.append(f"  {run.roll:6.2f} s = {share:.2f} x bound, the steps of the roll: {run.steps()}")
        return "\n".join(lines)

    def report(self) -> str:
        """All of it, for people."""
        return "\n".join([self.table(), "", self.remarks(), self.playbooks()])

    def figures(self) -> dict[str, Any]:
        """All of it, for programs."""
        methods = {}
        for m in self.measurements:
            values = {f.name: getattr(m, f.name) for f in dataclasses.fields(m) if f.name not in ("method", "output")}
            described = {"title": m.method.title, "note": m.method.note, "services": m.method.services}
            methods[m.method.key] = {**described, **values, "ratio": self.ratio(m)}
        bounds = {s: dataclasses.asdict(bound) | {"seconds": bound.seconds} for s, bound in self.bounds.items()}
        runs = {key: {**dataclasses.asdict(run), "overhead": run.overhead} for key, run in self.runs.items()}
        return {"rate": self.rate, "bounds": bounds, "methods": methods, "playbooks": runs}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 0 when every method could be measured, whatever came out."""
    keys = [method.key for method in METHODS]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", default=",".join(keys), help="some of the methods: %(default)s")
    parser.add_argument("--rate", type=float, default=120.0, help="requests a second (default %(default)g)")
    parser.add_argument("--json", type=Path, default=ROOT / ".cache/bench.json", help="where the figures are written")
    options = parser.parse_args(arguments)
    wanted = options.only.split(",")
    if unknown := sorted(set(wanted) - set(keys)):
        parser.error(f"unknown method {unknown[0]}; there are {', '.join(keys)}")
    # `make` and CI end with SIGTERM: that has to clean up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    bench = Bench(Shop(NAME), options.rate)
    began = time.monotonic()
    failure = ""
    try:
        bench.run([method for method in METHODS if method.key in wanted])
    except (BedError, RuntimeError, TimeoutError) as error:
        failure = f"{type(error).__name__}: {error}"
    except KeyboardInterrupt:
        failure = "interrupted"
    if bench.measurements:
        options.json.write_text(json.dumps(bench.figures(), indent=1) + "\n", encoding="utf-8")
        print(bench.report(), flush=True)
    say(f"{time.monotonic() - began:.0f} s in all, load average {os.getloadavg()[0]:.1f}; figures: {options.json}")
    if failure:
        say(failure)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
