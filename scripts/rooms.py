#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the rooms of plugins/module_utils into docs/architecture.md: what is in each, and which others it imports from.

Run it after adding a room or an import between rooms; a unit test fails where the picture is not what this would draw.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
UTILS = ROOT / "plugins/module_utils"
PAGE = ROOT / "docs/architecture.md"
BEGIN, END = "<!-- rooms: drawn by scripts/rooms.py -->", "<!-- end of rooms -->"
#: From the ground up: the rooms of each floor, and what is in them. A room imports from rooms of lower floors only.
FLOORS: tuple[dict[str, str], ...] = (
    {"base": "errors, clocks, files by directory handle, processes, masking, values, the code on a target"},
    {
        "operation": "journal, lease, lock, records, progress, result",
        "git": "the mirror, histories, contents of commits",
    },
    {"engine": "Docker, Compose, inspections, services and their kinds, files of containers"},
    {
        "nginx": "syntax, configuration, change, twin, files that proxies mount",
        "celery": "command lines of workers, nodes, waiting tasks",
        "django": "a container for one question, checks, connections",
        "postgres": "a server's own programs, servers outside of the project, servers that are thrown away",
    },
    {
        "traffic": "which proxy leads where; how it is led: pins, DNS, upstream includes, sockets, firewall; probes",
        "releases": "store, retention, generated project, mounts, data, a team's own commands",
    },
    {
        "rolling": "the reconciler",
        "migrations": "judging, expanding, contracting, reversing",
        "build": "images, jobs, publishing of static and built files",
        "drift": "what was edited by hand",
        "guard": "the service that reloads nginx when a container has moved",
    },
    {"backup": "dumps, their proof, restoring, archives of files", "adopt": "taking over a stack started by hand"},
    {
        "init": "which variables describe a Compose project that exists",
        "hotfix": "hotfixes of code, files and database objects; releases that would lose one",
        "rehearsal": "a version tried before it serves: checks, the app's tests, an update on real rows",
    },
    {
        "status": "everything that is known of an app",
        "plan": "which change a version is, what an update to it does, by which strategy, and why",
    },
    {"calls": "for each module what it takes, and one call of it"},
)


def files(utils: Path = UTILS) -> list[Path]:
    """Every file of code, sorted."""
    return sorted(path for path in utils.rglob("*.py") if "__pycache__" not in path.parts)


def imported(path: Path, utils: Path = UTILS) -> Iterator[tuple[str, ...]]:
    """The files that one imports from here, as parts of their paths without ``.py``."""
    module = path.relative_to(utils).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = (*module[: -node.level], *(node.module.split(".") if node.module else ()))
            if utils.joinpath(*base).with_suffix(".py").is_file():
                yield base
            else:
                yield from ((*base, alias.name) for alias in node.names)


def arrows(utils: Path = UTILS) -> Counter[tuple[str, str]]:
    """How many imports there are from one room to another."""
    found: Counter[tuple[str, str]] = Counter()
    for path in files(utils):
        room = path.relative_to(utils).parts[0]
        found.update((room, target[0]) for target in imported(path, utils) if target[0] != room)
    return found


def not_downward(found: Counter[tuple[str, str]]) -> list[str]:
    """The arrows that lead to a room of the same floor or of one above, and rooms that are on no floor."""
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    strange = sorted({room for arrow in found for room in arrow} - set(floor))
    return [f"{room} is on no floor" for room in strange] + [
        f"{one} imports from {other}"
        for one, other in sorted(found)
        if one in floor and other in floor and floor[other] >= floor[one]
    ]


def picture(utils: Path = UTILS) -> str:
    """The rooms as a table, the highest floor first."""
    found = arrows(utils)
    rows = ["| floor | room | what is in it | imports from |", "|---|---|---|---|"]
    for number, rooms in reversed(list(enumerate(FLOORS))):
        for room, what in rooms.items():
            below = ", ".join(sorted(other for one, other in found if one == room))
            page = PAGE.parent / f"rooms/{room}.md"
            rows.append(f"| {number} | {f'[{room}](rooms/{room}.md)' if page.exists() else room} | {what} | {below} |")
    return "\n".join(rows)


def with_picture(text: str) -> str:
    """The page with the picture of now in it."""
    head, begin, rest = text.partition(BEGIN)
    _old, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE} has no place for the rooms: {BEGIN} … {END}")
    return f"{head}{BEGIN}\n\n{picture()}\n\n{END}{tail}"


def main() -> int:
    """Write the page where it differs."""
    before = PAGE.read_text(encoding="utf-8")
    after = with_picture(before)
    if after != before:
        PAGE.write_text(after, encoding="utf-8")
        sys.stdout.write(f"{PAGE} written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
