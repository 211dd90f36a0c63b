# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of an app's state directory and the record of what is done under it.

``lock`` is the record (see ``operation/lease.py``), always replaced whole.  ``lock.guard`` is never replaced and only
flocked: shared for as long as a single act takes, exclusively to give the lock to somebody else.  So between the
check of a number and the end of the act it was checked for, nobody else can become the holder.  ``lock.mutex``
orders the writers of the records, so that a lease is renewed during a long act too.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Callable

from ...base.host.clock import identity, lives, now
from ...base.host.file_lock import flock
from ...base.host.files import FilesFailed, private_directory, read_json, write_private_somehow
from .. import lease, summary
from ..lease import LEASE, Lock, Operation, Take
from ..options import LockOptions
from .records import Journal, Records, first_line, iso
from .state_folder import refuse_untrusted

#: Seconds that a single act of a holder who may be replaced is waited for.
ACT_PATIENCE = 60.0
#: Longest time between two renewals while a module works, seconds.
RENEWAL = 60.0


class LockHeld(FilesFailed):
    """Somebody else has the lock; ``advice`` says whom to ask and what to run.

    ``waitable``: the caller would have waited for it, had it not been told to answer at once.
    """

    waitable = False


class FencedOff(Exception):
    """This holder's number is not the one in the record any more: it must not act, nor undo what it did."""


@dataclass(frozen=True)
class Grant:
    """The lock was taken: ``over`` says from whom, ``owed`` is the record of an undo that has to be finished first."""

    lock: Lock
    expires: str
    over: str = ""
    pending_undo: dict[str, Any] = field(default_factory=dict)


