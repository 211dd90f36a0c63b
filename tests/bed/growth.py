# SPDX-License-Identifier: GPL-3.0-or-later
"""How the time of what people wait for grows with what an app has: a cell of ``make evidence``.

One thing is made larger at a time, on one shop that nobody uses, and measured beside the same shop as it was just before.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.symlink_release import call as manage_release
from demo.repository import add_commit
from tests.bed.killed_roll import QUICK, roll_again
from tests.bed.shop import BedError, Shop, deployed, run, succeeded

_COMPOSE, _NGINX = "docker-compose.prod.yml", "deploy/nginx.conf"
#: How often each is measured; the middle one counts.
_TIMES = 3


def _at(shop: Shop, version: str) -> None:
    succeeded(shop.update(version, app_services=QUICK))


def _with(shop: Shop, tag: str, change: Callable[[dict[str, Any]], object]) -> str:
    """A version of the shop whose Compose file has other services."""
    text = run(["git", "--git-dir", str(shop.repository), "show", f"v1:{_COMPOSE}"])
    project = yaml.safe_load(text)
    change(project["services"])
    add_commit(shop.repository, {_COMPOSE: yaml.safe_dump(project, sort_keys=False)}, tag, parent="v1")
    return tag


@contextmanager
def services(shop: Shop) -> Iterator[tuple[int, int]]:
    """Services that only sleep."""

    def more(named: dict[str, Any]) -> None:
        idle = {"image": "evenkeel/base:trixie", "command": ["sleep", "infinity"], "init": True}
        for number in range(50 - len(named)):
            named[f"idle-{number}"] = {**idle, "labels": named["redis"]["labels"]}

    _at(shop, _with(shop, "services", more))
    yield 6, 50
    _at(shop, "v1")


@contextmanager
def replicas(shop: Shop) -> Iterator[tuple[int, int]]:
    """Containers of the web service."""
    _at(shop, _with(shop, "replicas", lambda named: named["api"].update(deploy={"replicas": 20})))
    yield 1, 20
    _at(shop, "v1")


@contextmanager
def releases(shop: Shop) -> Iterator[tuple[int, int]]:
    """Releases on the disk, each with a tree of its own."""
    folder = shop.root / "releases"
    before = {path.name for path in folder.iterdir()}
    for number in range(100 - len(before)):
        tag = f"release-{number}"
        add_commit(shop.repository, {"NOTES.md": f"{number}\n"}, tag, parent="v1")
        options = {"path": str(shop.root), "repo": str(shop.repository), "version": tag, "shared": [".env"]}
        made = manage_release(options, False)["release"]
        manifest = folder / made / ".evenkeel/manifest.json"
        known = json.loads(manifest.read_text(encoding="utf-8"))
        manifest.write_text(json.dumps({**known, "state": "verified"}), encoding="utf-8")
    yield len(before), len(list(folder.iterdir()))
    for path in folder.iterdir():
        if path.name not in before:
            shutil.rmtree(path)


@contextmanager
def journal(shop: Shop) -> Iterator[tuple[int, int]]:
    """Lines of the journal."""
    file = shop.root / ".evenkeel/journal.jsonl"
    before = file.read_text(encoding="utf-8")
    lines = before.splitlines(keepends=True)
    file.write_text("".join(lines[n % len(lines)] for n in range(100_000 - len(lines))) + before, encoding="utf-8")
    yield len(lines), 100_000
    # What was written since then is at its end.
    with file.open(encoding="utf-8") as stream:
        kept = stream.readlines()[100_000 - len(lines) :]
    file.write_text("".join(kept), encoding="utf-8")


@contextmanager
def nginx(shop: Shop) -> Iterator[tuple[int, int]]:
    """Lines of nginx's configuration."""
    before = run(["git", "--git-dir", str(shop.repository), "show", f"v1:{_NGINX}"])
    more = "".join(f"    location = /old/{n} {{\n        return 301 /new/{n};\n    }}\n" for n in range(660))
    text = before.replace("    location /static/", f"{more}\n    location /static/", 1)
    add_commit(shop.repository, {_NGINX: text}, "nginx", parent="v1")
    _at(shop, "nginx")
    yield before.count("\n"), text.count("\n")
    _at(shop, "v1")


#: What can be many → makes it so, and as it was at the end; yields how many there were and are.
GROWTHS = {
    "journal, lines": journal,
    "releases": releases,
    "nginx configuration, lines": nginx,
    "services": services,
    "replicas of the web service": replicas,
}
COLUMNS = ("`update --check`", "`status`", "a roll that finds nothing to do")


def _seconds(shop: Shop) -> list[float]:
    """The middle of each column, in seconds."""
    version = json.loads((shop.root / "current/.evenkeel/manifest.json").read_text(encoding="utf-8"))["version"]

    def rolled() -> float:
        began = time.monotonic()
        result = roll_again(shop, version, QUICK)
        if result["changed"]:
            raise BedError(f"there was something to do: {result['msg']}")
        return time.monotonic() - began

    acts: tuple[Callable[[], float], ...] = (
        lambda: succeeded(shop.update(version, "--check", app_services=QUICK)).seconds,
        lambda: succeeded(shop.play(playbook="status")).seconds,
        rolled,
    )
    return [statistics.median(act() for _time in range(_TIMES)) for act in acts]


def measured() -> str:
    """Each thing, few and many, as a table; worse than linear is not ok."""
    rows, good = [], True
    with deployed("growth") as shop:
        _at(shop, "v1")
        for name, grown in GROWTHS.items():
            few = _seconds(shop)
            with grown(shop) as (small, large):
                many = _seconds(shop)
            good = good and all(m / f <= large / small for f, m in zip(few, many))
            cells = [f"{f:.1f} → {m:.1f} (x {m / f:.1f})" for f, m in zip(few, many)]
            rows.append(f"| {name} | {small:,} → {large:,} | {' | '.join(cells)} |")
            print(rows[-1], flush=True)
    head = f"| what is more | of it | {' | '.join(f'{c}, s' for c in COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 2)}"
    return "\n".join([head, *rows, *(() if good else ("", "**not ok**"))])


if __name__ == "__main__":
    print(measured())
