# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``change_plan``: which files changed since what runs, and what that comes to. Touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...git import classes
from ...git.changes import Change
from ...git.host import history
from ...git.host.content import content_of
from ...git.host.git import Git, GitFailed
from ...operation.host.records import Records
from ...operation.options import LockOptions
from ...releases.host.store import store_of
from ..plan import RECENT, Seen, plan
from ..text import text

#: Changed files that are looked at: the rest of a huge change counts as unknown.
_MOST = 20_000
# Content is only asked for where a path tells nothing.
_MOST_CONTENTS = 200


@dataclass(frozen=True)
class Request:
    """From which revision to which, and what other modules found out about it.

    :ivar path: ``app_root``, absolute.
    :ivar from_ref: the revision that runs, where no container of ``service`` says which one that is; empty for none.
    :ivar to_ref: the revision that is wanted; ``version`` is what a person called it.
    :ivar service: the service whose containers say which revision runs.
    :ivar rolled: what compose_rolling returned in check mode; empty where it was not asked. A ``msg`` alone is
        why it refused, and makes the plan fail.
    :ivar migrations: what django_migrate returned with ``state: planned``; empty where it was not asked.
    :ivar containers: whether the app runs in containers.
    :ivar backup: whether the database is backed up first; ``strategy``: the one that was asked for, ``auto`` for none.
    """

    lock: LockOptions
    path: str
    to_ref: str
    from_ref: str = ""
    version: str = ""
    app_name: str = ""
    service: str = ""
    compose_files: tuple[str, ...] = ()
    rolled: Mapping[str, Any] = field(default_factory=dict)
    migrations: Mapping[str, Any] = field(default_factory=dict)
    built: tuple[str, ...] = ()
    containers: bool = True
    backup: bool = False
    strategy: str = "auto"
    owner: str = ""


def change_plan(request: Request, _check_mode: bool) -> dict[str, Any]:
    """Compare, classify and decide.

    :returns: what the module returns; ``failed`` where the update would be refused.
    :raises BadInput: a path or an owner that cannot be.
    """
    store = store_of(request.path, request.owner)
    git = Git(store.layout.mirror, request.owner)
    before = _running(git, request)
    changes = _changes(git, before, request.to_ref)
    roll = request.rolled if "kinds" in request.rolled else None
    refusal = "" if roll or request.rolled.get("skipped") else str(request.rolled.get("msg") or "")
    seen = Seen(
        request.app_name, request.version or request.to_ref[:12], before, request.to_ref,
        containers=request.containers, commits=_between(git, before, request.to_ref), files=_classified(git, request, changes, before),
        edited_migrations=[c.path for c in changes or () if c.status != "A" and classes.class_of(c) == classes.MIGRATION],
        roll=roll, migrations=request.migrations if "plan" in request.migrations else None,
        built=request.built, backup=request.backup, strategy=request.strategy, took=_took(store.state_dir(request.lock)),
    )  # fmt: skip
    found = plan(seen)
    lines = text(seen, found)
    result: dict[str, Any] = {
        "changed": False,
        "from_revision": before,
        "to_revision": request.to_ref,
        "classes": {name: list(paths) for name, paths in (seen.files or {}).items()},
        "strategy": found.strategy,
        "services": [asdict(act) for act in found.services],
        "gaps": list(found.gaps),
        "risk": found.risk,
        "reasons": list(found.reasons),
        "seconds": dict(zip(("median", "least", "most"), found.seconds)),
        "memory": dict((roll or {}).get("memory") or {}),
        "notes": list(found.notes),
        "text": lines,
        "msg": "\n".join(lines),
    }
    if refusal:
        lines = [line for line in lines if not line.strip().startswith(("strategy", "gap"))]
        return {
            **result,
            "failed": True,
            "strategy": "",
            "text": lines,
            "msg": "\n".join([*lines, refusal]),
        }
    return result


def _running(git: Git, request: Request) -> str:
    """The revision that runs, by what the containers are labelled with, else as it was given."""
    serving = (request.rolled.get("serving") or {}).get(request.service) or ()
    names = {str(one.get("version") or "") for one in serving}
    if len(names) == 1:
        name = names.pop()
        try:
            return git.commit_of(name)
        except GitFailed:
            # Built from a plain folder, or taken over as it ran: the label names no commit.
            return request.from_ref
    return request.from_ref


def _between(git: Git, before: str, after: str) -> str:
    try:
        return history.between(git, before, after) if before else ""
    except GitFailed:
        return ""


def _changes(git: Git, before: str, after: str) -> list[Change] | None:
    if not before:
        return None
    try:
        if not (history.has(git, before) and history.has(git, after)):
            return None
        return history.changes_between(git, before, after)[:_MOST]
    except GitFailed:
        return None


def _classified(
    git: Git, request: Request, changes: list[Change] | None, before: str
) -> dict[str, tuple[str, ...]] | None:
    if changes is None:
        return None
    gone = {c.path for c in changes if c.status == "D"}
    asked: list[str] = []

    def content(path: str) -> str | None:
        asked.append(path)
        if len(asked) > _MOST_CONTENTS:
            return None
        found = content_of(git, before if path in gone else request.to_ref, path)
        return found.decode("utf-8", "replace") if found is not None else None

    return classes.classified(changes, request.compose_files, content)


def _took(state_dir: str) -> list[float]:
    """Seconds of the last updates that ended well, the newest first."""
    records = Records(state_dir).last("update", RECENT)
    return [float(r["seconds"]) for r in records if r.get("seconds")]