class Keeper:
    """The lock and the records of one state directory.

    :param directory: the state directory; made (mode 0700) where it is not there.
    :raises FilesFailed: it cannot be made, or somebody else could write to it.
    """

    def __init__(self, directory: str) -> None:
        refuse_untrusted(directory)
        self.directory = private_directory(directory)
        self.records = Records(directory)
        self.journal = Journal(os.path.join(directory, "journal.jsonl"))
        self._path = os.path.join(directory, "lock")

    # -- who has it -----------------------------------------------------------------------------------

    def read(self) -> Lock:
        """The lock's record; where it is lost, the journal still knows the highest number."""
        lock = lease.from_json(read_json(self._path))
        return lock if lock is not None else Lock(number=self.journal.highest_number())

    def take(
        self,
        wanted: Operation,
        who: str,
        length: float = LEASE,
        wait: float = 0.0,
        over: bool = False,
        alone: bool = False,
        sleep: Callable[[float], None] = time.sleep,
        at_once: bool = False,
    ) -> Grant:
        """Take the lock, waiting at most ``wait`` seconds for others, and for a living module of the same operation.

        :param at_once: wait for nobody.

        :raises LockHeld: somebody else has it, and how to go on.
        :raises FilesFailed: nothing can be written there.
        """
        began = now().uptime
        while True:
            lock = self.read()
            verdict = lease.may_take(lock, now(), lives(lock.process), wanted, over)
            if isinstance(verdict, Take):
                try:
                    grant = self._try_take(wanted, who, length, over, alone)
                except OSError as error:
                    # What cannot be recorded does not begin: after a kill there would be no way back.
                    raise FilesFailed(
                        f"nothing can be written to {self.directory}: {error.strerror}; nothing was touched"
                    ) from error
                if grant:
                    return grant
                patience = max(wait, ACT_PATIENCE)
            else:
                patience = float("inf") if verdict.attach else wait
            if at_once or now().uptime - began >= patience:
                held = self._held(lock, isinstance(verdict, Take))
                held.waitable = patience > 0
                raise held
            sleep(0.2 if now().uptime - began < 5 else 1.0)

    def _try_take(self, wanted: Operation, who: str, length: float, over: bool, alone: bool) -> Grant | None:
        """Take it unless an act is under way or somebody else was faster."""
        with self._flock("guard", fcntl.LOCK_EX | fcntl.LOCK_NB) as free, self._flock("mutex", fcntl.LOCK_EX):
            lock, moment = self.read(), now()
            verdict = lease.may_take(lock, moment, lives(lock.process), wanted, over)
            if not free or not isinstance(verdict, Take):
                return None
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(moment.wall))
            run = lease.run_id(stamp, wanted.playbook, secrets.token_hex(4))
            fresh = lease.taken(lock, verdict, run, wanted, who, length, moment)
            fresh = replace(fresh, process=identity(os.getpid()), alone=True) if alone else fresh
            if not alone:
                self._begin(fresh)
            if lock.held and not lock.alone and not self.records.read(lock.run).get("result"):
                self.records.note(lock.run, result="interrupted", taken_over_by=run)
            self._say(fresh, "taken", over=verdict.over, by=str(wanted), who=who)
            self._write(fresh)
            return Grant(
                fresh,
                self._expires(fresh),
                verdict.over,
                self.records.read(fresh.pending_undo) if fresh.pending_undo else {},
            )

    def _begin(self, lock: Lock) -> None:
        operation = lock.operation
        record = {
            "run": lock.run, "number": lock.number, "who": lock.who, "playbook": operation.playbook,
            "app": operation.app, "target": operation.target, "revision": "", "release": "", "goal": "forward",
            "before": {}, "started": iso(lock.since), "seconds": None, "steps": [], "result": "",
        }  # fmt: skip
        self.records.write(lock.run, record)

    def renew(self, token: str, **changes: Any) -> Lock:
        """Begin the holder's lease anew; ``changes`` may name a new ``process`` or what is ``owed``.

        :raises FencedOff: it is the holder no more.
        :raises OSError: the record cannot be written; the lock is still the holder's.
        """
        with self._flock("mutex", fcntl.LOCK_EX):
            lock = self.check(token)
            fresh = replace(lease.renewed(lock, now(), lock.process), **changes)
            self._write(fresh)
            return fresh

    def release(self, token: str) -> bool:
        """Give the lock back; False where it is somebody else's by now."""
        with self._flock("mutex", fcntl.LOCK_EX):
            try:
                lock = self.check(token)
            except FencedOff:
                return False
            self._write(lease.released(lock, now()))
            with contextlib.suppress(OSError):
                self._say(lock, "released")
            return True

    def check(self, token: str) -> Lock:
        """The record, when the holder of a token still is the holder.

        :raises FencedOff: otherwise.
        """
        lock = self.read()
        problem = lease.objection(lock, token)
        if problem:
            raise FencedOff(problem)
        return lock

    # -- acting under it ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def act(self, token: str, what: str) -> Iterator[None]:
        """Be the holder for as long as the block runs, or not run it at all.

        :raises FencedOff: somebody else holds the lock.
        """
        with self._flock("guard", fcntl.LOCK_SH, for_act=True):
            lock = self.check(token)
            self.tell(lock, what)
            yield

    def tell(self, lock: Lock, event: str, **more: Any) -> None:
        """Write a line into the journal; that it cannot be written stops nobody in the middle of an operation."""
        with contextlib.suppress(OSError, FilesFailed), self._flock("mutex", fcntl.LOCK_EX):
            self._say(lock, event, **more)

    def _say(self, lock: Lock, event: str, **more: Any) -> None:
        line = {"at": iso(time.time()), "number": lock.number, "run": lock.run, "event": event}
        self.journal.append({**line, **{key: value for key, value in more.items() if value}})

    def note(self, run: str, **news: Any) -> None:
        """Add to an operation's record.

        :raises OSError: full disk.
        """
        with self._flock("mutex", fcntl.LOCK_EX):
            self.records.note(run, **news)

    def add_step(self, run: str, step: Mapping[str, Any]) -> None:
        """Add a step to an operation's record; see :meth:`tell` for what a full disk does."""
        with self._remembering(), self._flock("mutex", fcntl.LOCK_EX):
            self.records.add_step(run, step)

    def add_report(self, token: str, module: str, began: float, report: Mapping[str, Any], project: str = "") -> None:
        """Add what a module of the operation returned to its step, or a step where it worked without a :class:`Fence`.

        :param token: of the operation's lock; nothing is written where it is not the holder's any more.
        :param began: when the module began (UNIX time); a step of its own that began since then is the one.
        :param project: the release that a module which only looked has looked at.
        """
        with contextlib.suppress(FencedOff), self._remembering(), self._flock("mutex", fcntl.LOCK_EX):
            run = self.check(token).run
            steps = list(self.records.read(run).get("steps") or ())
            last = steps[-1] if steps else {}
            if str(last.get("step", "")).startswith(f"{module} of ") and str(last["started"]) >= iso(began):
                if {**report, **last} == last:
                    return
                steps[-1] = {**report, **last}
            else:
                own = {"step": module, "started": iso(began), "seconds": round(time.time() - began, 3), "result": "ok"}
                steps.append({**own, **({"project": project} if project else {}), **report})
            self.records.note(run, steps=steps)

    @contextlib.contextmanager
    def _remembering(self) -> Iterator[None]:
        """What cannot be written into the record stops nobody; that it is missing there is part of the lock."""
        try:
            yield
        except (OSError, FilesFailed) as error:
            with contextlib.suppress(OSError, FilesFailed), self._flock("mutex", fcntl.LOCK_EX):
                lock = self.read()
                if lock.held and not lock.unwritten:
                    self._write(replace(lock, unwritten=first_line(str(getattr(error, "strerror", None) or error))))

    # -- files ----------------------------------------------------------------------------------------

    def _flock(self, name: str, how: int, for_act: bool = False) -> contextlib.AbstractContextManager[bool]:
        return flock(f"{self._path}.{name}", how, for_act)

    def _write(self, lock: Lock) -> None:
        # A full disk must not keep anybody from renewing or giving back. Torn by a power cut, it is rebuilt from the journal.
        write_private_somehow(self._path, json.dumps(lease.to_json(lock)) + "\n")

    @staticmethod
    def _expires(lock: Lock) -> str:
        return iso(time.time() + lease.remaining(lock, now()))

    def _held(self, lock: Lock, acting: bool) -> LockHeld:
        left = lease.remaining(lock, now())
        return LockHeld(
            *lease.whom_to_ask(lock, left, iso(lock.since), iso(time.time() + left), lives(lock.process), acting)
        )


