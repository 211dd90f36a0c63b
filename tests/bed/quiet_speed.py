# SPDX-License-Identifier: GPL-3.0-or-later
"""How long each operation takes while nobody is there, beside what is wanted and the least that it could: a cell of ``make evidence``."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tests.bed.baselines import OURS, Bound, Releases, described
from tests.bed.hotfix_speed import Ways, changeable
from tests.bed.processors import wait_until_quiet
from tests.bed.rollback_speed import image_of
from tests.bed.shop import BedError, Shop, deployed, run, succeeded
from tests.bed.shop_releases import QUICK
from tests.bed.ssh_speed import acts
from tests.bed.tasks import Run, run_to_its_end, seconds_of

ROUNDS = 5
#: Seconds that a roll asks a new web container, and then watches it, unless somebody sets others; one whose code was good before; and
#: one whose code serves already.
PROOF_AND_WATCH, BACKWARD, OF_STATIC_FILES = 10.0, 4.0, 2.0
#: What is wanted of a roll, in times of its bound, beside these.
ROLL_WANTED = 1.25
BESIDE, WHOLE = "beside its roll", "in all"
#: What is wanted, in seconds.
WANTED = {
    "update": (10.0, BESIDE),
    "update, nothing to do": (8.0, WHOLE),
    "rollback": (6.0, BESIDE),
    "hotfix of code": (5.0, BESIDE),
    "its rollback": (6.0, BESIDE),
    "hotfix: nginx": (4.0, WHOLE),
    "hotfix: static file": (4.0, WHOLE),
    "hotfix: built file": (4.0, WHOLE),
    "hotfix: upload": (4.0, WHOLE),
    "status": (4.0, WHOLE),
}
_WATCHED = {"rollback": BACKWARD, "its rollback": BACKWARD, "hotfix: static file": OF_STATIC_FILES}
_PING = "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.ping:\n"
_DJANGO = ("docker", "exec", "-e", "DJANGO_SETTINGS_MODULE=shop.settings")
_LEGEND = f"""On this machine, images built, nobody there; medians of {ROUNDS}. *In all* divided by the *bound*: one `ansible-playbook`
with one `ping` {{ping:.1f}} s, one start of Django {{django:.1f}} s and, where containers are replaced, the slowest of these to create,
boot and stop beside {PROOF_AND_WATCH:.0f} s in which a new web container is asked and watched ({BACKWARD:.0f} s on the way back,
{OF_STATIC_FILES:.0f} s for static files). {{bounds}}."""


@dataclass(frozen=True)
class Least:
    """What no way of doing it can save, in seconds: a playbook, a start of Django, and of each service its boot and stop."""

    ping: float
    django: float
    services: Mapping[str, Bound]

    def roll(self, done: Run) -> float:
        """Of the services that this run replaced, all at the same time; 0 where it replaced none."""
        words = {
            word for task in done.tasks for step, _seconds in task.steps for word in step.replace(",", " ").split()
        }
        return max((bound.seconds for service, bound in self.services.items() if service in words), default=0.0)

    def whole(self, done: Run, watched: float = PROOF_AND_WATCH) -> float:
        """Of the whole playbook, whose roll asks and watches for so many seconds."""
        roll = self.roll(done)
        return self.ping + self.django + (roll + watched if roll else 0.0)


def least(shop: Shop) -> Least:
    """Measure it, nobody being there."""
    ping = shop.folder / "ping.yml"
    ping.write_text(_PING, encoding="utf-8")
    argv = [shop.playbook_argv()[0], str(ping), "-i", str(shop.folder / "inventory.json")]
    django = [*_DJANGO, shop.container("api"), "python", "-c", "import django; django.setup()"]
    releases, image = Releases(shop), image_of(shop, "v1")
    wait_until_quiet()
    # Nobody is there, so no request is in flight.
    bounds = {s: replace(releases.boots_and_stops(image, ROUNDS, s), in_flight=0.0) for s in OURS}
    return Least(
        statistics.median(run_to_its_end(argv, shop.environment).seconds for _round in range(ROUNDS)),
        statistics.median(seconds_of(django) for _round in range(ROUNDS)),
        bounds,
    )


def _quietly(shop: Shop, argv: Sequence[str]) -> Run:
    wait_until_quiet()
    return run_to_its_end(argv, shop.environment)


def _large(found: dict[str, list[Run]]) -> Least:
    """Rounds of everything that replaces containers, and what only looks."""
    with deployed("quiet", {"app_keep_releases": 40}) as shop:
        succeeded(shop.update("v2", app_services=QUICK))
        succeeded(shop.rollback(app_services=QUICK))
        for number in range(ROUNDS):
            for name, playbook, variables in acts(shop, f"quiet-{number}", "v2"):
                found.setdefault(name, []).append(_quietly(shop, shop.playbook_argv(playbook=playbook, **variables)))
        return least(shop)


def _small(found: dict[str, list[Run]]) -> None:
    """Rounds of hotfixes of little more than a file."""
    with changeable("quiet-small") as shop:
        for number in range(ROUNDS):
            for way in Ways(shop, f"quiet-{number}").small():
                found.setdefault(f"hotfix: {way.kind}", []).append(_quietly(shop, way.command))
                if not way.shows(run(["curl", "--silent", "--include", f"{shop.url}{way.path}"])):
                    raise BedError(f"{way.title} of {way.kind} is not served")
                way.undo()


def _row(name: str, runs: list[Run], bound: Least) -> str:
    wanted, of = WANTED[name]
    whole = statistics.median(each.seconds for each in runs)
    beside = statistics.median(each.seconds - each.roll for each in runs)
    held = (beside if of == BESIDE else whole) <= wanted
    watched = _WATCHED.get(name, PROOF_AND_WATCH)
    cells = [
        name,
        f"{whole:.1f}",
        f"{beside:.1f}",
        f"{wanted:.0f} {of}",
        "yes" if held else "**no**",
        f"{whole / bound.whole(runs[0], watched):.2f}",
        ", ".join(f"{each.seconds:.1f}" for each in runs),
    ]
    return f"| {' | '.join(cells)} |"


def _roll(runs: list[Run], bound: Least) -> str:
    """One sentence of the roll of all services."""
    middle = sorted(runs, key=lambda each: each.roll)[len(runs) // 2]
    most = ROLL_WANTED * bound.roll(middle) + PROOF_AND_WATCH
    return (
        f"The roll of an update: {middle.roll:.1f} s; wanted are {ROLL_WANTED} x {bound.roll(middle):.1f} + {PROOF_AND_WATCH:.0f} = "
        f"{most:.1f} s ({'held' if middle.roll <= most else '**not held**'}). Its steps: {middle.steps()}"
    )


def measured() -> str:
    """Each operation, as a table."""
    found: dict[str, list[Run]] = {}
    bound = _large(found)
    _small(found)
    return "\n".join(
        [
            _LEGEND.format(ping=bound.ping, django=bound.django, bounds=described(bound.services)),
            "",
            "| operation | in all, s | beside its roll, s | wanted, s | held | in all ÷ bound | each, s |",
            "|---|---|---|---|---|---|---|",
            *(_row(name, found[name], bound) for name in WANTED),
            "",
            _roll(found["update"], bound),
        ]
    )


if __name__ == "__main__":
    print(measured())
