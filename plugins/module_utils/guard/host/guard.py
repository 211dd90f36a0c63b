# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of an app: ``python3 -m evenkeel.guard.host.guard --app NAME --state-dir DIRECTORY``.

Follows the engine's events and has nginx load its configuration again when a container that it proxies to came back
at another address.  An event only says that it is time to look; what is done follows from what is seen.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Callable, Union

from ...base.host.files import FilesFailed
from ...engine.host.engine import Engine, EngineBarred, EngineFailed
from ...nginx.host.nginx import NginxFailed
from ..guard import Memory, Reload, Verdict, Wait, decide, refused, reloaded, remember
from .view import Deployment, Hearing, View, Watched, loaded_since_boot

#: Seconds after which all is looked at again although nothing was heard: events may be lost.
SAFETY = 600.0
# Compose starts several containers within moments, and each of them causes several events.
_BURST = 0.2
#: Seconds after which it looks again: it has just reloaded nginx, or an operation is in the middle of an act.
ACT_RETRY = 0.5
# Longest time for one answer of the engine, seconds.
_ANSWER = 30
_FIRST_BACKOFF, _LAST_BACKOFF = 1.0, 30.0
# What was heard of while the connection was being made.
_OVERLAP = 2.0
_EVENTS = {"type": ["container", "network"], "event": ["start", "die", "connect", "disconnect"]}
#: Exit code after which the unit is not started again (EX_CONFIG).
BARRED = 78
_LOOK = "look"
_STOP = "stop"

Word = Union[str, BaseException]


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


