# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is worth knowing of an app at a glance: from what was seen to findings, and the command to run next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..build import baked_secrets
from ..celery.backlog import counted
from ..drift.drift import UNREAD
from ..engine.programs import WEB
from ..hotfix import in_place
from ..migrations.schema_compatibility import REFUSED
from ..operation.lease import Lock

#: How an app is, the worst first.
UNFINISHED, ATTENTION, RUNNING, FINE = "unfinished", "attention", "running", "fine"
#: Something has to be done; something is only worth knowing.
ACT, NOTE = "act", "note"

# Playbooks that bring what runs from one state to another, and the variable that names that state.
_TARGETS = {"update": "update_version", "rollback": "rollback_to", "restore": "restore_backup", "hotfix": "hotfix_ref"}
_MOVES = ("update", "rollback", "hotfix")
# Others that an operation may be of; what is none of these is a module that was called alone.
_PLAYBOOKS = {*_TARGETS, "backup", "plan", "adopt", "server", "init"}
#: What role update names as the target of a rollback that names none.
_BEFORE = "the release before"
#: What role hotfix names where no branch was given: the very words of its command line.
_GIVEN = tuple(f"hotfix_{word}=" for word in ("files", "patch", "restart", "capture", "start", "finish"))
#: What it names where role rollback has it revert a hotfix.
_REVERTED = ("rollback_hotfix=", "rollback_files=")
# Bytes, and part of all, below which a disk or memory is called full.
_LITTLE, _PART = 2**30, 0.05
_SHOWN = 8


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be (``act``), or is worth knowing (``note``); ``next`` is what to run or do."""

    level: str
    about: str
    what: str
    next: str = ""


@dataclass(frozen=True)
class Container:
    """One container; ``since`` is ISO 8601, ``cpu`` percent of one CPU, ``memory`` bytes, None where it was not measured.

    :ivar old_folder: the adopted folder that it was made from after the current release became active, empty for none.
    """

    name: str
    state: str
    health: str = ""
    since: str = ""
    restarts: int = 0
    exit_code: int = 0
    image: str = ""
    revision: str = ""
    outdated: str = ""
    old_folder: str = ""
    cpu: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Service:
    """One service of the release: what should run, and what does; a job runs to its end."""

    name: str
    kind: str
    image: str
    replicas: int
    containers: tuple[Container, ...] = ()


@dataclass(frozen=True)
class Holder:
    """Who has the lock, as this host sees it now.

    :ivar alive: a module of it works; ``left``: seconds that the lease still has; ``quiet``: since the last sign of it.
    :ivar rebooted: the machine was started anew since that sign.
    """

    lock: Lock = field(default=Lock())
    alive: bool = False
    left: float = 0.0
    quiet: float = 0.0
    rebooted: bool = False


@dataclass(frozen=True)
class RollbackTarget:
    """The release to go back to, what of it is missing here or in its archive alone, and what the database says of its code."""

    release: str = ""
    revision: str = ""
    version: str = ""
    missing: tuple[str, ...] = ()
    verdict: str = ""
    archived: tuple[str, ...] = ()
    being_archived: bool = False


@dataclass(frozen=True)
class Seen:
    """Everything that was looked at; ``unseen`` says what could not be, and why.

    :ivar release: the manifest of the current one, with its ``id``; ``releases``: those that there are, with their states.
    :ivar records: operations, the newest first.
    :ivar edits: per container, release or mount what differs: ``where``, ``what``, ``differences``, ``more``, ``unseen``.
    :ivar hotfixes: those that production has beside its last update; ``tried``: every one that is remembered.
    :ivar migrations: what ``django_migrate`` tells of the current release, empty where it was not asked.
    :ivar looked: which of what takes time was asked for: drift, migrations, use.
    :ivar disks: ``path``, ``free``, ``size`` in bytes.
    :ivar aside: tasks that a rollback has kept from older workers, by name how many.
    :ivar baked: images that may hold values of the server's environment: ``image``, ``variables``.
    :ivar gap: what was begun in a gap that is open: ``migrations``, ``stores``; empty where none is.
    :ivar spares: names of old containers that were left running for a quick way back, until ``spared_until`` (for people); they are
        ``overdue`` where that is over, or one of them has ended.
    :ivar wrong: what users do not get as they should, in a sentence, empty where all is well or nothing was asked.
    """

    app: str
    host: str = ""
    at: str = ""
    release: Mapping[str, Any] = field(default_factory=dict)
    releases: Sequence[Mapping[str, Any]] = ()
    services: Sequence[Service] = ()
    others: Sequence[Container] = ()
    holder: Holder = field(default=Holder())
    records: Sequence[Mapping[str, Any]] = ()
    pending_undo: Mapping[str, Any] = field(default_factory=dict)
    leftovers: Sequence[str] = ()
    edits: Sequence[Mapping[str, Any]] = ()
    migrations: Mapping[str, Any] = field(default_factory=dict)
    rollback_target: RollbackTarget = field(default=RollbackTarget())
    backups: Sequence[Mapping[str, Any]] = ()
    hotfixes: Sequence[Mapping[str, Any]] = ()
    tried: Sequence[Mapping[str, Any]] = ()
    cpus: int = 0
    load: float = 0.0
    memory: Mapping[str, int] = field(default_factory=dict)
    disks: Sequence[Mapping[str, Any]] = ()
    looked: Sequence[str] = ()
    unseen: Mapping[str, str] = field(default_factory=dict)
    aside: Mapping[str, int] = field(default_factory=dict)
    gap: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    spares: Sequence[str] = ()
    spared_until: str = ""
    overdue: bool = False
    wrong: str = ""
    baked: Sequence[Mapping[str, Any]] = ()


def command_of(playbook: str, target: str) -> str:
    """The command that begins this operation again, empty for a module that was called alone."""
    if playbook not in _PLAYBOOKS:
        return ""
    if playbook == "hotfix" and target.startswith(_REVERTED):
        return f"ansible-playbook evenkeel.deploy.rollback -e {shlex.quote(target)}"
    words = f"ansible-playbook evenkeel.deploy.{playbook}"
    key = target.partition("=")[0]
    if playbook == "hotfix" and key in ("hotfix_env", "hotfix_media", "hotfix_frontend", "hotfix_database"):
        # Nobody but who began it has the values, or the files.
        words += f" with the same {key}"
    elif playbook == "hotfix" and target.startswith(_GIVEN):
        words += f" -e {shlex.quote(target)}"
    elif playbook in _TARGETS and target and target != _BEFORE:
        words += f" -e {shlex.quote(f'{_TARGETS[playbook]}={target}')}"
    return words


def again(seen: Seen) -> str:
    """The command that makes everything as the current release has it; by its commit, since a branch may have moved."""
    return command_of("update", str(seen.release.get("revision") or "")[:12]) if seen.release.get("revision") else ""


def findings(seen: Seen) -> list[Finding]:
    """What is to be said, what has to be done first."""
    broken = unfinished(seen)
    found = [*broken, *_running(seen)]
    finish = next((f.next for f in broken if f.next), "")
    # What an operation has in hand is not left behind.
    if not _works(seen):
        found += (
            _of_old_folder(seen, finish)
            + _of_gap(seen, finish)
            + _of_services(seen, finish)
            + [Finding(ACT, "leftovers", what, finish or again(seen)) for what in seen.leftovers]
        )
    if seen.wrong:
        webs = [c.name for s in seen.services if s.kind == WEB for c in s.containers]
        found.append(Finding(ACT, "site", seen.wrong, finish or "; ".join(f"docker logs --tail 50 {n}" for n in webs)))
    found += [Finding(ACT, "secrets", *one) for one in baked_secrets.findings_of(seen.baked)]
    found += [Finding(ACT, "hotfix", *one) for one in in_place.unsealed(seen.hotfixes)]
    found += (
        _of_edits(seen)
        + _of_migrations(seen)
        + _of_rollback_target(seen, bool(broken))
        + _of_backups(seen)
        + _of_room(seen)
    )
    if seen.aside:
        what = f"kept aside in the broker, since older workers would discard it: {counted(seen.aside)}"
        found.append(Finding(NOTE, "tasks", what, "an update to a version that registers these puts them back"))
    found += [Finding(NOTE, "unseen", f"{part} cannot be seen: {why}") for part, why in seen.unseen.items()]
    return sorted(found, key=lambda f: f.level != ACT)


def state_of(found: Sequence[Finding], seen: Seen) -> str:
    """How the app is, in a word."""
    if any(f.about == "operation" and f.level == ACT for f in found):
        return UNFINISHED
    if _works(seen):
        return RUNNING
    return ATTENTION if any(f.level == ACT for f in found) else FINE


def next_command(found: Sequence[Finding]) -> str:
    """What to run first, empty where nothing has to be."""
    return next((f.next for f in found if f.level == ACT and f.next), "")


def _works(seen: Seen) -> bool:
    """Whether an operation is under way, as far as this host can tell: between two tasks nothing of it lives here."""
    holder = seen.holder
    # A module that ends by itself takes its process out of the record: one that is in it and dead was killed.
    paused = holder.lock.process is None and not holder.lock.alone and holder.left > 0 and not holder.rebooted
    return holder.lock.held and (holder.alive or paused)


def _running(seen: Seen) -> list[Finding]:
    holder, lock = seen.holder, seen.holder.lock
    if not _works(seen):
        return []
    what = f"{lock.operation} by {lock.who} is under way (fencing number {lock.number})"
    if holder.alive:
        return [
            Finding(
                NOTE, "lock", f"{what}; process {lock.process.pid if lock.process else '?'} works on it", "wait for it"
            )
        ]
    command = command_of(lock.operation.playbook, lock.operation.target)
    return [
        Finding(
            NOTE,
            "lock",
            f"{what}; no process of it works on this host now, its last sign of life was {holder.quiet:.0f} s ago, and its "
            f"lock is valid for {holder.left:.0f} s more",
            f"wait for it; if that run is dead: {command} takes over at once" if command else "wait for it",
        )
    ]


def unfinished(seen: Seen) -> list[Finding]:
    """The operation that was ended in the middle, and the command that finishes it."""
    holder, lock = seen.holder, seen.holder.lock
    if seen.pending_undo and not holder.alive and (not lock.held or not _works(seen)):
        return [_undo_to_finish(seen.pending_undo)]
    if lock.held and not _works(seen):
        killed = "its module was killed" if lock.process else "no process of it lives and its lock ran out"
        why = "the machine was started anew since" if holder.rebooted else killed
        what = f"{lock.operation} by {lock.who} was ended in the middle: {why}"
        command = command_of(lock.operation.playbook, lock.operation.target)
        return [Finding(ACT, "operation", what, command or "run what was run again: it takes over at once")]
    ended = [r for r in seen.records if str(r.get("playbook")) in _MOVES and str(r.get("run")) != lock.run]
    last = ended[0] if ended else {}
    if not last or str(last.get("result") or "") not in ("", "interrupted") or _converged(last, seen):
        return []
    what = (
        f"{last.get('playbook')} to {last.get('target')} by {last.get('who')}, begun {last.get('started')}, never ended"
    )
    return [Finding(ACT, "operation", what, command_of(str(last["playbook"]), str(last.get("target") or "")))]


def _undo_to_finish(record: Mapping[str, Any]) -> Finding:
    before = record.get("before") or {}
    what = (
        f"{record.get('playbook')} to {record.get('target')} by {record.get('who')} failed ({record.get('reason') or 'see its log'}) "
        f"and was ended on its way back to {str(before.get('revision') or '')[:12] or 'what was before'}"
    )
    command = command_of(str(record.get("playbook")), str(record.get("target") or ""))
    return Finding(
        ACT, "operation", what, f"{command} (first finishes the way back, then fails naming the bad version)"
    )


def _converged(record: Mapping[str, Any], seen: Seen) -> bool:
    """Whether whoever took over ended well without a record of its own: it found nothing left to do."""
    heir = str(record.get("taken_over_by") or "")
    known = {str(r.get("run")) for r in seen.records}
    return heir not in known and heir != seen.holder.lock.run and any(f"-{move}-" in heir for move in _MOVES)


def _of_services(seen: Seen, finish: str) -> list[Finding]:
    found = []
    for service in seen.services:
        if service.kind == "job":
            continue
        service = replace(service, containers=tuple(c for c in service.containers if c.name not in seen.spares))
        good = [c for c in service.containers if c.state == "running"]
        repair = finish or again(seen)
        if len(good) < service.replicas:
            found.append(Finding(ACT, "services", f"{service.name}: {len(good)} of {service.replicas} run", repair))
        if len(good) > service.replicas:
            what = f"{len(good)} run instead of {service.replicas} ({', '.join(c.name for c in good)})"
            found.append(Finding(ACT, "leftovers", f"{service.name}: {what}", repair))
        for container in service.containers:
            if container.state != "running":
                ended = f" with code {container.exit_code}" if container.state == "exited" else ""
                found.append(Finding(ACT, "services", f"{service.name}: {container.name} is {container.state}{ended}",
                                     finish or f"docker logs --tail 50 {container.name}"))  # fmt: skip
            elif container.health == "unhealthy":
                logs = f"docker logs --tail 50 {container.name}"
                found.append(Finding(ACT, "services", f"{service.name}: {container.name} is unhealthy", finish or logs))
            if container.outdated and container.state == "running":
                found.append(Finding(ACT, "images", f"{service.name}: {container.name} {container.outdated}", repair))
    for container in seen.others:
        found.append(
            Finding(NOTE, "leftovers", f"{container.name} ({container.state}) is of no service of this release")
        )
    return found


def _of_gap(seen: Seen, finish: str) -> list[Finding]:
    """A gap that a killed run has left open, and containers that go on running for the way back."""
    found = []
    if seen.gap:
        begun = [
            f"{key} {', '.join(map(str, names))}" for key in ("migrations", "stores") if (names := seen.gap.get(key))
        ]
        what = f"a gap is open, and requests wait or get the maintenance page{': ' if begun else ''}{'; '.join(begun)}"
        found.append(Finding(ACT, "gap", what, finish or again(seen)))
    if seen.spares and seen.overdue:
        what = f"{', '.join(seen.spares)} of the version before: their time was over at {seen.spared_until}, or they have ended"
        found.append(Finding(ACT, "leftovers", what, finish or again(seen)))
    elif seen.spares:
        what = f"{', '.join(seen.spares)} of the version before can take over again at once, until {seen.spared_until}"
        found.append(Finding(NOTE, "way back", what, "ansible-playbook evenkeel.deploy.rollback"))
    return found


def _of_old_folder(seen: Seen, finish: str) -> list[Finding]:
    """Containers that a command in an adopted folder has made, until those that replace the release's are replaced themselves."""
    every = [(s.name, c) for s in seen.services for c in s.containers if c.old_folder]
    found = []
    for folder in dict.fromkeys(c.old_folder for _service, c in every if c.outdated):
        made = [(name, c) for name, c in every if c.old_folder == folder]
        what = (
            f"docker compose was run in {folder}, from which the app was adopted, and made {', '.join(sorted({n for n, _c in made}))} "
            f"anew from there (started {min(c.since for _n, c in made)}); update to the release that was replaced, then have such "
            f"commands refused: ansible-playbook evenkeel.deploy.adopt -e adopt_stop_sign=true"
        )
        found.append(Finding(ACT, "old folder", what, finish or again(seen)))
    return found


