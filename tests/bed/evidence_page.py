# SPDX-License-Identifier: GPL-3.0-or-later
"""The page that ``make evidence`` writes: it remembers itself what was measured before, on whatever machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bed.shop import ROOT, run
from tests.bed.tasks import seconds_of


def versions() -> str:
    """What it was run with."""
    engine = run(["docker", "version", "--format", "{{.Server.Version}}"]).strip()
    compose = run(["docker", "compose", "version", "--short"]).strip()
    ansible = str(Path(sys.executable).parent / "ansible")
    commit = run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT).strip()
    # How fast this machine is at what any playbook needs: the next one may be twice as fast.
    ping = sorted(seconds_of([ansible, "localhost", "-m", "ansible.builtin.ping"]) for _time in range(3))[1]
    lines = [
        f"- {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, commit {commit}, {os.cpu_count()} cores",
        f"- engine {engine}, Compose {compose}, Python {platform.python_version()}, {run([ansible, '--version']).splitlines()[0]}",
        f"- a bare `ansible -m ping` takes {ping:.1f} s here",
    ]
    return "\n".join(lines)


INTRODUCTION = """# What was measured

`make evidence` wrote this page: measurements only. What is right or wrong is judged by `make test` and `make nightly`
([nightly.md](nightly.md)). The load is an open loop, of 100 requests a second where nothing else is said: new and persistent
connections, orders by POST, hashed static files, 2-s and 12-s requests, streamed answers and slow uploads in flight.
*failed* is every failure that a client without retries sees. *keep-alive race* and *idle closes* are closes by nginx of
idle keep-alive connections when it reloads, met by a client that sent at that very moment, with and without looking
first; nginx's log, which has a line for each request it has read, has none for these; they happen with any reload
and are counted apart. *orders* were acknowledged; each was looked for in the database
afterwards, with its task. *seconds* are of the playbooks. *ok* also says that nothing was left behind: no pin, no
container, and a plain `docker compose up -d` would recreate nothing. Machines are shared and noisy, and one is twice as fast as the next:
compare within a row of one run. A section marked *stale* is older than the code it is about.
"""


NOT_RUN = "Not run."
_STALE = "- **stale**: "


def sections(page: str, titles: Mapping[str, str]) -> dict[str, str]:
    """What the page says of each cell that was run, by the cell's name.

    :param titles: name of a cell → its title.
    """
    found = dict(part.split("\n", 1) for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:])
    texts = {name: _without_mark(found.get(title, "").strip()) for name, title in titles.items()}
    return {name: text for name, text in texts.items() if text not in ("", NOT_RUN)}


def _without_mark(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.startswith(_STALE))


def written(known: Mapping[str, str], titles: Mapping[str, str], rooms: Mapping[str, Sequence[str]]) -> str:
    """The page with what is known of each cell, and whether that is older than the code it is about.

    :param rooms: name of a cell → the rooms of ``plugins/module_utils/`` whose code it measures.
    """
    parts = [f"## {title}\n\n{_marked(known.get(name, NOT_RUN), rooms[name])}\n" for name, title in titles.items()]
    return "\n".join([INTRODUCTION, *parts])


def _marked(text: str, rooms: Sequence[str]) -> str:
    commit = re.match(r"- .*, commit ([0-9a-f]+),", text)
    if not commit:
        return text
    changed = [room for room in rooms if _has_changed(room, commit.group(1))]
    first, _end, rest = text.partition("\n")
    mark = f"{_STALE}measured before {', '.join(changed)} changed\n" if changed else ""
    return f"{first}\n{mark}{rest}"


def _has_changed(room: str, commit: str) -> bool:
    """Whether a room's code differs from what it was; of a commit that is not known nobody can say that it does not."""
    command = ["git", "diff", "--quiet", commit, "HEAD", "--", f"plugins/module_utils/{room}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode != 0
