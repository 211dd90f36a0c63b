# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``nginx_reload``: try the candidate in a twin, install it, reload, prove, and go back where that fails."""

from __future__ import annotations

import contextlib
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ..decide import nginx_change as change
from ..decide.nginx_complaint import complaint_of
from ..decide.nginx_twin import BadPlace, checked
from ..decide.services import Probe
from ..journal import working
from .call_result import BadInput
from .compose import ComposeFailed
from .engine import label_of, pid_of
from .machine import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL
from .nginx import QUITTING, NginxFailed
from .nginx_memory import Memory, Pending, digest
from .nginx_site import ContainerSite, HostSite, Site, SiteFailed
from .probing import ask
from .project import compose_of, connect, state_dir_of
from .roller import Answer

_ATTEMPTS = 3


class _Absent(Exception):
    """The nginx does not run, so that nothing can be known of it."""


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


def nginx_reload(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call.

    :returns: what the module returns (``failed`` included when nginx refuses the candidate or it did not hold).
    :raises BadInput: before anything is touched.
    """
    content = _content(params)
    try:
        dest = checked(str(params["dest"]))
        site, project = _site(params, dest)
    except _Absent as error:
        if check_mode:
            return {
                "changed": True,
                "timeline": [],
                "msg": f"{error}: whether it would change is unknown until it runs",
            }
        raise BadInput(str(error), "start it (docker compose up -d), then run the same command again") from error
    except (BadPlace, SiteFailed, NginxFailed) as error:
        raise BadInput(str(error), getattr(error, "advice", "")) from error
    state = state_dir_of(params, project)
    service = str(params.get("service") or "")
    memory = Memory(state, service, dest)
    if check_mode or params.get("validate_only"):
        return _Call(params, site, memory, content).only_look()
    with working(params, state, f"nginx_reload of {project}") as fence:
        result = _Call(params, site, memory, content).carry_out(fence.act)
        fence.told(result)
        if result.get("failed"):
            fence.details["result"] = f"failed: {result['msg'].splitlines()[0]}"
        return result


def _content(params: Mapping[str, Any]) -> bytes:
    text, src = params.get("content"), params.get("src")
    if text is not None:
        return str(text).encode("utf-8")
    try:
        with open(str(src), "rb") as stream:
            return stream.read()
    except OSError as error:
        raise BadInput(
            f"src {src} cannot be read on this host: {error.strerror}",
            "copy it there first, or give content: \"{{ lookup('file', …) }}\"",
        ) from error


def _site(params: Mapping[str, Any], dest: str) -> tuple[Site, str]:
    """The nginx and the name of the app."""
    compose = compose_of(params)
    service = str(params.get("service") or "")
    if not service:
        name = str(params.get("project_name") or "")
        if not name and not params.get("state_dir"):
            raise BadInput("the host's own nginx belongs to no project: where its records are kept is not told",
                           "set project_name or state_dir")  # fmt: skip
        return HostSite(dest), name or "nginx of this host"
    engine = connect(compose.project_src)
    try:
        project = compose.resolved()
    except ComposeFailed as error:
        raise BadInput(f"the Compose project is not valid: {error}", "docker compose config shows it") from error
    name = str(project["name"])
    if service not in (project.get("services") or {}):
        known = ", ".join(sorted(project.get("services") or {}))
        raise BadInput(f"there is no service {service} in the project; it has {known}")
    found = [
        i
        for i in engine.containers({PROJECT_LABEL: name, SERVICE_LABEL: service, ONE_OFF_LABEL: "False"})
        if pid_of(i) and label_of(i, SERVICE_LABEL) == service
    ]
    if not found:
        raise _Absent(f"{service} does not run")
    if len(found) > 1:
        raise BadInput(f"{service} has {len(found)} containers; a change of one file under several is not supported")
    site = ContainerSite(engine, found[0], dest, name)
    if not site.master.workers():
        raise BadInput(f"{site.name} is no nginx: no worker process of one was found in it", "see service")
    return site, name


class _Call:
    """One call on one file, the lock held where it changes anything."""

    def __init__(self, params: Mapping[str, Any], site: Site, memory: Memory, wanted: bytes) -> None:
        self.params = params
        self.site = site
        self.memory = memory
        self.wanted = wanted
        self.steps = _Steps(str(params.get("service") or ""), site.name)
        self.result: dict[str, Any] = {"dest": site.dest, "timeline": self.steps.entries}

    def only_look(self) -> dict[str, Any]:
        """What a call would do, and what nginx thinks of the candidate."""
        validate_only = bool(self.params.get("validate_only"))
        if not validate_only:
            self._refuse()
        act, before = self._look()
        if act == change.NOTHING and not validate_only:
            return self._unchanged()
        self._tell_serving(before)
        self._tell_difference(before)
        if not self._tried():
            return self.result
        would = "" if validate_only else " and would be installed" if act == change.INSTALL else " and would be loaded"
        self.result.update(changed=not validate_only, msg=f"{self.site.name} accepts {self.site.dest}{would}")
        return self.result

    def carry_out(self, act_of: Any) -> dict[str, Any]:
        """Do it; ``act_of(what)`` is the fence around each single act."""
        self._refuse()
        act, before = self._look()
        if act == change.NOTHING:
            return self._unchanged()
        self._tell_serving(before)
        self._tell_difference(before)
        if not self._tried():
            return self.result
        # Where an earlier call was killed, the state to go back to is the one before that call.
        pending = self._pending(before)
        goal = pending.before if pending else before
        if pending:
            self.site.tidy()
        self.memory.begin(goal, self.wanted)
        try:
            if act == change.INSTALL:
                self._install(goal, act_of)
            if act in (change.INSTALL, change.RELOAD):
                with self.steps.step("reload"), act_of(f"reload {self.site.name}"):
                    self.site.master.reload()
            self._prove()
        except (_Failed, NginxFailed, OSError) as error:
            return self._undo(str(error), goal, act_of)
        self.memory.end()
        self._tell_serving(self.wanted)
        self.result.update(changed=True, msg=f"{self.site.name} serves with the new {self.site.dest}")
        return self.result

    # -- looking --------------------------------------------------------------------------------------

    def _refuse(self) -> None:
        if isinstance(self.site, ContainerSite):
            try:
                self.site.refuse_to_install()
            except SiteFailed as error:
                raise BadInput(str(error), error.advice) from error

    def _look(self) -> tuple[str, bytes | None]:
        before = self.site.visible()
        pending = self._pending(before) is not None
        seen = change.Seen(before == self.wanted, self.site.changed_at(), self._loaded(), pending)
        return change.next_act(seen), before

    def _loaded(self) -> float:
        """When nginx loaded what it serves with; a worker that only replaces a dead one is younger."""
        workers = [p for p in self.site.master.workers() if QUITTING not in p.command]
        return min((p.started for p in workers), default=0.0)

    def _pending(self, present: bytes | None) -> Pending | None:
        known = self.memory.pending()
        if known and change.pending_holds(known.knows(present), self.site.changed_at(), self._loaded()):
            return known
        return None

    def _unchanged(self) -> dict[str, Any]:
        self._tell_serving(self.wanted)
        return {**self.result, "changed": False, "msg": f"{self.site.name} already serves with this {self.site.dest}"}

    def _tell_serving(self, content: bytes | None) -> None:
        """Which file nginx serves with: the one that is there, unless it was written since nginx loaded it."""
        # When a file in the container's own layer was written is not known here.
        loaded = bool(self.site.path) and self.site.changed_at() < self._loaded()
        version = "unknown" if not loaded else "none" if content is None else digest(content)[:12]
        self.result["serving"] = {self.steps.service or "nginx": [{"container": self.site.name, "version": version}]}

    def _tell_difference(self, before: bytes | None) -> None:
        old = None if before is None else before.decode("utf-8", "replace")
        text = change.masked_diff(old, self.wanted.decode("utf-8", "replace"), self.site.dest)
        if text:
            self.result["diff"] = {"prepared": text}

    def _tried(self) -> bool:
        """Whether nginx accepts the candidate; why not goes into the result."""
        site = self.site
        try:
            with self.steps.step("validate"):
                trial = site.try_out(self.wanted)
        except SiteFailed as error:
            raise BadInput(str(error), error.advice) from error
        if trial.ok and trial.read:
            return True
        self.steps.entries[-1]["result"] = "failed"
        if trial.ok:
            reason, file, line = "unread", site.dest, 0
            what, advice = f"{site.name} does not read {site.dest}: no include leads to it", "see dest, and nginx -T"
        else:
            complaint = complaint_of(trial.output)
            reason, file, line = complaint.kind, complaint.file, complaint.line
            what, advice = f"{site.name} refuses the new {site.dest}: {complaint.text}", complaint.advice
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

    def _install(self, goal: bytes | None, act_of: Any) -> None:
        # Not what a killed call may have left half written.
        if goal is not None and self.params.get("backup"):
            with self.steps.step("backup"):
                self.result["backup_file"] = self.memory.back_up(goal, int(self.params["keep"]))
        with self.steps.step("install"), act_of(f"install {self.site.dest} of {self.site.name}"):
            self.site.install(self.wanted)
            if self.site.visible() != self.wanted:
                raise _Failed(f"{self.site.name} does not see what was written to {self.site.path}")

    def _prove(self) -> None:
        url = str(self.params.get("url") or "")
        if not url:
            return
        with self.steps.step("prove"):
            for attempt in range(_ATTEMPTS):
                answer = _asked(url, str(self.params.get("url_host") or ""), int(self.params.get("url_status") or 0))
                if answer.ok:
                    return
                time.sleep(0.2 if attempt + 1 < _ATTEMPTS else 0.0)
            raise _Failed(f"with the new {self.site.dest}, {answer.text} through {self.site.name}")

    def _undo(self, reason: str, before: bytes | None, act_of: Any) -> dict[str, Any]:
        self.result.update(failed=True, changed=True, rolled_back=False)
        site = self.site
        try:
            with self.steps.step("restore", "undone"), act_of(f"restore {site.dest} of {site.name}"):
                if site.content() != before:
                    site.install(before)
                site.master.reload()
        except (NginxFailed, OSError) as error:
            with contextlib.suppress(OSError):
                self._tell_serving(site.content())
            self.result["msg"] = (
                f"What: {reason}; and going back failed: {error}\nNow: nginx serves with what it loaded last; its file "
                f"{site.dest} may be the new one\nNext: see nginx -t in {site.name}, then run the same command again"
            )
            return self.result
        self.memory.end()
        self._tell_serving(before)
        self.result.update(changed=False, rolled_back=True)
        self.result["msg"] = (
            f"What: {reason}\nNow: {site.dest} is as it was before, and {site.name} serves with it again\n"
            "Next: correct the file and run the same command again"
        )
        return self.result


def _asked(url: str, host: str, status: int) -> Answer:
    """One request to nginx; any status below 400 is good where none is asked for."""
    parts = urllib.parse.urlsplit(url)
    tls = parts.scheme == "https"
    name = host or parts.netloc.rsplit("@", 1)[-1]
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    try:
        port = parts.port or (443 if tls else 80)
    except ValueError:
        port = 0
    server = name.rsplit(":", 1)[0] if tls else ""
    probe = Probe(path, status or 200)
    return ask(parts.hostname or "", port, probe, {"Host": name}, tls_name=server, any_success=not status)