class Fence:
    """What a working module holds: every act goes through it, and while it lives the lease is renewed.

    :param alone: the lock was taken for this module only.
    """

    def __init__(self, keeper: Keeper, lock: Lock, alone: bool) -> None:
        self.keeper = keeper
        self.token = lock.token
        self.run = lock.run
        self.number = lock.number
        self.alone = alone
        self._length = lock.lease
        #: What the module adds to its step in the operation's record.
        self.details: dict[str, Any] = {}
        self._ended = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._renewer.start()

    def _renew(self) -> None:
        while not self._ended.wait(min(RENEWAL, self._length / 3)):
            try:
                self.keeper.renew(self.token)
            except FencedOff:
                return
            except (OSError, FilesFailed):
                # A full disk: the number is still ours, and the next act asks for it again.
                continue

    def act(self, what: str) -> contextlib.AbstractContextManager[None]:
        """See :meth:`Keeper.act`."""
        return self.keeper.act(self.token, what)

    def reported(self, result: dict[str, Any]) -> dict[str, Any]:
        """Keep what the summary needs of a module's result for its step in the operation's record, and pass the result on."""
        self.details.update(summary.report(result))
        return result

    def note(self, **news: Any) -> None:
        """Add to the operation's record; a module alone has none, and what cannot be written is found out anew."""
        if not self.alone:
            with contextlib.suppress(OSError, FilesFailed):
                self.keeper.note(self.run, **news)

    def check(self) -> None:
        """Raise :class:`FencedOff` where somebody else holds the lock."""
        self.keeper.check(self.token)

    def undo_begins(self, reason: str) -> None:
        """Write down that from now on the goal is the state before, so that whoever comes next goes on with it.

        A module alone has no before-state on record: whoever calls it again says what is wanted.

        :raises FencedOff: it is the holder no more.
        """
        if self.alone:
            return
        begin_undo(self.keeper, self.token, reason)

    def end(self) -> None:
        """Stop renewing, and give back what was taken."""
        self._ended.set()
        self._renewer.join()
        # Whoever is fenced off has nothing to give back, and what cannot be written expires.
        with contextlib.suppress(FencedOff, OSError, FilesFailed):
            if self.alone:
                self.keeper.release(self.token)
            else:
                self.keeper.renew(self.token, process=None)


def begin_undo(keeper: Keeper, token: str, reason: str) -> None:
    """Record that the holder's operation is being undone; an undo that was owed before stays the one that is.

    :raises FencedOff: it is the holder no more.
    """
    lock = keeper.check(token)
    # A full disk must not keep anybody from going back; without the record the next run finds out by itself.
    with contextlib.suppress(OSError):
        if not lock.pending_undo:
            keeper.renew(token, pending_undo=lock.run)
            keeper.note(lock.run, goal="undo", reason=first_line(reason))
    keeper.tell(lock, "goal undo", reason=first_line(reason))


def end_undo(keeper: Keeper, token: str) -> None:
    """Record that the undo which was owed is finished.

    :raises FencedOff: it is the holder no more.
    """
    lock = keeper.check(token)
    if lock.pending_undo:
        with contextlib.suppress(OSError):
            keeper.note(lock.pending_undo, undone=True)
        keeper.renew(token, pending_undo="")
        keeper.tell(lock, "undone", of=lock.pending_undo)


@contextlib.contextmanager
def working(options: LockOptions, directory: str, what: str) -> Iterator[Fence]:
    """Work under the operation's lock (its token), or under one of our own while the block runs.

    :param what: ``<module> of <app>``, for people.
    :raises LockHeld: somebody else works; nothing was touched.
    :raises FencedOff: the operation's lock is somebody else's by now.
    """
    keeper = Keeper(directory)
    token = options.lock_token
    module, _of, app = what.partition(" of ")
    if token:
        lock = keeper.check(token)
        mine = identity(os.getpid())
        if lock.process != mine and lives(lock.process):
            raise LockHeld(
                f"another module of the same operation is running ({lock.operation}, process {lock.process and lock.process.pid})",
                "wait for it and run this again",
            )
        fence = Fence(keeper, keeper.renew(token, process=mine), False)
    else:
        fence = Fence(keeper, keeper.take(Operation(module, app, ""), f"process {os.getpid()}", alone=True).lock, True)
    began = time.time()
    try:
        yield fence
    except BaseException as error:
        _close(fence, what, began, f"failed: {first_line(str(error))}")
        raise
    _close(fence, what, began, "ok")


def _close(fence: Fence, what: str, began: float, result: str) -> None:
    step: dict[str, Any] = {
        "step": what,
        "started": iso(began),
        "seconds": round(time.time() - began, 3),
        "result": result,
        **fence.details,
    }
    if not fence.alone:
        fence.keeper.add_step(fence.run, step)
    fence.end()