def _of_edits(seen: Seen) -> list[Finding]:
    found = []
    for edit in seen.edits:
        where = str(edit["where"])
        by_hand = [d for d in edit.get("differences") or () if d["change"] != UNREAD and not d["at_start"]]
        at_start = [d for d in edit.get("differences") or () if d["change"] != UNREAD and d["at_start"]]
        unread = [d for d in edit.get("differences") or () if d["change"] == UNREAD]
        more = int(edit.get("more") or 0)
        if by_hand:
            what = f"{where}: {_listed(by_hand, more)} by hand"
            found.append(
                Finding(ACT, "drift", what, "commit it and update; the next release or container comes without it")
            )
        if at_start:
            found.append(Finding(NOTE, "drift", f"{where}: {_listed(at_start, 0)} as it started"))
        if unread:
            names = ", ".join(d["path"] for d in unread[:_SHOWN])
            found.append(Finding(NOTE, "drift", f"{where}: {len(unread)} not compared ({names}: {unread[0]['why']})"))
        if edit.get("unseen"):
            found.append(Finding(NOTE, "drift", f"{where}: {edit['unseen']}"))
    return found


def _listed(differences: Sequence[Mapping[str, Any]], more: int) -> str:
    shown = [f"{d['path']} {d['change']}" for d in differences[:_SHOWN]]
    left = len(differences) - len(shown) + more
    return ", ".join(shown) + (f" and {left} more" if left else "")


