#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make demo``: a shop goes from v1 to v2 under load, then meets a bad version; the load counts what users saw.

Everything it runs is what a user runs: ``ansible-playbook update.yml`` in ``demo/deploy/``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.bed.load.audit import Audit  # noqa: E402 (the line above makes it importable)
from tests.bed.load.database import Database, wait_for_tasks  # noqa: E402 (likewise)
from tests.bed.load.process import LoadError, LoadRun, proxy_log  # noqa: E402 (likewise)
from tests.bed.load.result import Result  # noqa: E402 (likewise)
from tests.bed.load.table import summary_table  # noqa: E402 (likewise)

DEPLOY = ROOT / "demo/deploy"
STATE = ROOT / "demo/state"
TRAVEL = STATE / "travel"
# Without root nothing can be made in the first one.
RECORDS = (Path("/var/lib/evenkeel/evenkeel-demo") if os.geteuid() == 0 else TRAVEL / ".evenkeel") / "operations"
PORT = os.environ.get("SHOP_PORT", "8080")
URL = f"http://127.0.0.1:{PORT}"
#: Requests a second. Controller, load and shop share the processors here: with twice as many, two cores had no room for the update.
MOST = 60.0
MIX = "new=4,keepalive=4,static=1,slow=2"
LONGEST_REQUEST = 2.0  # seconds: what `slow` asks for


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why."""


def say(text: str) -> None:
    """A line of the story."""
    print(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def prepare() -> None:
    """Make what a server has: the repository to deploy from, and the server's own ``.env``."""
    STATE.mkdir(exist_ok=True)
    subprocess.run(
        [sys.executable, str(ROOT / "demo/repository.py"), str(STATE / "shop.git")],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    secrets = TRAVEL / "shared/.env"
    secrets.parent.mkdir(parents=True, exist_ok=True)
    if not secrets.exists():
        secrets.write_text((ROOT / "demo/shop/.env.example").read_text(encoding="utf-8"), encoding="utf-8")
    lines = [line for line in secrets.read_text(encoding="utf-8").splitlines() if not line.startswith("SHOP_")]
    secrets.write_text("\n".join([*lines, f"SHOP_PORT={PORT}", "SHOP_LABEL=demo", ""]), encoding="utf-8")
    secrets.chmod(0o600)


def update(version: str) -> tuple[int, float]:
    """Run what a user runs; returns the exit code and the seconds it took."""
    playbook = shutil.which("ansible-playbook", path=str(Path(sys.executable).parent)) or "ansible-playbook"
    print(f"$ cd demo/deploy && ansible-playbook update.yml -e update_version={version}", flush=True)
    began = time.monotonic()
    environment = {**os.environ, "SHOP_PORT": PORT}
    environment.pop("ANSIBLE_CONFIG", None)
    code = subprocess.run(
        [playbook, "update.yml", "-e", f"update_version={version}"], cwd=DEPLOY, env=environment, check=False
    )
    return code.returncode, time.monotonic() - began


def records(operations: Path) -> list[dict[str, Any]]:
    """The records that the operations left in a folder, the newest last."""
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(operations.glob("*.json"))]


def roll_line(operations: Path) -> tuple[str, str]:
    """How long the roll of the last good update took, against what it could not have been shorter than.

    :param operations: the folder of the records that the operations left.
    """
    good = [r for r in records(operations) if r["result"] == "ok"]
    rolls = [step for step in (good[-1]["steps"] if good else []) if step["step"].startswith("compose_rolling")]
    if not rolls or "timeline" not in rolls[0]:
        return "roll", "not measured: nothing was rolled"
    steps = rolls[0]["timeline"]

    def took(*names: str) -> float:
        return sum(float(e["seconds"]) for e in steps if e["step"] in names and "api" in e["service"])

    bound = took("start", "awaitready") + LONGEST_REQUEST + took("stop", "remove")
    watched = took("prove")
    whole = float(rolls[0]["seconds"])
    text = f"{whole:.1f} s, {watched:.1f} s of them proof and watch; lower bound (create + boot + longest request + stop) {bound:.1f} s"
    return "roll", text


