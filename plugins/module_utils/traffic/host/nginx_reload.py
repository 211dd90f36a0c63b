# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of nginx: try the candidates in a twin, install them, reload, prove, and go back where that fails."""

from __future__ import annotations

import contextlib
import os
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from ...base.errors import BadInput
from ...engine.answer import Answer
from ...engine.host.project import connect, state_dir_of
from ...engine.services import Probe
from ...nginx import change
from ...nginx.complaint import complaint_of
from ...nginx.host.memory import Memory, Pending, digest
from ...nginx.host.nginx import NginxFailed, accepting
from ...nginx.host.proxy_files import bring
from ...nginx.host.site import ContainerSite, Contents, Site, SiteFailed
from ...nginx.twin import BadPlace
from ...operation.host.journal import working
from .nginx_chain import outdated, reload_each, why_not
from .nginx_wanted import Absent, Request, file_change, project_of, proxies_of, release_change
from .probing import ask

_ATTEMPTS = 3


class _Failed(Exception):
    """A change that was begun did not hold."""


@dataclass
class _Steps:
    """The timeline, as every module of this collection returns it."""

    service: str
    container: str
    entries: list[dict[str, Any]] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str, result: str = "ok") -> Iterator[None]:
        """Note how long the block takes and how it ends."""
        began = time.time()
        entry = {
            "step": name,
            "service": self.service,
            "container": self.container,
            "started": datetime.fromtimestamp(began, timezone.utc).isoformat(timespec="milliseconds"),
            "seconds": 0.0,
            "result": "failed",
        }
        self.entries.append(entry)
        try:
            yield
            entry["result"] = result
        finally:
            entry["seconds"] = round(time.time() - began, 3)


def nginx_reload(request: Request, check_mode: bool) -> dict[str, Any]:
    """Have nginx serve with the wanted files.

    :returns: what the module returns (``failed`` included when nginx refuses the candidates or they did not hold).
    :raises BadInput: before anything is touched.
    """
    if not request.from_release:
        return _one(request, check_mode)
    if request.service:
        return _one(request, check_mode)
    project = project_of(request.project)
    result: dict[str, Any] = {"changed": False, "timeline": [], "msg": "nginx has no files of this release"}
    for service in proxies_of(project):
        one = _one(replace(request, service=service), check_mode)
        timeline, changed = result["timeline"] + one["timeline"], result["changed"] or one["changed"]
        result = {**one, "timeline": timeline, "changed": changed}
        if one.get("failed"):
            return result
    return result if request.validate_only else _find_again(request, project, result, check_mode)


def _find_again(
    request: Request, project: Mapping[str, Any], result: dict[str, Any], check_mode: bool
) -> dict[str, Any]:
    """Reload each nginx that leads to another one which was started since, with or without files of the release."""
    try:
        due = outdated(connect(request.project.project_src, request.lock), project)
    except NginxFailed as error:
        raise BadInput(str(error)) from error
    if not due:
        return result
    msg = f"{', '.join(nginx.name for _service, nginx in due)}: looks up again where the nginx behind it is"
    result.update(changed=True, msg=f"{result['msg']}; {msg}" if result["changed"] else msg)
    if check_mode:
        return result
    with working(
        request.lock,
        state_dir_of(request.lock, str(project["name"])),
        f"nginx_reload of {project['name']}",
    ) as fence:
        timeline, problem = reload_each(due, fence)
        result["timeline"] += timeline
        if problem:
            result.update(failed=True, msg=why_not(problem))
        return fence.reported(result)


def _one(request: Request, check_mode: bool) -> dict[str, Any]:
    try:
        change_of = release_change if request.from_release else file_change
        sites, wanted, project = change_of(request)
    except Absent as error:
        if request.from_release and not request.validate_only:
            return _put_there(request, str(error), check_mode)
        if check_mode:
            return {
                "changed": True,
                "timeline": [],
                "msg": f"{error}: whether it would change is unknown until it runs",
            }
        raise BadInput(str(error), "start it (docker compose up -d), then run the same command again") from error
    except (BadPlace, SiteFailed, NginxFailed) as error:
        raise BadInput(str(error), getattr(error, "advice", "")) from error
    state = state_dir_of(request.lock, project)
    memory = Memory(state, request.service, request.dest)
    call = Change(request, sites, memory, wanted)
    if check_mode or request.validate_only:
        return call.only_look()
    with working(request.lock, state, f"nginx_reload of {project}") as fence:
        result = call.carry_out(fence.act)
        fence.reported(result)
        if result.get("failed"):
            fence.details["result"] = f"failed: {result['msg'].splitlines()[0]}"
        return result


def _put_there(request: Request, reason: str, check_mode: bool) -> dict[str, Any]:
    """The files of a release for an nginx that does not run, which reads them when it starts."""
    project = project_of(request.project)
    root, service = request.project.project_src, request.service
    if check_mode:
        return {
            "changed": bring(root, project, service, True),
            "timeline": [],
            "msg": f"{reason}: it reads its files later",
        }
    with (
        working(
            request.lock,
            state_dir_of(request.lock, str(project["name"])),
            f"nginx_reload of {project['name']}",
        ) as fence,
        fence.act(f"write the files of {service}"),
    ):
        changed = bring(root, project, service, False)
        return fence.reported(
            {"changed": changed, "timeline": [], "msg": f"{reason}: its files are there for its start"}
        )


