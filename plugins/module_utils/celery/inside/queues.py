# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is run in a container of the older version to look at the queues of its Celery app, and to move messages aside.

It is sent as text (``engine/host/app_script.py``), prints one line of JSON after ``EVENKEEL``, and names of tasks only: what
is in a message never leaves the broker.  Messages are looked at where they lie; none is fetched.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

# Seconds for an answer of the broker, and of workers.
_BROKER = 4.0
_PATIENCE = 2.0
_AT_ONCE = 1000
# Exact whoever else is at it, and all or nothing: what is not in the queue any more is not put anywhere.
_MOVE = """
if redis.call('LREM', KEYS[1], -1, ARGV[1]) == 0 then return 0 end
redis.call(ARGV[2], KEYS[2], ARGV[1])
redis.call('SADD', KEYS[3], ARGV[3])
return 1
"""
_TAKE_OVER = """
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('LPUSH', KEYS[3], ARGV[2])
redis.call('SADD', KEYS[4], ARGV[3])
return 1
"""


def name_of(message: Any) -> str:
    """The task that a message asks for, empty where that cannot be read."""
    try:
        name = (message.get("headers") or {}).get("task")
        if not name:
            # Protocol 1 has it in the body.
            body = message["body"]
            encoded = (message.get("properties") or {}).get("body_encoding") == "base64"
            name = json.loads(base64.b64decode(body) if encoded else body)["task"]
        return str(name)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def count(names: dict[str, int], name: str) -> None:
    """One more of a name."""
    names[name] = names.get(name, 0) + 1


class RedisLists:
    """The queues of a broker that is Redis: a list for each of its priorities, and a hash of what is fetched."""

    def __init__(self, channel: Any, project: str) -> None:
        self.channel = channel
        self.prefix = str(getattr(channel, "global_keyprefix", "") or "")
        # A client of ours: kombu's own adds the prefix to some commands only.
        self.client = importlib.import_module("redis").Redis(connection_pool=channel.pool)
        self.index = self.prefix + "evenkeel-aside:" + project

    def keys(self, queue: str) -> list[str]:
        """The lists of a queue, without the prefix of all keys."""
        return [str(self.channel._q_for_pri(queue, priority)) for priority in self.channel.priority_steps]

    def aside(self, key: str) -> str:
        """Where what is moved aside from a list is kept: nobody fetches from there."""
        return self.index + ":" + key

    def messages(self, key: str) -> Iterator[bytes]:
        """The messages of a list (with its prefix), the oldest first."""
        at = -1
        while True:
            some = self.client.lrange(key, at - _AT_ONCE + 1, at)
            if not some:
                return
            yield from reversed(some)
            at -= len(some)

    def waiting(self, queue: str) -> dict[str, int]:
        """By name, the messages in a queue."""
        names: dict[str, int] = {}
        for key in self.keys(queue):
            for message in self.messages(self.prefix + key):
                count(names, name_of(json.loads(message)))
        return names

    def fetched(self) -> Iterator[tuple[bytes, Any, str]]:
        """What somebody has fetched and not acknowledged: its tag, the message, the list it would go back to."""
        for tag, packed in self.client.hscan_iter(self.prefix + self.channel.unacked_key, count=_AT_ONCE):
            message, exchange, routing_key = json.loads(packed)
            for queue in self.channel._lookup(exchange, routing_key):
                priority = self.channel._get_message_priority(message, reverse=False)
                yield tag, message, str(self.channel._q_for_pri(queue, priority))
                break

    def held(self) -> dict[str, int]:
        """By name, what is fetched."""
        names: dict[str, int] = {}
        for _tag, message, _key in self.fetched():
            count(names, name_of(message))
        return names

    def move_aside(self, queues: list[str], known: set[str], orphans: bool) -> dict[str, dict[str, int]]:
        """Move what is not known aside; by list, the names and how many. ``orphans``: of what nobody holds any more, too."""
        moved: dict[str, dict[str, int]] = {}
        for queue in queues:
            for key in self.keys(queue):
                strange = [(m, name_of(json.loads(m))) for m in self.messages(self.prefix + key)]
                for message, name in strange:
                    if name and name not in known:
                        keys = [self.prefix + key, self.aside(key), self.index]
                        if self.client.eval(_MOVE, 3, *keys, message, "LPUSH", key):
                            count(moved.setdefault(key, {}), name)
        if orphans:
            lists = {key for queue in queues for key in self.keys(queue)}
            hashed = [self.prefix + self.channel.unacked_key, self.prefix + self.channel.unacked_index_key]
            for tag, message, key in list(self.fetched()):
                name = name_of(message)
                if name and name not in known and key in lists:
                    keys = [*hashed, self.aside(key), self.index]
                    if self.client.eval(_TAKE_OVER, 4, *keys, tag, json.dumps(message), key):
                        count(moved.setdefault(key, {}), name)
        return moved

    def kept(self) -> dict[str, dict[str, int]]:
        """By list, the names of what lies aside."""
        found: dict[str, dict[str, int]] = {}
        for key in sorted(k.decode() for k in self.client.smembers(self.index)):
            for message in self.messages(self.aside(key)):
                count(found.setdefault(key, {}), name_of(json.loads(message)))
        return found

    def put_back(self, known: set[str]) -> dict[str, dict[str, int]]:
        """Put back what is known by now, as the next that is fetched; by list, the names and how many."""
        back: dict[str, dict[str, int]] = {}
        for key in [k.decode() for k in self.client.smembers(self.index)]:
            for message in reversed(list(self.messages(self.aside(key)))):
                name = name_of(json.loads(message))
                if name in known:
                    keys = [self.aside(key), self.prefix + key, self.index]
                    if self.client.eval(_MOVE, 3, *keys, message, "RPUSH", key):
                        count(back.setdefault(key, {}), name)
            if not self.client.llen(self.aside(key)):
                self.client.srem(self.index, key)
        return back