def container(service: str) -> str:
    """The id of a service's container in the demo's project."""
    filters = ("label=com.docker.compose.project=evenkeel-demo", f"label=com.docker.compose.service={service}")
    argv = ["docker", "ps", "--quiet", *[word for f in filters for word in ("--filter", f)]]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def carried() -> float:
    """How many requests a second this machine answers when asked for more, measured for three seconds."""
    with LoadRun(URL, STATE / "measure", rate=3 * MOST, seconds=3, mix="new=4,keepalive=4,static=1") as load:
        result = load.result()
    return result.ok / max(result.seconds, 3.0)


def last_sentence(result: Result, audit: Audit) -> tuple[bool, str]:
    """Whether nothing was lost, and the sentence that says so.

    A request that the load could not send for too many in flight was not lost; but it proves nothing either.
    """
    if not audit.flawless:
        return False, "Rows or tasks were lost: see the figures above."
    if result.failed_beyond_race - result.overflow:
        return False, "Requests were lost, but no row and no task: see the figures above."
    if result.abandoned or not result.total:
        return False, "The load was cut off before it had its answers, so nothing is proven: run it again."
    if result.overflow:
        unsent = (
            f"No request that was sent, no row and no task was lost, but {result.overflow:,} requests could not be sent"
        )
        return False, f"{unsent}: this machine had other work to do. Run it again when that is done."
    return True, "Nothing was lost."


def story() -> tuple[int, int | None, bool]:
    """Roll out v2, and where that went well a bad version, while users shop; print what that was like for them.

    :returns: the exit codes of both updates (None: not tried), and whether it is shown that nothing was lost.
    """
    able = carried()
    rate = max(3.0, min(MOST, able / 3))
    say(f"users come: {rate:.0f} requests a second on {URL}, a third of the {able:.0f} that this machine just answered")
    with LoadRun(URL, STATE / "load", rate=rate, seconds=600, mix=MIX) as load:
        time.sleep(8)
        say("v2 is rolled out while they shop")
        load.mark("update-start")
        good, seconds = update("v2")
        load.mark("update-end")
        time.sleep(4)
        bad = None
        if good == 0:
            say("and now a bad version: healthy, but its pages answer 500. It must undo itself")
            load.mark("bad-version-start")
            bad, _bad_seconds = update("bad-500")
            load.mark("bad-version-end")
            time.sleep(4)
        say("users leave; every order they were promised is looked for in the database")
        result = load.stop()
    verdict = wait_for_tasks(Database(container("db"), "shop", "shop"), load.acknowledged(), result.unknown_orders)
    result = result.judged_by(proxy_log(container("nginx")))
    durations = [("update", f"{seconds:.1f} s for the whole playbook"), roll_line(RECORDS)]
    print(summary_table(result, verdict.audit, None, durations))
    flawless, sentence = last_sentence(result, verdict.audit)
    print(sentence)
    return good, bad, flawless


def main() -> int:
    """Tell the story; returns 0 only where it is shown that no request, row or task was lost."""
    prepare()
    say("v1 is deployed, on the first run to an empty folder")
    code, _seconds = update("v1")
    if code:
        raise DemoError("the first deployment failed; what it said stands above")
    good, bad, flawless = story()
    if good:
        raise DemoError(
            f"v2 was not brought in, and v1 serves: {records(RECORDS)[-1]['result']}. The update's own "
            f"words stand above; on a machine that has other work to do, run it again when that is done"
        )
    if not bad:
        raise DemoError("the bad version was taken for a good one; the update's own words stand above")
    print(f"""
The shop goes on running: {URL}/ (v2), folder demo/state/travel, containers: docker ps
Try next:
  cd demo/deploy
  ../../.venv/bin/ansible-playbook update.yml -e update_version=v3 --check --diff
  ../../.venv/bin/ansible-playbook update.yml -e update_version=v3
  ../../.venv/bin/ansible-playbook update.yml -e update_version=bad-crash
and `make clean` takes it all away.""")
    return 0 if flawless else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (DemoError, LoadError, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"make demo: {error}")
