# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes running containers: looks and tries first, then does it, then goes back or says what is there."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...base.errors import BadInput
from ...engine.host.engine import EngineFailed
from ...engine.host.inspection import SERVICE_LABEL, label_of
from ...engine.host.log_tail import Writer, since_the_change
from ...engine.host.project import connect
from ...engine.options import ProjectOptions
from ...engine.programs import WEB
from ...engine.services import ROLLED_KINDS, CommonSettings
from ...git.host.git import GitFailed
from ...operation.host.journal import Fence, working
from ...operation.host.records import first_line, iso
from ...operation.host.single_call import OperationOptions, single_call
from ...operation.host.timeline import Steps
from ...operation.options import LockOptions
from ...releases.host.store import Store, store_of
from ...rolling.host.plan import Request as Roll
from ...rolling.host.plan import prepare
from ...rolling.host.roller import StepFailed
from .. import in_place as decide
from ..in_place import RESTART, SEALED, Plan
from . import git_hotfixes, in_place_record, ledger, view
from . import patch as hotfix_patch
from .given_files import GivenFiles
from .in_place import InPlace, machine_of, sentences
from .in_place_record import APPLIED, REVERTED, Record
from .in_place_wanted import found_for, mirror_of, record_of, tried
from .patch import Found, ask_staging
from .source import SourceOptions
from .staging import StagingOptions
from .view import Serving

_HAS_IT = "the running release has it already"


class _Stuck(BadInput):
    """The way back broke off."""

    def message(self) -> str:
        """What a user reads."""
        return (
            f"What: {self}\nNow: it stopped where it was, and what the files were is kept on the server\n"
            "Next: run the same command again, which goes on with it; or replace the containers by new ones, which have what their "
            "image has: ansible-playbook evenkeel.deploy.hotfix -e hotfix_restart=SERVICE -e app_allow_lost_edits=true"
        )


@dataclass(frozen=True)
class Request:
    """What becomes of files of containers that run.

    :ivar path: ``app_root``, absolute.
    :ivar django_service: whose Django looks at the code.
    :ivar operation: the operation that this is, where it is one of its own.
    :ivar state: ``applied``, or ``reverted`` for the one that is called ``name``.
    :ivar prove: paths that each service is asked; None where only the services themselves say any.
    :ivar canary: further questions to ``django_service``, of what the change is to mend.
    :ivar log_lines: how many of the last are told where it fails.
    :ivar allow_downtime: do it also where requests would fail for a while.
    """

    path: str
    django_service: str
    given: GivenFiles
    source: SourceOptions
    staging: StagingOptions
    lock: LockOptions
    operation: OperationOptions | None = None
    state: str = APPLIED
    name: str = ""
    service_options: Mapping[str, Any] = field(default_factory=dict)
    prove: tuple[Mapping[str, Any], ...] | None = None
    canary: tuple[Mapping[str, Any], ...] = ()
    log_lines: int = 50
    allow_downtime: bool = False


def change(request: Request, check_mode: bool) -> dict[str, Any]:
    """Put a hotfix into running containers or take it back.

    :returns: what the module returns, ``failed`` included when all was put back.
    :raises BadInput: nothing was touched.
    """
    store = store_of(request.path, request.source.owner, request.source.shared)
    wanted = replace(request.lock, state_dir=store.wanted_state_dir(request.lock))

    def changed(lock: LockOptions, check: bool) -> dict[str, Any]:
        return _change(replace(request, lock=lock), check)

    return single_call(request.operation, wanted, check_mode, changed, "hotfix_in_place", store.former_state_dir)


def _change(request: Request, check_mode: bool) -> dict[str, Any]:
    store = store_of(request.path, request.source.owner, request.source.shared)
    known = in_place_record.in_force(store, request.lock.state_dir)
    if request.state == REVERTED and not (known and known.name == request.name):
        # A killed run may have put all back already, and another release has containers of its own.
        return _facts(request.name, False)
    if os.geteuid():
        raise BadInput(
            "files of running containers, and what their processes have loaded, are seen by root alone",
            f"run it with become: true; or {SEALED}",
        )
    try:
        if check_mode:
            return Change(store, request, known).foreseen()
        with working(request.lock, request.lock.state_dir, f"hotfix_in_place of {store.root}") as fence:
            # Whoever had the lock until now may have put one there, or taken it back.
            known = in_place_record.in_force(store, request.lock.state_dir)
            return fence.reported(Change(store, request, known).done(fence))
    except GitFailed as error:
        raise BadInput(str(error), error.advice) from error
    except EngineFailed as error:
        raise BadInput(str(error), "docker ps -a shows the containers; then run the same command again") from error


