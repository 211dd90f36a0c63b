# SPDX-License-Identifier: GPL-3.0-or-later
"""PHP under load while its release changes: what users get by how nginx names the files, and what php-fpm is told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.bed.php_load import PageLoad, Seen
from tests.bed.php_server import UNTOLD, PhpServer, page
from tests.bed.plain_app import PlainApp
from tests.bed.shop import BEDS, Play

#: Seconds that PHP believes what it knows of links (``realpath_cache_ttl``), and some.
_BELIEF = 125.0
THROWS = "<?php throw new RuntimeException('not in this version');\n"
COLUMNS = ("php-fpm", "SCRIPT_FILENAME by", "requests", "failed", "mixed", "stale", "slowest")


@dataclass(frozen=True)
class Case:
    """One setting: of php-fpm, and what is done under the load.

    :param reload: whether ``update_reload`` reloads php-fpm, or only fails where it is to fail.
    :param wait: seconds that the load goes on at least.
    :param bad: whether two versions that must not stay come after the good ones.
    """

    name: str
    opcache: tuple[str, ...] = ("opcache.validate_timestamps=0",)
    patience: str = "10s"
    reload: bool = True
    updates: int = 2
    wait: float = 0.0
    bad: bool = False


CASES = (
    Case("reloaded, `process_control_timeout = 10s`", updates=3, bad=True),
    Case("reloaded, `process_control_timeout` not set", patience="0"),
    Case("not reloaded, `opcache.validate_timestamps=0`", reload=False, updates=3, wait=_BELIEF, bad=True),
    Case("not reloaded, Debian's opcache", opcache=(), reload=False, wait=_BELIEF),
)


@dataclass
class Measured:
    """What readers saw of a case, by way; ``said`` is what the bad versions were refused with."""

    case: Case
    seen: dict[str, Seen]
    said: list[str] = field(default_factory=list)


def good(app: PlainApp, version: str) -> Play:
    """An update that has to succeed."""
    app.commit(version, page(version))
    play = app.update(version)
    assert play.returncode == 0, play.output[-4000:]
    return play


def refused(app: PlainApp, version: str, **files: str) -> str:
    """An update that has to fail; the first line of what it says."""
    app.commit(version, page(version, **{name.replace("__", "/"): text for name, text in files.items()}))
    play = app.update(version)
    assert play.returncode != 0, f"{version} was taken for a good version"
    assert "Now: blog is " in play.message and "Next: " in play.message, play.output[-4000:]
    return play.message.splitlines()[0]


def bad_versions(app: PlainApp, load: PageLoad) -> list[str]:
    """One whose page fails, which nobody may meet, and one for which nothing can be reloaded, which is taken back."""
    said = [refused(app, "throws", **{"lib/c.php": THROWS})]
    said.append(refused(app, "no-reload", **{"forbids-reload": ""}))
    load.left("no-reload")
    return said


def measure(case: Case, rate: float = 100.0, ways: Sequence[str] = ()) -> Measured:
    """Do a case under its load."""
    with PhpServer(BEDS / "php", case.opcache, case.patience) as server:
        app = server.app
        if not case.reload:
            app.variables["update_reload"] = UNTOLD
        good(app, "v0")
        ports = {way: port for way, port in server.ports.items() if not ways or way in ways}
        with PageLoad(ports, rate) as load:
            began = time.monotonic()
            for number in range(1, case.updates + 1):
                good(app, f"v{number}")
                load.left(f"v{number - 1}")
            said = bad_versions(app, load) if case.bad else []
            time.sleep(max(2.0, case.wait - (time.monotonic() - began)))
        if any(seen.failed for seen in load.seen.values()):
            print("\n".join(server.complaints()), flush=True)
    return Measured(case, load.seen, said)


@dataclass(frozen=True)
class Storm:
    """A link that is switched all the time."""

    switches: int
    seconds: float
    seen: dict[str, Seen]


def storm(seconds: float = 20.0, rate: float = 100.0) -> Storm:
    """Switch as fast as it goes, so that what is rarely overtaken is."""
    with PhpServer(BEDS / "php", ("opcache.validate_timestamps=0",)) as server:
        for version in ("v0", "v1"):
            server.app.commit(version, page(version, pause=1000))
            play = server.app.update(version)
            assert play.returncode == 0, play.output[-4000:]
        with PageLoad(server.ports, rate) as load:
            switches = server.switch_to_and_fro(seconds, 0.0)
    return Storm(switches, seconds, load.seen)


def row(name: str, way: str, seen: Seen) -> str:
    """One line of the table."""
    failed = f"{sum(seen.failed.values())}"
    if seen.failed:
        failed += f" ({', '.join(f'{count} x {kind}' for kind, count in seen.failed.items())})"
    return f"| {name} | {way} | {seen.requests:,} | {failed} | {seen.mixed:,} | {seen.stale:,} | {seen.slowest:.1f} s |"


def table(found: Sequence[Measured], switched: Storm) -> str:
    """Both as Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for one in found:
        lines += [row(one.case.name, way, seen) for way, seen in one.seen.items()]
    name = f"`current` switched {switched.switches:,} times in {switched.seconds:.0f} s"
    lines += [row(name, way, seen) for way, seen in switched.seen.items()]
    return "\n".join(lines)


def flawless(seen: Seen) -> bool:
    """Whether users noticed nothing."""
    return not seen.failed and (seen.mixed, seen.stale) == (0, 0)


def sees_the_difference(found: Sequence[Measured]) -> bool:
    """Whether the bed noticed pages of the past where there have to be some: else it sees nothing at all."""
    through_the_link = [one.seen[way] for one in found if not one.case.reload for way in one.seen if "document" in way]
    return all(seen.stale + seen.mixed > 100 for seen in through_the_link)


def plain() -> str:
    """All cases, and the verdict on what is recommended."""
    found = [measure(case) for case in CASES]
    switched = storm()
    recommended = [*(one.seen for one in found if one.case.patience != "0"), switched.seen]
    ok = all(flawless(next(iter(seen.values()))) for seen in recommended) and sees_the_difference(found)
    said = [f"- {line.removeprefix('What: ')}" for one in found for line in one.said]
    for one in found:
        for way, seen in one.seen.items():
            for example in seen.examples[:1]:
                said.append(f"- a mixed page, {one.case.name}, {way}: `{example}`")
    lead = (
        "Three servers of one nginx serve one app to 100 requests a second each, during the same updates. *mixed* are pages made\n"
        "of files of two releases, *stale* whole pages of a release that had been left when they were asked for. With the first\n"
        "and the third setting two bad versions follow: one whose page fails, which is found before users meet it, and one whose\n"
        "`update_reload` fails, which is taken back. *slowest* is the longest that anybody waited for an answer."
    )
    return "\n".join([lead, "", table(found, switched), "", *said, *([] if ok else ["", "**not ok**"])])
