# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes, finds, marks and removes releases, and makes one the current one."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Callable

from ...base.errors import BadInput
from ...base.host.files import KEY
from ...engine.definition import UNKNOWN_UNTIL_BUILT
from ...engine.host.engine import EngineFailed
from ...git import reverted
from ...git.host import content as git_content
from ...git.host import history
from ...git.host.git import Git, GitFailed
from ...operation.host.journal import working
from ...operation.options import LockOptions
from ...releases import choice
from ...releases.host import adopted, image_archive, retention
from ...releases.host.plain_folder import copy_into, is_plain_folder, revision_of, size_of
from ...releases.host.retention import Act
from ...releases.host.store import Store, store_of
from ...releases.layout import NEXT
from . import environment, hand_edits, in_place_record, ledger, losses
from .thin_image import plain_file

# Seconds before the moment of a switch from which nobody else acts; and the longest wait for it.
_LAST_MOMENTS, _LONGEST_WAIT = 1.0, 3600.0


@dataclass(frozen=True)
class Request:
    """Which release is meant, and what becomes of it.

    :ivar path: ``app_root``, absolute.
    :ivar state: ``present`` makes a release of ``version``, of others ``release`` is the id: ``built`` says that it can run, ``next``
        shows it before users see it, ``active`` makes it the current one, ``bad`` marks it, ``absent`` removes it; ``found`` looks
        for one by its id, its commit or its version.
    :ivar repo: URL, or a path on this host.
    :ivar verified: of ``active``: it is known that it serves.
    :ivar asked: of ``active``: the site was asked and answered as it should; without that nothing is called verified.
    :ivar left: of ``active``: ``bad`` marks the one that is left, and notes that this is a rollback.
    :ivar accept_bad: of ``present``: the id or commit of a release that was rolled back, which may be brought again.
    :ivar drop_hotfixes: names or commits of those that the version may lose; ``drop_edits``: it may lose what was edited by hand.
    :ivar activate_at: ISO 8601 with its zone, not before which ``active`` switches; empty: at once.
    :ivar keep: how many releases are left when another one is the current one; 0 leaves all.
    :ivar archive: of ``active``: whether the images of the release to go back to are kept in files, see ``releases/archives.py``; empty
        leaves what there is. A process that is left behind writes them.
    :ivar shared: paths that a release gets from the folder ``shared``.
    :ivar inputs: what else the release is made from.
    :ivar owner: user to whom the app belongs; empty for whoever runs this.
    """

    path: str
    lock: LockOptions
    state: str = "present"
    repo: str = ""
    version: str = "main"
    release: str = ""
    verified: bool = True
    asked: bool = True
    left: str = "kept"
    accept_bad: str = ""
    drop_hotfixes: tuple[str, ...] = ()
    drop_edits: bool = False
    activate_at: str = ""
    keep: int = 0
    archive: str = ""
    shared: tuple[str, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    owner: str = ""


def manage_release(request: Request, check_mode: bool) -> dict[str, Any]:
    """Do what ``state`` says, or look what there would be to do.

    :raises BadInput: nothing was touched.
    """
    store = store_of(request.path, request.owner, request.shared)
    if check_mode or request.state == "found":
        return _manage(store, request, True, lambda _what: nullcontext())
    if request.state == "present":
        store.make_folders()
    with working(request.lock, store.state_dir(request.lock), f"symlink_release of {store.root}") as fence:
        facts = fence.reported(_manage(store, request, False, fence.act))
    return _with_archive(request, facts) if request.state == "active" and request.archive else facts


def _with_archive(request: Request, facts: dict[str, Any]) -> dict[str, Any]:
    """What is returned, after the archive of images was begun: the release serves, whatever becomes of that."""
    wanted = image_archive.Request(request.lock, request.path, policy=request.archive, wait=False)
    try:
        kept = image_archive.keep_archive(wanted, False)
    except (BadInput, EngineFailed, OSError) as error:
        return _noted(facts, [f"the images of the release to go back to are not archived: {error}"])
    said = "; ".join(filter(None, [facts["msg"], kept["msg"]]))
    return _noted({**facts, "msg": said, "changed": facts["changed"] or kept["changed"]}, kept["notes"])


def _manage(store: Store, request: Request, check_mode: bool, act: Act) -> dict[str, Any]:
    state, release = request.state, request.release
    if state == "present":
        return _present(store, request, check_mode, act)
    known = {r.id: r for r in store.all()}
    if state == "found":
        used: frozenset[str] = frozenset()
        # Where an engine is needed, what comes next says that it is down; a plain app has none to ask.
        with suppress(EngineFailed):
            used = retention.Used.seen(store).releases
        found, problem = choice.find(release, list(known.values()), store.current(), used)
        if problem:
            raise BadInput(problem, "an update to a revision that works (update_version) is the other way")
        hotfixes = {r: store.manifest(r).get("hotfix") or {} for r in known}
        return {**_facts(store, found, False), "code_alone": choice.code_alone(hotfixes, store.current(), found)}
    if state == "absent" and choice.is_id(release) and release not in known:
        return _facts(store, release, False)
    if release not in known:
        advice = f"there are: {', '.join(known) or 'none'}"
        raise BadInput(f"there is no release {release or '(none named)'} in {store.folder}", advice)
    if state == "absent":
        return _absent(store, release, check_mode, act)
    if state == "active":
        return _active(store, known[release], request, check_mode, act)
    if state == "next":
        return _next(store, known[release], check_mode, act)
    wrong = {"bad": known[release].state != choice.BAD and store.current() != release}
    changed = wrong.get(state, known[release].state == choice.PREPARING)
    if changed and not check_mode:
        with act(f"mark {release} {state}"):
            store.note(release, state=state)
            if state == choice.BAD:
                store.end_look(release)
    return _facts(store, release, changed)


def _absent(store: Store, release: str, check_mode: bool, act: Act) -> dict[str, Any]:
    try:
        used = retention.Used.seen(store)
    except EngineFailed as error:
        raise BadInput(f"what containers use of {release} cannot be seen: {error}") from error
    problem = choice.problem_with_removal(release, store.all(), store.current(), used.releases)
    if problem:
        raise BadInput(problem, "choose another one")
    cleared = retention.Cleared()
    if not check_mode:
        cleared = retention.remove(store, [release], used, act)
    return {**_facts(store, release, True), "removed_images": cleared.images, "notes": cleared.notes}


def _active(store: Store, release: choice.Release, request: Request, check_mode: bool, act: Act) -> dict[str, Any]:
    problem = choice.problem_with_switch(release, store.current())
    if problem:
        raise BadInput(problem, "run the playbook again, or say state: built once all that it needs is there")
    moment = _moment(request.activate_at)
    verified, before = request.verified, store.current()
    enough = (choice.VERIFIED,) if verified else (choice.VERIFIED, choice.ACTIVE)
    leaves = request.left == choice.BAD and before not in ("", release.id)
    changed = before != release.id or release.state not in enough
    if changed and not check_mode:
        # Others may act in the meantime; the last moments are the switch's own.
        time.sleep(max(0.0, moment - time.time() - _LAST_MOMENTS))
        with act(f"switch current to {release.id}"):
            if leaves:
                # Before the switch: whoever asks for the way back from now on is not led to what was left.
                store.note(before, state=choice.BAD, left_for=release.revision)
            if before != release.id:
                store.note(release.id, came_back=leaves)
            if not verified:
                # Before the switch: whatever is killed from now on leaves a record that there is more to do.
                store.note(release.id, state=choice.ACTIVE)
            store.switch(release.id, moment)
            if before != release.id:
                # Its containers are others, and where they come back they are new.
                in_place_record.forget(store.state_dir(request.lock))
            if leaves:
                environment.put_back(store, before)
            environment.bring(store, release.id)
            if verified:
                store.note(release.id, state=choice.VERIFIED, verified=round(time.time(), 3), asked=request.asked)
            store.end_look(release.id)
    elif verified and request.asked and not check_mode and store.manifest(release.id).get("asked") is False:
        with act(f"note that {release.id} was asked"):
            store.note(release.id, asked=True)
    for left in [] if check_mode else adopted.waiting(store):
        with act(f"make {left} ready to come back"):
            adopted.make_ready_to_return(store, left)
    facts = _facts(store, release.id, changed)
    facts["diff"] = {"before": f"current -> {before or 'nothing'}\n", "after": f"current -> {release.id}\n"}
    state_dir = store.state_dir(request.lock)
    facts["database_hotfixes"] = sorted(ledger.of_databases(state_dir))
    facts["upload_hotfixes"] = sorted(ledger.of_uploads(state_dir))
    if changed and moment:
        facts["late"] = round(max(0.0, time.time() - moment), 3)
    if request.keep and changed and not check_mode:
        cleared = retention.clear(store, request.keep, act)
        facts.update(removed=cleared.releases, removed_images=cleared.images, notes=cleared.notes)
    said = [f"release {before} is marked bad"] if leaves and changed else []
    said += [f"no longer kept: {', '.join(facts['removed'])}"] if facts.get("removed") else []
    facts["msg"] = "; ".join(said)
    return facts


def _next(store: Store, release: choice.Release, check_mode: bool, act: Act) -> dict[str, Any]:
    problem = choice.problem_with_switch(release, "")
    if problem:
        raise BadInput(problem, "say state: built once all that it needs is there")
    changed = store.current(NEXT) != release.id
    if changed and not check_mode:
        with act(f"look at {release.id} before users do"):
            store.switch(release.id, name=NEXT)
    return _facts(store, release.id, changed)


def _moment(text: str) -> float:
    """When to switch (UNIX seconds), 0 for at once."""
    if not text:
        return 0.0
    advice = "write it with its zone, such as 2026-11-20T22:00:00Z"
    try:
        # Python below 3.11 does not read the Z.
        moment = datetime.fromisoformat(re.sub("Z$", "+00:00", text))
    except ValueError as error:
        raise BadInput(f"activate_at {text!r} is no time of ISO 8601", advice) from error
    if moment.tzinfo is None:
        raise BadInput(f"activate_at {text!r} could mean another moment on each host", advice)
    if moment.timestamp() - time.time() > _LONGEST_WAIT:
        raise BadInput(f"activate_at {text} is more than an hour away", "start the playbook later")
    return moment.timestamp()


def _facts(store: Store, release: str, changed: bool) -> dict[str, Any]:
    manifest, current = store.manifest(release), store.current()
    back = choice.rollback_target_from(release, store.all(), current)
    return {
        "msg": "", "changed": changed, "release": release, "release_path": store.path_of(release),
        "revision": manifest.get("revision", ""), "exists": bool(manifest),
        "release_state": manifest.get("state", ""), "current": current,
        "current_revision": store.manifest(current).get("revision", "") if current else "",
        "rollback_target": back, "rollback_target_revision": store.manifest(back).get("revision", "") if back else "",
    }  # fmt: skip


def _present(store: Store, request: Request, check_mode: bool, act: Act) -> dict[str, Any]:
    version, source = request.version, request.repo
    if is_plain_folder(source):
        revision, size = revision_of(source), size_of(source)
        request, notes = _with_names_of_here(store, request, revision)
        with _refused_with(notes):
            _refuse_rolled_back(store, request, revision, None)
            dropped = _refuse_losing_hotfixes(store, request, revision, None)
        if not check_mode:
            _let_go(store, request, dropped, act)

        def export(target: str) -> None:
            copy_into(source, revision, target, store.owner)

        made = _made(store, request, revision, size, export, lambda path: plain_file(source, path), check_mode, act)
        return _noted(made, notes)
    problem = choice.problem_with_ref(version)
    if problem:
        raise BadInput(problem, "set update_version to a branch, tag or commit: -e update_version=v2")
    git = Git(store.layout.mirror, store.owner)
    try:
        if check_mode:
            planned = git.planned_commit(source, version)
            request, notes = _with_names_of_here(store, request, planned)
            with _refused_with(notes):
                unknown = _refuse_rolled_back(store, request, planned, git)
                if history.has(git, planned):
                    _refuse_losing_hotfixes(store, request, planned, git)
            content_of = _contents(git, planned) if history.has(git, planned) else None
            foreseen = _made(store, request, planned, (0, 0), lambda _target: None, content_of, True, act)
            return _noted(_with_way(store, git, version, foreseen), [*notes, *unknown])
        git.update(source)
        commit = git.commit_of(version)
        request, notes = _with_names_of_here(store, request, commit)
        with _refused_with(notes):
            _refuse_rolled_back(store, request, commit, git)
            dropped = _refuse_losing_hotfixes(store, request, commit, git)
        complaints = git.objections(commit)
        if complaints:
            raise BadInput(f"revision {commit[:12]} cannot be exported: {complaints[0]}")
        _let_go(store, request, dropped, act)
        size = git.size_of(commit)
        made = _made(
            store, request, commit, size, lambda target: git.export(commit, target), _contents(git, commit), False, act
        )
        return _noted(_with_way(store, git, version, made), notes)
    except GitFailed as error:
        raise BadInput(str(error), error.advice) from error


def _noted(facts: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    return {**facts, "notes": [*facts.get("notes", []), *notes]} if notes else facts


def _with_way(store: Store, git: Git, version: str, facts: dict[str, Any]) -> dict[str, Any]:
    """What is returned, with a sentence on where it leads: from which version, to which, over how many commits."""
    before, after = str(facts["current_revision"]), str(facts["revision"])
    if before == after:
        return facts
    served = str(store.manifest(store.current()).get("version") or "")
    way = (
        f"{_named(served, before)} → {_named(version, after)}"
        if before
        else f"{_named(version, after)} is the first version"
    )
    far = history.between(git, before, after) if before else ""
    return {**facts, "msg": "; ".join(filter(None, [f"{way}, {far}" if far else way, facts["msg"]]))}


def _named(version: str, revision: str) -> str:
    return f"{version} ({revision[:12]})" if version and not revision.startswith(version) else revision[:12]


def _contents(git: Git, commit: str) -> Callable[[str], bytes | None]:
    return lambda path: git_content.content_of(git, commit, path)


def _refuse_losing_hotfixes(store: Store, request: Request, revision: str, git: Git | None) -> list[str]:
    """Refuse a revision that lacks a hotfix, unless it is named; returns those that are dropped.

    :raises BadInput: it does, or nobody can tell.
    """
    named = list(request.drop_hotfixes)
    return losses.refuse_losing(store, store.state_dir(request.lock), request.version, revision, git, named)


def _let_go(store: Store, request: Request, dropped: list[str], act: Act) -> None:
    """Write down which hotfixes the version may lose."""
    if dropped:
        with act(f"remember that {', '.join(dropped)} may go"):
            ledger.note_dropped(store.state_dir(request.lock), dropped, request.version)


def _rolled_back(store: Store) -> list[choice.Release]:
    return [r for r in store.all() if r.state == choice.BAD and r.left_for]


def _with_names_of_here(store: Store, request: Request, revision: str) -> tuple[Request, list[str]]:
    """The request with hotfixes by their names, and notes on what it names that this host does not have.

    That is no error, since another host of the play may have it; what is not named is refused all the same.
    """
    names, notes = losses.names_of(store, store.state_dir(request.lock), revision, request.drop_hotfixes)
    accepted, left = request.accept_bad, _rolled_back(store)
    if accepted and not any(reverted.is_named(accepted, r.id, r.revision) for r in left):
        there = ", ".join(r.id for r in left) or "none"
        notes.append(f"no release that was rolled back here is {accepted}; there are: {there}")
    return replace(request, drop_hotfixes=tuple(names)), notes


@contextmanager
def _refused_with(notes: list[str]) -> Iterator[None]:
    """Add to a refusal what was named and is not here: a name that was misspelt is why."""
    try:
        yield
    except BadInput as error:
        raise BadInput("; ".join([str(error), *notes]), error.advice) from error


def _refuse_rolled_back(store: Store, request: Request, revision: str, git: Git | None) -> list[str]:
    """Refuse a revision that still brings what was rolled back, unless that release is named.

    :param git: where the history is; a plain folder has none, and only the very same content is known again.
    :returns: of which releases that is not known yet, since the mirror does not have that revision.
    :raises BadInput: it does.
    """
    unknown = []
    current = store.current()
    serving = str(store.manifest(current).get("revision", "")) if current else ""
    for release in _rolled_back(store):
        if reverted.is_named(request.accept_bad, release.id, release.revision):
            continue
        if git is not None and not history.has(git, revision):
            unknown.append(
                f"whether {request.version} still has what was rolled back with release {release.id}: unknown until fetched"
            )
            continue
        if git is not None:
            brought, report = history.brought_again(git, release.left_for, release.revision, revision, serving)
        else:
            same = revision == release.revision != serving
            brought, report = [reverted.Commit(revision, (), "the very same")] if same else [], True
        if brought:
            raise BadInput(*reverted.refusal(f"{request.version} ({revision[:12]})", release.id, brought, report))
    return unknown


def _made(
    store: Store,
    request: Request,
    revision: str,
    size: tuple[int, int],
    export: Callable[[str], None],
    content_of: Callable[[str], bytes | None] | None,
    check_mode: bool,
    act: Act,
) -> dict[str, Any]:
    """The release that is this revision, made where there is none.

    :param size: its bytes and files.
    :param content_of: what it has at a path; None where that is not known yet.
    :raises BadInput: what was edited by hand in containers would be lost by it.
    """
    state_dir, shared = store.state_dir(request.lock), list(request.shared)
    # On a bare host there is no key yet, and to look makes none.
    keyless = check_mode and not os.path.exists(os.path.join(state_dir, KEY))
    inputs = "" if keyless else store.inputs_of(state_dir, shared, dict(request.inputs))
    found = choice.release_for(revision, inputs, store.all(), store.current())
    if content_of and not request.drop_edits and (not found or found != store.current()):
        dropped = list(request.drop_hotfixes)
        hand_edits.refuse_losing(store, state_dir, f"{request.version} ({revision[:12]})", content_of, dropped)
    if found:
        return _facts(store, found, False)
    if check_mode:
        report = UNKNOWN_UNTIL_BUILT if request.inputs.get("files") else ""
        return {**_facts(store, "", True), "revision": revision, "exists": False, "release_path": "", "msg": report}
    store.refuse_without_room(*size)
    with act(f"export {revision[:12]}"):
        made = store.create(export, revision, request.version, shared, inputs)
    return _facts(store, made, True)
