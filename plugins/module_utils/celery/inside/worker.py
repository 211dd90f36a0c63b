# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is run inside a worker's container to speak to that worker through its own app and broker.

It is sent as text (``python -c``) and imports nothing of ours: the container has the app's Python and its Celery.
``ARGV``: act, app, node, path of the mark, what the mark says, seconds.  The answer is the last line, after ``MARK``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time

MARK = "evenkeel-answer:"
PATIENCE = 3.0
# So often one that may still be starting is greeted within these seconds.
HELLOS = 6


def main() -> None:
    """Carry out one act; see the module's text."""
    act, name, node, path, said, seconds = sys.argv[1:7]
    sys.path.insert(0, os.getcwd())
    app = importlib.import_module("celery.app.utils").find_app(name)
    control = app.control

    def ask(question: str, patience: float = PATIENCE) -> object:
        # With a limit it returns with the one answer instead of waiting for others.
        replies = getattr(control.inspect(destination=[node], timeout=patience, limit=1), question)()
        return (replies or {}).get(node)

    def answers() -> bool:
        # One that is still starting never hears what was said before it listened, so it is said again and again; to ask
        # anew from outside would start the app's Python anew, which costs a second of a processor.
        for _time in range(HELLOS):
            if ask("ping", PATIENCE / HELLOS) is not None:
                return True
        # A slow one gets all the time for one answer.
        return ask("ping") is not None

    def tell(order: str, queue: str) -> bool:
        replies = getattr(control, order)(queue, destination=[node], reply=True, timeout=PATIENCE, limit=1)
        return any("ok" in (reply.get(node) or {}) for reply in replies or [])

    def left(seconds: str) -> int | None:
        end, none = time.time() + float(seconds), 0
        while True:
            counts = [ask("active"), ask("reserved")]
            known = all(isinstance(c, list) for c in counts)
            tasks = sum(len(c) for c in counts if isinstance(c, list)) if known else None
            # Twice, since one may be on its way from the one list to the other.
            none = none + 1 if tasks == 0 else 0
            if none >= 2 or time.time() >= end:
                return tasks
            time.sleep(0.2)

    def waiting(names: list[str]) -> dict[str, int]:
        counts = {}
        with app.connection_for_read() as connection:
            for queue in names:
                # One channel each: a broker ends that in which a queue was asked for that is not there.
                with connection.channel() as channel:
                    try:
                        counts[queue] = int(channel.queue_declare(queue=queue, passive=True).message_count)
                    except connection.channel_errors:
                        counts[queue] = 0
        return counts

    answer: dict[str, object] = {}
    if act == "ping":
        answer = {"ok": answers()}
    elif act == "quiet":
        found = ask("active_queues")
        queues = [str(q["name"]) for q in found] if isinstance(found, list) else []
        if queues:
            # Before the first order: killed in between, what has to be taken back is known.
            with open(path, "w") as stream:
                json.dump({"said": said, "queues": queues}, stream)
            lines = [tell("cancel_consumer", queue) for queue in queues]
            # What it has left is asked in the same visit: each starts the app's Python anew.
            answer = {"ok": all(lines), "tasks": left(seconds)}
    elif act == "resume":
        with open(path) as stream:
            queues = json.load(stream)["queues"]
        lines = [tell("add_consumer", queue) for queue in queues]
        answer = {"ok": all(lines)}
        if answer["ok"]:
            os.remove(path)
    elif act == "queued":
        found = ask("active_queues")
        queues = [str(q["name"]) for q in found] if isinstance(found, list) else list(app.amqp.queues)
        counts = [ask("active"), ask("reserved"), ask("scheduled")]
        answer = {"queued": waiting(queues), "fetched": sum(len(c) for c in counts if isinstance(c, list))}
    elif act == "tasks":
        answer = {"tasks": left(seconds)}
    sys.stdout.write("\n" + MARK + json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