def _of_migrations(seen: Seen) -> list[Finding]:
    report = seen.migrations
    found = []
    if report.get("pending"):
        what = f"{report['pending']} migrations of the current release are pending: {report.get('msg') or ''}"
        found.append(Finding(ACT, "migrations", what, again(seen)))
    waiting = list(report.get("open") or ())
    if waiting:
        first = next((o["waits_for"] for o in waiting if o.get("waits_for")), "")
        what = f"{len(waiting)} operations are put off ({'; '.join(str(o.get('words') or o['operation']) for o in waiting[:3])})"
        command = f"{again(seen)} -e update_contract=now; or the next update does it" if again(seen) else ""
        found.append(Finding(NOTE, "migrations", what + (f"; they wait for this: {first}" if first else ""), command))
    return found


def _of_rollback_target(seen: Seen, broken: bool) -> list[Finding]:
    back = seen.rollback_target
    if not seen.release:
        return []
    if not back.release:
        return [Finding(NOTE, "way back", "there is no earlier release that was found good")]
    found = []
    if back.missing:
        what = f"{back.release} cannot simply come back: {'; '.join(back.missing)}"
        advice = f"pull or load what is gone; without it the way back is an update to {back.revision[:12]}, which builds it anew"
        found.append(Finding(ACT, "way back", what, advice))
    elif back.archived:
        found.append(
            Finding(NOTE, "way back", f"{back.release} is there: {'; '.join(back.archived)}, and is loaded from there")
        )
    if back.verdict in REFUSED:
        what = f"{back.release} cannot run on the database as it is (verdict: {back.verdict})"
        found.append(
            Finding(NOTE, "way back", what, "ansible-playbook evenkeel.deploy.rollback --check tells which migration")
        )
    return [] if broken and not back.missing else found


def _of_backups(seen: Seen) -> list[Finding]:
    if seen.backups or not seen.release or not seen.services or "backups" in seen.unseen:
        return []
    return [Finding(NOTE, "backups", "there is no backup", "ansible-playbook evenkeel.deploy.backup")]


def _of_room(seen: Seen) -> list[Finding]:
    found = []
    for disk in seen.disks:
        free, size = int(disk["free"]), int(disk["size"])
        if free < _LITTLE or free < size * _PART:
            what = f"{disk['path']} has {in_bytes(free)} of {in_bytes(size)} free"
            found.append(Finding(ACT, "disk", what, "make room: app_keep_releases, backup_keep, app_build_cache, logs"))
    total, free = int(seen.memory.get("total", 0)), int(seen.memory.get("available", 0))
    if total and free < total * _PART:
        found.append(Finding(ACT, "memory", f"{in_bytes(free)} of {in_bytes(total)} memory are available"))
    return found


def in_bytes(number: int) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"
