# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's own commands for a release: before its images are built, or once it is the current one."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ...base.errors import BadInput
from ...base.host import known_secrets
from ...base.host.file_lock import flock, held_for_acts
from ...base.host.files import private_directory
from ...operation.host.journal import Fence, working
from ...operation.host.progress import Progress, ProgressOptions
from ...operation.host.records import iso
from ...operation.options import LockOptions
from .. import choice
from .. import release_commands as commands
from .commands import Runner, missing_programs
from .store import Store, store_of


@dataclass(frozen=True)
class Request:
    """Which commands are run for which release.

    :ivar path: the app's folder, in which releases are.
    :ivar state: the stage, ``prepared`` or ``reloaded``: whether they are due depends on it and on the release's own state.
    :ivar commands: each a list of its words; there is no shell.
    :ivar timeout: seconds that each may take.
    :ivar owner: whose the releases are, and who prepares them; the user of the call where it is not given.
    """

    lock: LockOptions
    progress: ProgressOptions
    path: str
    release: str
    state: str
    commands: tuple[Sequence[Any], ...]
    timeout: float = 900
    owner: str = ""


def run_commands(request: Request, check_mode: bool) -> dict[str, Any]:
    """Run the commands, where they are due.

    :raises BadInput: nothing was touched.
    """
    store, stage, release = store_of(request.path, request.owner), request.state, request.release
    wanted = [[str(word) for word in argv] for argv in request.commands]
    problem = commands.problem_with(wanted)
    if problem:
        raise BadInput(problem, "write each command as a list of its words")
    known = {r.id: r for r in store.all()}
    if release not in known:
        raise BadInput(f"there is no release {release} in {store.folder}")
    if not wanted or not commands.is_due(stage, known[release].state, store.current() == release):
        return {"changed": False, "commands": [], "release": release, "timeline": []}
    if check_mode:
        return {
            "changed": True,
            "commands": [commands.said(argv) for argv in wanted],
            "release": release,
            "timeline": [],
        }
    missing = missing_programs(wanted)
    if missing:
        raise BadInput(f"{', '.join(missing)} is not on this host", "install it, or name it by its whole path")
    directory = store.state_dir(request.lock)
    with working(request.lock, directory, f"release_command of {store.root}") as fence:
        progress = Progress.open(directory, request.progress.progress_id)
        try:
            return fence.reported(_Call(store, release, stage, request.timeout, fence, progress).run(wanted))
        finally:
            progress.close()


class _Call:
    """The commands of one stage, in their order, until one fails."""

    def __init__(
        self, store: Store, release: str, stage: str, timeout: float, fence: Fence, progress: Progress
    ) -> None:
        self._store, self._release, self._stage = store, release, stage
        self._fence, self._progress = fence, progress
        self._timeout = float(timeout)
        folder = private_directory(os.path.join(fence.keeper.directory, "logs"))
        _forget_logs(folder, store)
        self._log = os.path.join(folder, f"{stage}-{release}.log")
        tree = store.path_of(release)
        further = {"EVENKEEL_RELEASE": release, "EVENKEEL_RELEASE_PATH": tree}
        prepares = stage == commands.PREPARED
        where, user = (tree, store.owner) if prepares else (store.root, "")
        known_secrets.learn_files(store.layout.shared, store.manifest(release).get("shared") or ())
        self._runner = Runner(user, where, self._log, further, self._timeout)
        self._timeline: list[dict[str, Any]] = []

    def run(self, wanted: Sequence[Sequence[str]]) -> dict[str, Any]:
        if self._stage == commands.RELOADED:
            # What a reload starts lives on: it must not keep the lock open.
            with self._fence.act(f"reload for {self._release}"):
                return self._run_all(wanted)
        with self._alone():
            # It touches nothing that serves, and may take long: others need not wait for the end of it.
            return self._run_all(wanted, tuple(held_for_acts))

    def _run_all(self, wanted: Sequence[Sequence[str]], inherited: tuple[int, ...] = ()) -> dict[str, Any]:
        for number, argv in enumerate(wanted, 1):
            self._fence.check()
            text = commands.said(argv)
            self._progress.say(f"{self._stage}: {text} ({number} of {len(wanted)})", self._stage)
            began, at = time.monotonic(), iso(time.time())
            ended = self._runner.run(argv, inherited)
            self._timeline.append(
                {
                    "step": text, "service": "", "container": "", "started": at,
                    "seconds": round(time.monotonic() - began, 3), "result": "failed" if ended.problem else "ok",
                }
            )  # fmt: skip
            if ended.problem:
                what = "\n  ".join([f"{text} {ended.problem}", *ended.lines])
                return self._failed(what)
        return {
            "changed": True, "release": self._release, "timeline": self._timeline,
            "commands": [commands.said(argv) for argv in wanted],
        }  # fmt: skip

    def _failed(self, what: str) -> dict[str, Any]:
        current = self._store.current()
        if self._stage == commands.PREPARED:
            with self._fence.act(f"mark {self._release} bad"):
                self._store.note(self._release, state=choice.BAD)
            now = f"nothing that serves was touched; release {self._release} is marked bad"
            then = "correct that and run the same command again: it exports the version anew"
        else:
            now = f"current leads to {current}, and what serves may not know of it yet"
            then = "see to that and run the same command again: it takes up from here"
        return {
            "failed": True, "changed": False, "what": what, "release": self._release, "timeline": self._timeline,
            "commands": [step["step"] for step in self._timeline], "rolled_back": False,
            "serving": str(self._store.manifest(current).get("revision") or "") if current else "",
            "msg": f"What: {what}\nNow: {now}\nNext: {then}; the whole output is in {self._log} on this host",
        }  # fmt: skip

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Prepare beside nobody: what a killed run has started goes on for a while, and has the lock until it ends."""
        path = os.path.join(self._store.path_of(self._release), ".evenkeel", "prepare.lock")
        until = time.monotonic() + self._timeout
        while True:
            with flock(path, fcntl.LOCK_EX | fcntl.LOCK_NB, for_act=True) as mine:
                if mine:
                    yield
                    return
            if time.monotonic() > until:
                raise BadInput(
                    f"a command that a run before has started still prepares {self._release}",
                    f"wait for it, or see who it is (fuser -v {path}) and end it; then run the same command again",
                )
            self._fence.check()
            time.sleep(0.5)


def _forget_logs(folder: str, store: Store) -> None:
    """Those of releases that are gone."""
    for name in os.listdir(folder):
        stage, _dash, release = name[: -len(".log")].partition("-")
        if stage in (commands.PREPARED, commands.RELOADED) and not os.path.isdir(store.path_of(release)):
            with suppress(OSError):
                os.unlink(os.path.join(folder, name))
