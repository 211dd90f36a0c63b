# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Python program of the app's own is, by the libraries that the file it starts with uses."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .commands import PYTHON, base, django_command
from .programs import SCHEDULER, WEB, WORKER, Judgement

_CONSUMES = (
    r"\b(basic_consume|start_consuming|\w*queue\w*\.(consume|iterator)|ConsumerMixin|(AIO)?Kafka_?Consumer|confluent_kafka|[bB][lr]pop"
    r"|xreadgroup|receive_messages?|pull_subscribe|run_worker|worker_main)\b"
)
#: The careful one first: a web service with a clock in it must not run twice either.
_USES = (
    (
        SCHEDULER,
        r"\b(apscheduler|(Blocking|Background|AsyncIO)Scheduler|croniter|aiocron|rocketry|schedule\.(every|run_pending))\b",
    ),
    (WORKER, _CONSUMES),
    (WEB, r"\b(uvicorn\.run|run_app|app\.run|serve_forever|waitress|hypercorn|ASGIServer|WSGIServer|start_server)\b"),
    # What sleeps between one turn and the next has nobody who tells it when.
    (SCHEDULER, r"while (True|1|not \w+).*?\bsleep\("),
)


def files_of(words: Sequence[str]) -> list[str]:
    """The ends of the paths of the file that a command line starts with, the likeliest first; none where it is no Python.

    :param words: of one process, or of one simple command.
    """
    rest = list(words)
    command = django_command(rest)
    if command:
        return [f"management/commands/{command}.py"]
    if not rest or not PYTHON.match(base(rest[0])):
        return []
    while len(rest) > 1 and rest[1].startswith("-") and rest[1] not in ("-m", "-c"):
        rest = rest[2 if rest[1] in ("-W", "-X") else 1 :]
    if rest[1:2] == ["-m"] and len(rest) > 2:
        module = rest[2].replace(".", "/")
        return [f"{module}.py", f"{module}/__main__.py"]
    return [rest[1].lstrip("./")] if rest[1:] and rest[1].endswith(".py") else []


def kind_of_source(text: str, name: str) -> Judgement | None:
    """What kind of service a program is; None where it uses nothing that says so.

    :param text: of the file that it starts with; ``name``: what a person knows it by.
    """
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for kind, pattern in _USES:
        found = re.search(pattern, code, re.DOTALL)
        if found:
            return Judgement(kind, f"{name}, which has {found.group(0).split()[0].rstrip('(')}")
    return None