class App:
    """The Celery app, its broker and its workers.

    :param order: ``app``, ``includes``, ``project``, ``nodes`` (names of the newer version's workers), ``ours`` (those of
        the older one), ``queues`` and ``excluded`` (what the older workers' commands say).
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self.app = importlib.import_module("celery.app.utils").find_app(order["app"])
        self.app.loader.import_default_modules()
        for module in order["includes"]:
            self.app.loader.import_task_module(module)
        self.app.finalize()
        self.known = {str(name) for name in self.app.tasks}
        own = [str(name) for name in self.app.amqp.queues] if order["everything"] else []
        named = [name for name in order["queues"] if name not in own]
        self.queues = [name for name in own if name not in order["excluded"]] + named
        self.nodes = order["nodes"]
        connection = self.app.connection_for_write(connect_timeout=_BROKER)
        connection.ensure_connection(max_retries=2, interval_start=0.5, interval_step=0.5)
        self.connection, channel = connection, connection.default_channel
        redis = hasattr(channel, "unacked_key") and hasattr(channel, "_q_for_pri")
        self.lists = RedisLists(channel, order["project"]) if redis else None

    def ask(self, question: str, nodes: list[str]) -> dict[str, Any]:
        """What these workers answer, by node."""
        inspect = self.app.control.inspect(destination=nodes, timeout=_PATIENCE, limit=len(nodes))
        return dict((getattr(inspect, question)() or {}) if nodes else {})

    def alive(self) -> list[str]:
        """The workers that answer, whoever's they are."""
        replies = self.app.control.ping(timeout=_PATIENCE) or []
        return sorted({str(node) for reply in replies for node in reply})

    def waiting(self, queues: list[str], unread: str) -> dict[str, dict[str, int]]:
        """By queue, the names of what waits there; under ``unread`` what this broker shows the number of alone."""
        if self.lists:
            return {queue: self.lists.waiting(queue) for queue in queues}
        counts = {}
        for queue in queues:
            with self.connection.channel() as channel:
                try:
                    number = int(channel.queue_declare(queue=queue, passive=True).message_count)
                except self.connection.channel_errors:
                    number = 0
            counts[queue] = {unread: number} if number else {}
        return counts

    def look(self, unread: str) -> dict[str, Any]:
        """All that is decided from."""
        # By name: a question to everybody waits its whole time for one more answer.
        answering = self.ask("ping", self.nodes)
        mine = [node for node in self.nodes if node in answering]
        registered = self.ask("registered", mine)
        fetched: dict[str, dict[str, int]] = {node: {} for node in mine}
        for question in ("active", "reserved", "scheduled"):
            for node, tasks in self.ask(question, mine).items():
                for task in tasks or []:
                    count(fetched.setdefault(node, {}), str((task.get("request") or task).get("name") or ""))
        theirs = {str(q["name"]) for queues in self.ask("active_queues", mine).values() for q in queues or []}
        return {
            "registered": sorted(self.known),
            "waiting": self.waiting(self.queues, unread),
            "elsewhere": self.waiting(sorted(theirs - set(self.queues)), unread),
            "held": self.lists.held() if self.lists else {},
            "workers": {
                node: {
                    # Each may be followed by its options: `name [rate_limit=10/s]`.
                    "registered": sorted({str(name).partition(" [")[0] for name in registered.get(node) or []}),
                    "fetched": fetched[node],
                }
                for node in mine
            },
            "aside": self.lists.kept() if self.lists else {},
        }

    def strange(self, seen: dict[str, Any]) -> bool:
        """Whether a look has shown a task that is not known here."""
        worlds = [*seen["waiting"].values(), seen["held"], *(w["fetched"] for w in seen["workers"].values())]
        return any(name and name not in self.known for names in worlds for name in names)


def main(order: dict[str, Any]) -> None:
    """Carry out ``order["act"]``: ``look`` (for up to ``seconds`` until nothing strange is left), ``aside`` or ``back``."""
    sys.path.insert(0, os.getcwd())
    # What an entrypoint would have set: by this way no process list and no shell sees it.
    os.environ.update(json.loads(sys.stdin.read() or "{}"))
    answer: dict[str, Any] = {}
    try:
        app = App(order)
        if order["act"] == "look":
            end = time.time() + order["seconds"]
            answer = app.look(order["unread"])
            while app.strange(answer) and time.time() < end:
                time.sleep(1)
                answer = app.look(order["unread"])
        elif app.lists is None:
            answer = {"moved": {}, "aside": {}}
        elif order["act"] == "aside":
            # What somebody else has fetched is theirs to end.
            orphans = not set(app.alive()) - {*order["nodes"], *order["ours"]}
            moved = app.lists.move_aside(app.queues, app.known, orphans)
            answer = {"moved": moved, "aside": app.lists.kept(), "seen": app.look(order["unread"])}
        else:
            answer = {"moved": app.lists.put_back(app.known), "aside": app.lists.kept()}
    except Exception as error:
        # Whatever it is: the one who asked has to be told, and a trace of the app's may show values.
        away = type(error).__module__.partition(".")[0] in ("kombu", "redis", "amqp") or isinstance(error, OSError)
        answer = {"error": f"{type(error).__name__}: {str(error)[:200]}", "away": away}
    sys.stdout.write("\nEVENKEEL " + json.dumps(answer) + "\n")