class Events:
    """Listens to the engine in a thread of its own, for ever, and passes on that it is time to look.

    :param words: where it says so; an exception there ends the guard.
    :param concerns: which events are worth a look.
    """

    def __init__(
        self,
        words: SimpleQueue[Word],
        say: Callable[[str], None] = _say,
        concerns: Callable[[Mapping[str, Any]], bool] = lambda _event: True,
    ) -> None:
        self._words = words
        self._concerns = concerns
        self._say = say

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name="events", daemon=True).start()

    def _run(self) -> None:
        try:
            self.follow()
        except BaseException as error:
            # Deaf, it would go on to look alive.
            self._words.put(error)

    def follow(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Listen; come back with growing pauses when the engine goes away.

        :raises EngineBarred: waiting changes nothing.
        """
        backoff, gone = _FIRST_BACKOFF, False
        while True:
            began = time.monotonic()
            try:
                stream = Engine(timeout=_ANSWER).events(_EVENTS, time.time() - _OVERLAP)
                if gone:
                    self._say("the Docker engine answers again")
                gone = False
                # Nothing is known of what happened while nobody listened.
                self._words.put(_LOOK)
                for event in stream:
                    if self._concerns(event):
                        self._words.put(_LOOK)
                raise EngineFailed("the Docker engine ended the connection")
            except EngineBarred:
                raise
            except EngineFailed as error:
                if not gone:
                    self._say(f"{error}; waiting for the engine")
                gone = True
            backoff = _FIRST_BACKOFF if time.monotonic() - began > _LAST_BACKOFF else backoff
            sleep(backoff)
            backoff = min(_LAST_BACKOFF, backoff * 2)


def _hear_signals(words: SimpleQueue[Word]) -> None:
    """Pass on that this process is told to end, at any moment and whichever of its threads the signal meets.

    A handler runs only once the main thread runs Python again, so one that puts the word itself can be late by a whole
    wait; the interpreter writes to this pipe at once (Python's documentation, ``signal.set_wakeup_fd``).
    """
    told, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_ignored: None)

    def listen() -> None:
        os.read(told, 1)
        words.put(_STOP)

    threading.Thread(target=listen, name="signals", daemon=True).start()


class Guard:
    """One app's guard.

    :param app: the Compose project whose nginx is meant.
    :param state_dir: where that app's lock is; ``former``: where it is otherwise.
    :param until_unpinned: whether it ends once no nginx of the app has a pin.
    :raises FilesFailed: the lock may not be read.
    """

    def __init__(
        self,
        app: str,
        state_dir: str,
        say: Callable[[str], None] = _say,
        until_unpinned: bool = False,
        former: str = "",
    ) -> None:
        self.app = app
        self._until_unpinned = until_unpinned
        self._pinned = True
        self.deployment = Deployment(state_dir, former)
        self.words: SimpleQueue[Word] = SimpleQueue()
        self.hearing = Hearing(app)
        self._say = say
        self._view: View | None = None
        #: Per nginx of the last look, by its container's id, what is remembered of it.
        self.memories: dict[str, Memory] = {}
        self._report: dict[str, str] = {}
        self._guarded: set[tuple[str, str]] = set()

    def run(self) -> int:
        """Guard until told to stop; an act that began is finished first.

        :returns: the exit code: 0 when stopped, 1 when it cannot go on, 78 when waiting would change nothing.
        """
        _hear_signals(self.words)
        Events(self.words, self._say, self.hearing.concerns).start()
        pause = SAFETY
        while True:
            word = self._next(pause)
            if word == _STOP:
                return 0
            if isinstance(word, BaseException):
                self._say(f"the guard of {self.app} cannot go on: {word}")
                return BARRED if isinstance(word, EngineBarred) else 1
            pause = self.look()
            if self._until_unpinned and not self._pinned:
                return 0

    def _next(self, pause: float) -> Word:
        """The next thing to do; what comes in a burst is one look."""
        try:
            word = self.words.get(timeout=pause)
        except Empty:
            return _LOOK
        if word == _LOOK:
            time.sleep(_BURST)
        while word == _LOOK:
            try:
                word = self.words.get_nowait()
            except Empty:
                break
        return word

    def look(self) -> float:
        """Look at everything once and do what is due.

        :returns: seconds after which to look again though nothing is heard.
        """
        try:
            self._view = self._view or View(Engine(timeout=_ANSWER), self.app)
            watched = self._view.look(self.deployment.busy())
            # Kept while nginx is down, so that whatever starts before it is heard of.
            self.hearing.networks |= frozenset().union(*(w.networks for w in watched))
            self._pinned = any(map(_may_be_pinned, watched))
            self._tell_what_is_guarded(watched)
            memories = {w.seen.proxy: remember(self.memories.get(w.seen.proxy, Memory()), w.seen) for w in watched}
            self.memories = memories
            verdicts = [
                self._carry_out(self._view, w.seen.proxy, decide(memories[w.seen.proxy], w.seen)) for w in watched
            ]
            self._report.pop("engine", None)
        except (EngineFailed, FilesFailed) as error:
            self._view = None
            self._say_once("engine", str(error))
            # When the engine is back, its events say so; this is for one that is there and does not answer.
            return _LAST_BACKOFF
        return min([SAFETY, *[v.seconds for v in verdicts if isinstance(v, Wait)]])

    def _carry_out(self, view: View, proxy: str, verdict: Verdict) -> Verdict:
        """Do what was decided, if it still is to be done once nobody else acts; what to do next."""
        if not isinstance(verdict, Reload):
            return verdict
        with self.deployment.still() as still:
            again = [w for w in view.look(self.deployment.busy()) if w.seen.proxy == proxy] if still else []
            if not again:
                return Wait(ACT_RETRY, "an operation is in the middle of an act")
            seen = again[0].seen
            memory = remember(self.memories[proxy], seen)
            verdict = decide(memory, seen)
            if isinstance(verdict, Reload):
                memory, verdict = self._reload(again[0], memory, verdict)
            self.memories[proxy] = memory
        return verdict

    def _reload(self, watched: Watched, memory: Memory, wanted: Reload) -> tuple[Memory, Verdict]:
        nginx, seen = watched.nginx, watched.seen
        try:
            for repin in wanted.repins:
                watched.lead(repin)
            nginx.reload()
        except NginxFailed as error:
            self._say_once(seen.proxy, f"{wanted.why}, but {error}; it serves as before")
            memory = refused(memory, seen, wanted)
            return memory, decide(memory, seen)
        self._report.pop(seen.proxy, None)
        released = ", ".join(r.service for r in wanted.repins)
        pins = f"; what was pinned or written for {released} was put right" if released else ""
        self._say(f"{nginx.name} was reloaded: {wanted.why}{pins}")
        memory = reloaded(memory, seen, wanted, loaded_since_boot(nginx.workers()))
        # What happened meanwhile.
        return memory, Wait(ACT_RETRY, "it was just reloaded")

    def _say_once(self, what: str, text: str) -> None:
        if self._report.get(what) != text:
            self._report[what] = text
            self._say(text)

    def _tell_what_is_guarded(self, watched: Sequence[Watched]) -> None:
        for w in watched:
            if w.problem:
                self._say_once(f"problem {w.seen.proxy}", w.problem)
        # Not how it is at the moment: what crashes in a loop would be told each time.
        known = set(self._guarded)
        for w in watched:
            self._guarded.update((w.nginx.name, name.host) for name in w.seen.names if name.backends)
        if self._guarded - known:
            each = [
                f"{name} ({', '.join(h for n, h in sorted(self._guarded) if n == name)})" for name in self._proxies()
            ]
            self._say(f"guarding {self.app}: {', '.join(each)}")
        elif not self._guarded:
            self._say_once(
                "guarded", f"no nginx of {self.app} that runs resolves a container's name once: nothing to guard"
            )

    def _proxies(self) -> list[str]:
        return sorted({name for name, _host in self._guarded})


def _may_be_pinned(watched: Watched) -> bool:
    try:
        return bool(watched.nginx.pins())
    except NginxFailed:
        return True


def main(argv: Sequence[str] | None = None) -> int:
    """Run the guard of one app.

    :returns: the exit code.
    """
    parser = argparse.ArgumentParser(
        prog="evenkeel.guard.host.guard", description="Heals nginx when a container has moved."
    )
    parser.add_argument("--app", required=True, help="name of the Compose project")
    parser.add_argument("--state-dir", required=True, help="the app's state directory, where its lock is")
    parser.add_argument("--former-state-dir", default="", help="where the lock is as long as none is there")
    options = parser.parse_args(argv)
    try:
        return Guard(options.app, os.path.abspath(options.state_dir), former=options.former_state_dir).run()
    except FilesFailed as error:
        _say(f"the guard of {options.app} cannot work: {error}")
        return BARRED


if __name__ == "__main__":
    raise SystemExit(main())
