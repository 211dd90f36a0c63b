# SPDX-License-Identifier: GPL-3.0-or-later
"""Back from each bad state, under load: nothing fails but what the bad state itself loses, and no task or order is lost."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tests.bed.killed_playbook import kill_when
from tests.bed.load.process import LoadRun, proxy_log
from tests.bed.load.result import Result, is_unread
from tests.bed.meter import MIX
from tests.bed.queued_tasks import all_run_once, send
from tests.bed.rollback_speed import image_of
from tests.bed.shop import BedError, Play, Shop, run
from tests.bed.shop_releases import QUICK, forward, states


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A shop that went from v1 to v2."""
    made = Shop("from-bad", {"app_keep_releases": 6, "app_image_archive": "always"})
    made.destroy()
    try:
        made.create()
        for version in ("v1", "v2"):
            play = made.update(version, app_services=QUICK)
            assert play.returncode == 0, play.output[-4000:]
        yield made
    finally:
        made.destroy()


@pytest.fixture
def serving(shop: Shop) -> Shop:
    """The same at v2, whatever was before."""
    play = forward(shop, "v2")
    assert play.returncode == 0 and shop.version() == "v2", play.output[-4000:]
    return shop


@contextmanager
def away(shop: Shop) -> Iterator[None]:
    """Neither git server nor mirror can be reached; there is no registry at all."""
    kept = {shop.repository: shop.folder / "away.git", shop.root / "mirror.git": shop.folder / "mirror.git"}
    for path, to in kept.items():
        path.rename(to)
    try:
        yield
    finally:
        for path, to in kept.items():
            to.rename(path)


# Not by a restart: it would come back at another address, and what users meet would be nginx's wait for the one before.
HUP = ("exec", "-u", "0", "{}", "sh", "-c", "kill -HUP 1")


def break_app(shop: Shop, file: str, text: str, load: Sequence[str] = HUP) -> None:
    """Write a file into what serves, and have it loaded."""
    for container in shop.containers("api"):
        run(["docker", "exec", "-u", "0", container, "sh", "-c", f"echo {text!r} > /app/{file}"])
        run(["docker", *(word.format(container) for word in load)])


def answers_500(shop: Shop) -> None:
    # Answered at once: an import that is tried again by each request, or a traceback for each, costs more than these machines have.
    lines = (
        "from django.http import HttpResponse",
        "class VersionHeader:",
        "    def __init__(self, get_response): pass",
        "    def __call__(self, request): return HttpResponse(status=500)",
    )
    break_app(shop, "shop/middleware.py", "\n".join(lines))


def crashes(shop: Shop) -> None:
    break_app(shop, "shop/wsgi.py", "raise SystemExit(3)")


def ended(shop: Shop) -> None:
    # What ends after a signal by the engine's own command the engine does not start again.
    break_app(shop, "shop/wsgi.py", "raise SystemExit(3)", ("kill", "--signal", "HUP", "{}"))
    until = time.monotonic() + 60
    while set(shop.containers("api").values()) != {"exited"} and time.monotonic() < until:
        time.sleep(0.2)
    assert set(shop.containers("api").values()) == {"exited"}


SICK = (answers_500, crashes, ended)


def pruned(shop: Shop) -> None:
    """The image of the release to go back to is gone, under each of its names, as after a prune."""
    # The update before has left it to a process that goes on.
    end = time.monotonic() + 60
    while not list(shop.root.glob("releases/*/.evenkeel/images/*.tar.gz")) or list(
        shop.root.glob("releases/*/.evenkeel/images/*.part")
    ):
        assert time.monotonic() < end
        time.sleep(0.1)
    image = run(["docker", "image", "inspect", "--format", "{{.Id}}", image_of(shop, "v1")]).strip()
    names = run(["docker", "image", "inspect", "--format", '{{join .RepoTags " "}}', image]).split()
    run(["docker", "rmi", *names])


def half_rolled(shop: Shop) -> None:
    """An update to v3 is killed while old and new are there."""

    def due(text: str) -> bool:
        return "Roll services to" in text and len(shop.containers("api")) > 1

    kill_when(shop, shop.folder / "killed.log", due, update_version="v3", app_services=QUICK)