def _facts(name: str, known: bool, **more: Any) -> dict[str, Any]:
    return {
        "changed": False, "known": known, "name": name, "files": [], "containers": [], "revision": "", "notes": [],
        "timeline": [], "logs": [], "seal": "", "next": [], "diff": {"prepared": ""},
        "msg": f"no hotfix called {name} is in running containers", **more,
    }  # fmt: skip


class Change:
    """See :func:`change`.

    :ivar sealed: the same change as it is judged for a release.
    :ivar known: the hotfix that is in running containers, or on its way there or back.
    """

    def __init__(self, store: Store, request: Request, known: Record | None) -> None:
        self.store, self.request, self.known = store, request, known
        self.state_dir = request.lock.state_dir
        # Variables need new containers, and what was edited by hand is in its place already. It is no link of a chain until sealed.
        self.sealed = hotfix_patch.Request(
            request.path, request.django_service, request.given, request.source, request.staging, request.lock,
            name=request.name, service_options=request.service_options, max_chain=0, in_place=True,
        )  # fmt: skip
        self.reverts = request.state == REVERTED
        self.steps = Steps()
        self.notes: list[str] = []

    # -- looking --------------------------------------------------------------------------------------

    def foreseen(self) -> dict[str, Any]:
        """What would be done."""
        if self.reverts:
            here, record = self._serving(), self._reverting("")
            plan = self._plan(self._place(here, record))
            return self._result(record, f"would be taken back: {'; '.join(sentences(plan))}", changed=True)
        with found_for(self.sealed, self.store, self.steps, True) as found:
            if found.is_there:
                return _facts(found.source.name, True, msg=_HAS_IT, revision=found.commit)
            record = record_of(found, self.known)
            self._ask_staging(found)
            plan = self._plan(self._place(found.here, record))
            # Nothing is started for it: whether Django takes it is seen when it is done.
            self.notes += plan.notes
            msg = "; ".join(sentences(plan)) or f"{record.name} is in all running containers already"
            diff = {"prepared": found.text()}
            return self._result(record, msg, found=found, changed=bool(plan.turns), diff=diff, seal="")

    def _serving(self) -> Serving:
        with self.steps("look"):
            return view.serving(self.store, connect(self.store.root), self.request.service_options)

    def _reverting(self, reason: str) -> Record:
        if self.known is None:
            raise BadInput("no hotfix is in running containers")
        again = self.known.goal == REVERTED
        return self.known if again else replace(self.known, goal=REVERTED, reason=reason, since=time.time())

    def _place(self, here: Serving, record: Record) -> InPlace:
        """The containers that it is about, each as it is.

        :raises BadInput: nobody can write to one of them, or nginx is not one that is understood.
        """
        # A job that is over has nothing loaded, and is created anew when it is due.
        rolled = [s for s, kind in here.kinds.items() if kind in ROLLED_KINDS]
        images = {s: here.image_of(s) for s in rolled if here.image_of(s) in record.images}
        mine = [i for i in here.containers if label_of(i, SERVICE_LABEL) in images]
        closed = [str(i["Name"]).lstrip("/") for i in mine if (i.get("HostConfig") or {}).get("ReadonlyRootfs")]
        if closed:
            raise BadInput(f"nobody can write to the files of {', '.join(closed)} (read_only)", SEALED)
        services = sorted({label_of(i, SERVICE_LABEL) for i in mine})
        if not services:
            raise BadInput(f"no container has {', '.join(record.files)}", SEALED)
        request = self.request
        asked = Roll(
            ProjectOptions(here.path),
            request.lock,
            common=CommonSettings(prove=request.prove, canary=request.canary, canary_service=request.django_service),
            services=tuple(services),
            service_options=request.service_options,
            log_lines=request.log_lines,
            allow_downtime=request.allow_downtime,
        )
        with self.steps("prepare"):
            call = prepare(asked)
        self.notes += [note for note in call.notes if note not in self.notes]
        return InPlace(call, machine_of(call), record, images)

    def _plan(self, place: InPlace, consent: bool = False) -> Plan:
        """What is done to which container.

        :raises BadInput: somebody else has changed a file, or requests would fail, and nobody has said that they may.
        """
        try:
            with self.steps("processes"):
                plan = decide.plan(place.look(), consent or self.request.allow_downtime)
        except StepFailed as error:
            raise BadInput(
                str(error), "see status; what was edited by hand is made a hotfix by -e hotfix_capture=true"
            ) from error
        if plan.refusal:
            playbook = "rollback" if self.reverts else "hotfix"
            gap = f"the same command with -e {playbook}_allow_downtime=true accepts the gap"
            raise BadInput(plan.refusal, gap if self.reverts else f"{SEALED}; or {gap}")
        for turn in plan.turns:
            problem = place.call.problems.get(turn.copy.service)
            if problem and turn.copy.kind == WEB and turn.reload == RESTART:
                # Started again it may be at another address, and nobody could tell nginx.
                raise problem
        return plan

    # -- doing it -------------------------------------------------------------------------------------

    def done(self, fence: Fence) -> dict[str, Any]:
        """Do it, or put all back."""
        if self.known and self.known.goal == REVERTED:
            # What a killed run had begun comes first.
            record = self.known
            self._back(self._serving(), record, fence)
            if self.reverts:
                return self._result(record, f"hotfix {record.name} taken back: {', '.join(record.files)}", changed=True)
            if record.reason:
                raise BadInput(
                    f"the hotfix {record.name} has failed in a run that was killed on its way back ({record.reason}), which is at "
                    "its end now",
                    "correct it and run the same command again",
                )
            self.known = None
        if self.reverts:
            here, record = self._serving(), self._reverting("")
            self._plan(self._place(here, record))
            place = self._back(here, record, fence)
            return self._result(
                record, f"hotfix {record.name} taken back: {', '.join(record.files)}", place, changed=True
            )
        with found_for(self.sealed, self.store, self.steps, False) as found:
            if found.is_there:
                return _facts(found.source.name, True, msg=_HAS_IT, revision=found.commit)
            record = record_of(found, self.known)
            self._ask_staging(found)
            return self._applied(found, record, fence)

    def _ask_staging(self, found: Found) -> None:
        # A run that was killed after it had begun goes on.
        if not (self.known and self.known.commit == found.commit):
            ask_staging(self.request.staging, found)

    def _applied(self, found: Found, record: Record, fence: Fence) -> dict[str, Any]:
        # The engine, nginx and processes are looked at while Django looks at the code.
        beside = concurrent.futures.ThreadPoolExecutor(1)
        trying = beside.submit(tried, self.sealed, found, record, self.steps)
        try:
            place = self._place(found.here, record)
            plan = self._plan(place)
            self.notes += [*plan.notes, *trying.result()]
        finally:
            beside.shutdown()
        # One that was killed before the site was asked may have left users led around, or waiting.
        if not plan.turns and self.known and self.known.commit == record.commit and self.known.proven:
            return self._result(record, f"{record.name} is in all running containers already", found=found)
        with fence.act(f"remember the hotfix {record.name}"):
            self.remember(found, record)
        if self.request.lock.lock_token:
            back = f"ansible-playbook evenkeel.deploy.rollback -e rollback_hotfix={record.name}"
            fence.keeper.note(fence.run, revision=record.commit, go_back=back)
        try:
            place.run(fence, plan)
            with self.steps("ask as users"):
                place.run_smoke_tests()
            # Without it the same call asks once more.
            with contextlib.suppress(OSError), fence.act(f"remember that the hotfix {record.name} is proven"):
                in_place_record.write(self.state_dir, replace(record, proven=True))
        except StepFailed as error:
            fence.details.update(changed=True, result=f"failed: {first_line(str(error))}")
            return self._failed(found, record, place, str(error), fence)
        finally:
            fence.details.update(timeline=[*self.steps.timeline, *place.timeline])
        names = ", ".join(t.copy.name for t in plan.turns) or "all containers"
        msg = f"hotfix {record.name} is in {names}: {', '.join(record.files)}; it is in no release"
        return self._result(record, msg, place, found, changed=True, diff={"prepared": found.text()})

    def remember(self, found: Found, record: Record) -> None:
        """Write down what is about to be put in, so that whoever comes next knows of it."""
        found.git.inside("update-ref", f"{git_hotfixes.REFS}{record.name}", record.commit)
        about = {
            "name": record.name, "base": record.base, "commit": record.commit, "made": record.made, "reverted": "",
            "kinds": {k: list(v) for k, v in found.verdict.kinds.items()}, "files": record.files, "in_place": record.release,
            "untried": found.untried or ledger.read(self.state_dir, record.name).get("untried", ""),
        }  # fmt: skip
        ledger.write(self.state_dir, record.name, about, found.text())
        in_place_record.write(self.state_dir, record)

    def _failed(self, found: Found, record: Record, place: InPlace, reason: str, fence: Fence) -> dict[str, Any]:
        """Put all back; what the containers have written until then is told."""
        logs = self._logs(place)
        self.known = record
        went = self._back(found.here, self._reverting(reason), fence)
        lines = "".join(f"\n  {line}" for line in logs)
        shown = f"\nThe last log lines since the change:{lines}" if lines else ""
        msg = (
            f"What: {reason}{shown}\nNow: the containers have again what their images have, and have loaded that\n"
            "Next: correct it and run the same command again"
        )
        undone = [{**entry, "result": "undone"} for entry in went.timeline]
        timeline = [*self.steps.timeline, *place.timeline, *undone]
        result = self._result(record, msg, None, found, changed=True, logs=logs, timeline=timeline, seal="")
        return {**result, "failed": True, "rolled_back": True}

    def _back(self, here: Serving, record: Record, fence: Fence) -> InPlace:
        """Bring everything to what the images have.

        :raises BadInput: not all of it could be; the same call again goes on.
        """
        with fence.act(f"begin to take back the hotfix {record.name}"):
            in_place_record.write(self.state_dir, record)
        place = self._place(here, record)
        try:
            place.run(fence, decide.plan(place.look(), True))
        except StepFailed as error:
            raise _Stuck(f"the hotfix {record.name} could not be taken back everywhere: {error}") from error
        with fence.act(f"forget that the hotfix {record.name} was in place"):
            with contextlib.suppress(OSError, GitFailed):
                text = git_hotfixes.patch_between(mirror_of(self.store), record.base, record.commit)
                ledger.write(self.state_dir, record.name, {"reverted": iso(time.time())}, text)
            in_place_record.forget(self.state_dir)
        return place

    # -- telling --------------------------------------------------------------------------------------

    def _logs(self, place: InPlace) -> list[str]:
        writers = [Writer(i, name, since) for i, name, _service, since in place.changed_since()]
        return since_the_change(place.call.engine, writers, self.request.log_lines)

    def _result(
        self, record: Record, msg: str, place: InPlace | None = None, found: Found | None = None, **more: Any
    ) -> dict[str, Any]:
        seen = place.changed_since() if place else []
        sealed_by = f"a container that is created anew comes without it; make it a release: {record.command}"
        then = [sealed_by, *ledger.if_wrong(record.name)] if record.goal == APPLIED and not more.get("failed") else []
        return _facts(
            record.name, True, msg=msg, files=record.files, revision=record.commit,
            containers=[name for _id, name, _service, _since in seen],
            notes=[*(found.verdict.notes if found else ()), *(found.notes if found else ()), *self.notes,
                   *(place.notes if place else ())],
            next=then,
            **{
                "timeline": [*self.steps.timeline, *(place.timeline if place else [])],
                "logs": self._logs(place) if place else [], "seal": record.command if record.goal == APPLIED else "", **more,
            },
        )  # fmt: skip