class Change:
    """One call on files of one nginx, the lock held where it changes anything."""

    def __init__(self, request: Request, sites: Sequence[Site], memory: Memory, wanted: Contents) -> None:
        self.request = request
        self.sites = {site.dest: site for site in sites}
        self.first = sites[0]
        self.name = self.first.name
        self.memory = memory
        self.wanted = wanted
        self.steps = _Steps(request.service, self.name)
        self.result: dict[str, Any] = {"dest": self.first.dest, "timeline": self.steps.entries}
        self.what = self.first.dest
        # A single file was named by somebody, who says that nginx reads it.
        self.configuration = {
            s.dest for s in sites if len(sites) == 1 or not isinstance(s, ContainerSite) or s.is_configuration
        }
        if request.from_release:
            self.what = f"configuration of {os.path.basename(request.project.project_src)}"

    def only_look(self) -> dict[str, Any]:
        """What a call would do, and what nginx thinks of the candidates."""
        validate_only = self.request.validate_only
        act, before = self._look()
        if not validate_only:
            self._refuse(before)
        if act == change.NOTHING and not validate_only:
            return self._unchanged()
        self._tell_serving(before)
        self._tell_difference(before)
        if not self._tried(before):
            return self.result
        would = "" if validate_only else " and would be installed" if act == change.INSTALL else " and would be loaded"
        self.result.update(changed=not validate_only, msg=f"{self.name} accepts {self.what}{would}")
        return self.result

    def carry_out(self, act_of: Any) -> dict[str, Any]:
        """Do it; ``act_of(what)`` is the fence around each single act."""
        act, before = self._look()
        self._refuse(before)
        if act == change.NOTHING:
            return self._unchanged()
        self._tell_serving(before)
        self._tell_difference(before)
        if not self._tried(before):
            return self.result
        # Where an earlier call was killed, the state to go back to is the one before that call.
        pending = self._pending(before)
        goal = {**before, **pending.before} if pending else before
        for site in self.sites.values() if pending else ():
            site.tidy()
        self.memory.begin(goal, self.wanted)
        try:
            if act == change.INSTALL:
                self._install(goal, before, act_of)
            if act in (change.INSTALL, change.RELOAD):
                with self.steps.step("reload"), act_of(f"reload {self.name}"):
                    self.first.master.reload()
            self.prove()
        except (_Failed, NginxFailed, OSError) as error:
            return self._undo(str(error), goal, act_of)
        self.memory.end()
        self._tell_serving(self.wanted)
        self.result.update(changed=True, msg=f"{self.name} serves with the new {self.what}")
        return self.result

    # -- looking --------------------------------------------------------------------------------------

    def _refuse(self, before: Contents) -> None:
        single = len(self.sites) == 1
        for dest, site in self.sites.items():
            if isinstance(site, ContainerSite) and (single or before[dest] != self.wanted[dest]):
                try:
                    site.refuse_to_install()
                except SiteFailed as error:
                    raise BadInput(str(error), error.advice) from error

    def _look(self) -> tuple[str, dict[str, bytes | None]]:
        before = {dest: site.visible() for dest, site in self.sites.items()}
        pending = self._pending(before) is not None
        seen = change.Seen(before == dict(self.wanted), self._changed_at(), self._loaded(), pending)
        return change.next_act(seen), before

    def _changed_at(self) -> float:
        """When nginx's own files were changed last; what it only hands out needs no reload."""
        return max((self.sites[dest].changed_at() for dest in self.configuration), default=0.0)

    def _loaded(self) -> float:
        """When nginx loaded what it serves with; a worker that only replaces a dead one is younger."""
        workers = accepting(self.first.master.workers())
        return min((p.started for p in workers), default=0.0)

    def _pending(self, present: Contents) -> Pending | None:
        known = self.memory.pending()
        mine = {d: c for d, c in present.items() if known and (d in known.before or d in known.wanted)}
        if known and change.pending_holds(known.knows(mine), self._changed_at(), self._loaded()):
            return known
        return None

    def _unchanged(self) -> dict[str, Any]:
        self._tell_serving(self.wanted)
        return {**self.result, "changed": False, "msg": f"{self.name} already serves with this {self.what}"}

    def _tell_serving(self, contents: Contents) -> None:
        """Which files nginx serves with: those that are there, unless they were written since nginx loaded them."""
        # When a file in the container's own layer was written is not known here.
        loaded = bool(self.first.path) and self._changed_at() < self._loaded()
        digests = [digest(contents[d]) for d in sorted(contents)]
        one = digests[0] if len(digests) == 1 else digest(" ".join(digests).encode())
        version = "unknown" if not loaded else one[:12] or "none"
        self.result["serving"] = {self.steps.service or "nginx": [{"container": self.name, "version": version}]}

    def _tell_difference(self, before: Contents) -> None:
        lines = [
            change.masked_diff(
                None if old is None else old.decode("utf-8", "replace"),
                (self.wanted[dest] or b"").decode("utf-8", "replace"),
                dest,
            )
            for dest, old in before.items()
            if old != self.wanted[dest]
        ]
        if any(lines):
            self.result["diff"] = {"prepared": "".join(lines)}

    def _tried(self, before: Contents) -> bool:
        """Whether nginx accepts the candidates; why not goes into the result."""
        site = self.first
        candidates = {d: c for d, c in self.wanted.items() if d in self.configuration}
        if len(self.sites) > 1:
            candidates = {d: c for d, c in candidates.items() if c != before[d]}
        if not candidates:
            return True
        try:
            with self.steps.step("validate"):
                trial = site.try_out(candidates)
        except SiteFailed as error:
            raise BadInput(str(error), error.advice) from error
        # What a release has there need not be read: another of its files decides that.
        if trial.ok and (trial.read or self.request.from_release):
            return True
        self.steps.entries[-1]["result"] = "failed"
        if trial.ok:
            reason, file, line = "unread", site.dest, 0
            what, advice = f"{self.name} does not read {site.dest}: no include leads to it", "see dest, and nginx -T"
        else:
            complaint = complaint_of(trial.output)
            reason, file, line = complaint.kind, complaint.file, complaint.line
            what, advice = f"{self.name} refuses the new {self.what}: {complaint.text}", complaint.advice
        self.result.update(
            failed=True,
            changed=False,
            rolled_back=True,
            refusal={"reason": reason, "file": file, "line": line},
            msg=f"What: {what}\nNow: it was only tried in a throw-away copy; nginx never saw it and serves as before\n"
            f"Next: {advice}, then run the same command again",
        )
        return False

    # -- acting ---------------------------------------------------------------------------------------

    def _install(self, goal: Contents, before: Contents, act_of: Any) -> None:
        changing = [d for d, c in self.wanted.items() if c != before[d]]
        # What others may name comes before what names it goes.
        changing.sort(key=lambda d: (self.wanted[d] is None, before[d] is not None))
        if self.request.backup and any(goal[d] is not None for d in changing):
            with self.steps.step("backup"):
                # Not what a killed call may have left half written.
                kept = [self.memory.back_up(d, c, self.request.keep) for d in changing if (c := goal[d]) is not None]
                self.result["backup_file"] = kept[0]
        with self.steps.step("install"), act_of(f"install {self.what} of {self.name}"):
            for dest in changing:
                self.sites[dest].install(self.wanted[dest])
                if self.sites[dest].visible() != self.wanted[dest]:
                    raise _Failed(f"{self.name} does not see what was written to {self.sites[dest].path}")

    def prove(self) -> None:
        """Ask the URL that was named, if one was, until it answers as wanted.

        :raises _Failed: it does not.
        """
        url = self.request.url
        if not url:
            return
        with self.steps.step("prove"):
            for attempt in range(_ATTEMPTS):
                answer = _asked(url, self.request.url_host)
                if answer.ok:
                    return
                time.sleep(0.2 if attempt + 1 < _ATTEMPTS else 0.0)
            raise _Failed(f"with the new {self.what}, {answer.text} through {self.name}")

    def _undo(self, reason: str, before: Contents, act_of: Any) -> dict[str, Any]:
        self.result.update(failed=True, changed=True, rolled_back=False)
        try:
            with self.steps.step("restore", "undone"), act_of(f"restore {self.what} of {self.name}"):
                for dest, site in self.sites.items():
                    if site.content() != before[dest]:
                        site.install(before[dest])
                self.first.master.reload()
        except (NginxFailed, OSError) as error:
            with contextlib.suppress(OSError):
                self._tell_serving({dest: site.content() for dest, site in self.sites.items()})
            self.result["msg"] = (
                f"What: {reason}; and going back failed: {error}\nNow: nginx serves with what it loaded last; its "
                f"{self.what} may be the new one\nNext: see nginx -t in {self.name}, then run the same command again"
            )
            return self.result
        self.memory.end()
        self._tell_serving(before)
        self.result.update(changed=False, rolled_back=True)
        self.result["msg"] = (
            f"What: {reason}\nNow: {self.what} is as it was before, and {self.name} serves with it again\n"
            "Next: correct the file and run the same command again"
        )
        return self.result


def _asked(url: str, host: str) -> Answer:
    """The answer of nginx to one request; any status below 400 is good."""
    parts = urllib.parse.urlsplit(url)
    tls = parts.scheme == "https"
    name = host or parts.netloc.rsplit("@", 1)[-1]
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    try:
        port = parts.port or (443 if tls else 80)
    except ValueError:
        port = 0
    server = name.rsplit(":", 1)[0] if tls else ""
    probe = Probe(path, 200)
    return ask(parts.hostname or "", port, probe, {"Host": name}, tls_name=server, any_success=True)