def wait_until_bad(shop: Shop) -> None:
    """Return once users meet it: what was in flight has to come to its end first."""
    until, bad, code = time.monotonic() + 60, 0, ["--output", "/dev/null", "--write-out", "%{http_code}"]
    while time.monotonic() < until:
        asked = ["curl", "--silent", "--max-time", "5", *code, f"{shop.url}/health/"]
        # 000 where nobody answers at all; once alone may be the machine.
        bad = bad + 1 if subprocess.run(asked, capture_output=True, text=True, check=False).stdout != "200" else 0
        if bad == 3:
            return
        time.sleep(0.2)
    raise BedError("it still answers well")


def failures(result: Result, phase: str) -> list[dict[str, Any]]:
    """What failed of the requests that were begun in a phase."""
    found = result.phase(phase)
    return [dict(f) for f in result.failures if found.start <= f["begun"] < found.start + found.seconds]


def brought_back(shop: Shop, spoil: Callable[[Shop], None], to: str) -> tuple[Play, Result, LoadRun]:
    """Spoil it under load, go back without git or registry, and hold what was lost to what the bad state loses."""
    # Nobody waits so long at what is bad that more are on their way than the generator sends.
    patience = ("--timeout", "8") if spoil in SICK else ()
    with shop.load(mix=MIX, arguments=patience) as load:
        time.sleep(3)
        load.mark("spoil")
        spoil(shop)
        if spoil in SICK:
            wait_until_bad(shop)
        load.mark("bad")
        time.sleep(8)
        load.mark("rollback")
        with away(shop):
            play = shop.rollback(app_services=QUICK, app_lock_take_over=True)
        load.mark("after")
        time.sleep(6)
        result = load.stop()
    assert play.returncode == 0, play.output[-5000:]
    assert (shop.version(), shop.leftovers()) == (to, [])
    return play, result, load


CASES = {
    "half rolled": (half_rolled, "v2"),
    "images pruned": (pruned, "v1"),
    "answers 500": (answers_500, "v1"),
    "crashes all the time": (crashes, "v1"),
    "ended, and is not started again": (ended, "v1"),
}


@pytest.mark.parametrize("case", CASES)
def test_back_from_what_is_bad(serving: Shop, case: str) -> None:
    shop, (spoil, to) = serving, CASES[case]
    sick = spoil in SICK
    if not sick:
        send(shop, f"long-{spoil.__name__}", 3, 15)
    send(shop, f"queue-{spoil.__name__}", 100, 0.05)
    play, result, load = brought_back(shop, spoil, to)
    log = proxy_log(shop.container("nginx"))
    result = result.judged_by(log)
    if sick:
        # From the first answer of what was brought back on nobody meets the bad one any more; all that failed is looked at, but
        # what nginx never read, for it was closing that connection.
        assert len(result.failures) == result.failed
        first = result.versions[to]["first"]
        begun = result.phase("rollback").start
        before = failures(result, "bad")
        late = [f for f in result.failures if f["begun"] > max(first, begun) + 0.5 and not is_unread(f, log)]
        # Before that they fail as they did before it began; of what crashes a few are cut by its own death, but of what nginx
        # answers alone none fails.
        kinds = {(f["kind"], f["version"]) for f in before}
        held = [f for f in failures(result, "rollback") if not is_unread(f, log)]
        other = [
            f
            for f in held
            if f["path"].startswith("/static/") or (spoil is answers_500 and (f["kind"], f["version"]) not in kinds)
        ]
        ways = [
            Counter((f["kind"], f.get("detail", "")[:60]) for f in several).most_common(5) for several in (late, other)
        ]
        when = [round(f["begun"], 1) for f in late[:: max(1, len(late) // 20)]]
        assert late == [] and other == [], f"first {first}, late and other: {ways}, late at {when}"
        assert failures(result, "after") == []
        lost = f"{len(before)} failed before, until {first - begun:.1f} s after its start; then 0"
    else:
        assert result.failed_beyond_race == 0, [*map(json.dumps, result.failures[:8])]
        lost = "0 failed"
        all_run_once(shop, f"long-{spoil.__name__}", 180)
    # What was acknowledged is there, whatever was bad.
    verdict = shop.settle_accounts(load, result)
    assert not (verdict.lost_rows or verdict.double_rows or verdict.lost_tasks or verdict.double_tasks), verdict
    all_run_once(shop, f"queue-{spoil.__name__}", 180)
    assert states(shop)[to] == "verified" and ("loaded from the archive" in play.output) == (case == "images pruned")
    print(
        f"\nevidence: back from '{case}' in {play.seconds:.1f} s, without git or registry: {result.total:,} requests, {lost}; "
        f"{verdict.acknowledged:,} orders, 0 lost"
    )
