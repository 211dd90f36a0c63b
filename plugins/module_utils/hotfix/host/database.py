# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hotfixes of a database: a function, view or trigger is replaced in one transaction, or comes back."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...backup.host.external_database import ExternalDatabaseOptions, Wanted
from ...backup.host.source import Source, source_of
from ...base.errors import BadInput
from ...base.host.files import write_private
from ...engine.host.engine import EngineFailed
from ...engine.options import ProjectOptions
from ...migrations.host.database_host import refuse_other_host_at
from ...operation.host.journal import working
from ...operation.options import LockOptions
from ...postgres.host.server import asked
from ...releases.host.store import Store, store_of
from .. import database_objects as objects
from .. import hotfix, migration, staging
from ..database import Change, Refused, all_named, changes_of, checked_query
from ..database_objects import Thing
from . import database_catalogue
from . import ledger as hotfix_ledger
from . import staging as hotfix_staging
from .database_run import DATABASE, Ledger, Limits, Outcome, apply, looked_at, revert
from .given_files import content_of

APPLIED, REVERTED, CHECKED = "applied", "reverted", "checked"
_MIGRATION = "migration.py"
# Where no migrations of the app's own are.
_PASSED_OVER = ("node_modules", "site-packages", "venv", "env", "__pycache__")
_DEEP = 5


@dataclass(frozen=True)
class Request:
    """Which hotfix of which database.

    :ivar path: ``app_root``.
    :ivar files: with SQL, each with ``path`` and ``content`` in base64.
    :ivar check: a query that has to be true before it is committed, empty for none.
    :ivar name: the hotfix's, empty for one by its content.
    :ivar state: ``applied``, ``reverted``, or ``checked``: what became of those that are in force.
    :ivar optional: that it is no mistake to revert one that is not there.
    :ivar migration_app: the app that the migration is written for, empty where there is only one.
    :ivar service: of the project; empty for the one that the hotfix is known of, or the only database; so is ``database``.
    :ivar django_service: by whose settings a database is found that is no service.
    :ivar lock_timeout: seconds that a lock is waited for, each of ``retries`` + 1 times.
    :ivar statement_timeout: seconds that each statement may take; ``timeout``: that a whole transaction may take.
    :ivar take_over_from: the host that the database belongs to so far (machine/project), where that is gone for good.
    """

    path: str
    lock: LockOptions
    staging: hotfix_staging.StagingOptions = field(default_factory=hotfix_staging.StagingOptions)
    external: ExternalDatabaseOptions = field(default_factory=ExternalDatabaseOptions)
    files: tuple[Mapping[str, Any], ...] = ()
    check: str = ""
    name: str = ""
    state: str = APPLIED
    optional: bool = False
    migration_app: str = ""
    service: str = ""
    database: str = ""
    service_options: Mapping[str, Any] = field(default_factory=dict)
    django_service: str = ""
    lock_timeout: float = 2
    retries: int = 5
    statement_timeout: float = 5
    take_over_from: str = ""
    timeout: float = 120


def change(request: Request, check_mode: bool) -> dict[str, Any]:
    """Apply a hotfix or take it back, or look what became of those that are in force.

    :raises BadInput: nothing was changed, or all of it was and comes back with ``state: reverted``.
    """
    store, state = store_of(request.path), request.state
    state_dir = store.state_dir(request.lock)
    try:
        if state == CHECKED:
            return _checked(store, request, state_dir, check_mode)
        changes, content_sum, check, name = _given(request)
        known = hotfix_ledger.read(state_dir, name)
        if state == REVERTED and not known.get(DATABASE):
            if request.optional:
                return {**_nothing(name), "found": False}
            every = [n for n, about in hotfix_ledger.every(state_dir).items() if about.get(DATABASE)]
            raise BadInput(f"no hotfix of the database is called {name}", f"there are: {', '.join(every) or 'none'}")
        if state == APPLIED and known and not known.get(DATABASE):
            raise BadInput(f"a hotfix called {name} is there already, and is another one", "set hotfix_name")
        limits, found = _limits(request), _source(store, request, known.get(DATABASE) or {})
        folder = _folder(store, request.migration_app) if state == APPLIED else ("", ())
        notes, untried = _on_staging(request.staging, known, name, content_sum) if state == APPLIED else ([], "")
        if check_mode:
            with found.reached(False) as source:
                ledger = _ledger(state_dir, name, source)
                done = _done(request, source, limits, ledger, changes, content_sum, check, True)
                return _result(ledger, done, state, changes, folder, True, notes)
        with (
            working(request.lock, state_dir, f"hotfix_database of {store.root}") as fence,
            found.reached() as source,
        ):
            with fence.act(f"{state} hotfix {name} in {_place(source)}"):
                ledger = _ledger(state_dir, name, source)
                ledger.untried = untried
                done = _done(request, source, limits, ledger, changes, content_sum, check, False)
                result = _result(ledger, done, state, changes, folder, False, notes)
            return fence.reported(result)
    except EngineFailed as error:
        raise BadInput(str(error), "docker ps -a shows the containers; then run the same command again") from error


def _done(
    request: Request,
    source: Source,
    limits: Limits,
    ledger: Ledger,
    changes: Sequence[Change],
    content_sum: str,
    check: str,
    dry: bool,
) -> Outcome:
    refuse_other_host_at(source.engine, source.project, source.server, request.take_over_from)
    if request.state == REVERTED:
        return revert(source.server, limits, ledger, dry)
    return apply(source.server, limits, ledger, changes, content_sum, check, dry)


def _place(source: Source) -> str:
    return f"{source.server.database} of {source.service}"


def _ledger(state_dir: str, name: str, source: Source) -> Ledger:
    # By these it is found again; one that is elsewhere is found by the app's settings as it was then.
    by = {"service": "" if source.is_external else source.service, "database": source.server.database}
    return Ledger(state_dir, name, _place(source), by)


def _source(store: Store, request: Request, known: Mapping[str, Any]) -> Source:
    """The database that the release that serves works with.

    :param known: what the ledger has, which holds where nothing else is asked for.
    """
    release = store.current()
    if not release:
        raise BadInput(f"there is no release in {store.root} whose database could be changed",
                       "ansible-playbook evenkeel.deploy.update -e update_version=VERSION brings the app to a release first")  # fmt: skip
    by = known.get("by") or {}
    found = source_of(
        Wanted(
            ProjectOptions(store.path_of(release)), request.external, request.service or str(by.get("service") or ""),
            request.service_options, request.database or str(by.get("database") or ""), request.django_service,
            timeout=request.timeout,
        )
    )  # fmt: skip
    if found is None:
        raise BadInput("the project has no database service", "set app_database_service")
    return found


def _on_staging(
    options: hotfix_staging.StagingOptions, known: Mapping[str, Any], name: str, content_sum: str
) -> tuple[list[str], str]:
    """Refuse what staging has not tried; notes, and why it was let through all the same."""
    sums = {DATABASE: content_sum}
    if known.get("given_sums") == sums and not known.get("reverted"):
        return [], str(known.get("untried") or "")
    return hotfix_staging.refuse_untried(options, name, {DATABASE: [DATABASE]}, staging.Content(sums=sums))


def _limits(request: Request) -> Limits:
    limits = Limits(request.lock_timeout, request.statement_timeout, request.retries, request.timeout)
    if limits.lock < 0.001 or limits.statement < 0.001 or limits.retries < 0:
        raise BadInput("lock_timeout and statement_timeout are seconds of more than 0, retries is 0 or more",
                       "a lock that is waited for without an end stops everybody behind it")  # fmt: skip
    return limits


def _given(request: Request) -> tuple[list[Change], str, str, str]:
    """The statements, what they and their check are known by, the check, and the hotfix's name.

    :raises BadInput: a statement that is none of a hotfix, a name that cannot be.
    """
    name = request.name
    changes: list[Change] = []
    content_sum = check = ""
    if request.state == APPLIED:
        text = "".join(f"{_text(entry)}\n;\n" for entry in request.files)
        if not text:
            raise BadInput("no file is given", "set hotfix_database to a file with SQL")
        try:
            changes = changes_of(text)
            check = checked_query(request.check) if request.check else ""
        except Refused as error:
            raise BadInput(str(error), error.advice) from error
        content_sum = hashlib.sha256("\0".join(c.text for c in changes).encode()).hexdigest()
        name = name or f"database-{content_sum[:8]}"
    problem = hotfix.problem_with_name(name)
    if problem:
        raise BadInput(problem, "set hotfix_name")
    return changes, content_sum, check, name


def _text(entry: Mapping[str, Any]) -> str:
    try:
        return content_of(entry).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{entry['path']} is no text in UTF-8", "write it in UTF-8") from error


def _nothing(name: str) -> dict[str, Any]:
    return {
        "changed": False, "found": True, "name": name, "kind": DATABASE, "objects": [], "notes": [], "next": [], "migration": "",
        "migration_path": "", "migration_file": "", "msg": f"hotfix {name}: nothing to change", "diff": {"before": "", "after": ""},
    }  # fmt: skip


def _result(
    ledger: Ledger,
    done: Outcome,
    state: str,
    changes: Sequence[Change],
    folder: tuple[str, Sequence[str]],
    foreseen: bool,
    notes: Sequence[str],
) -> dict[str, Any]:
    """What the module returns.

    :param folder: where migrations of the app are, and which.
    """
    result = {**_nothing(ledger.name), "changed": done.changed, "notes": [*notes, *done.notes]}
    result["objects"] = objects.differing(done.before, done.after)
    if done.changed:
        result["diff"] = {
            "before": objects.text(done.after, done.before), "after": objects.text(done.before, done.after)
        }  # fmt: skip
    if state == APPLIED and foreseen and not done.after:
        result["objects"] = [str(n) for n in all_named(changes)] if done.changed else []
        was = "".join(f"-- {k}\n{t.definition}\n" for k, t in done.before.items())
        result["diff"] = {"before": was, "after": "".join(f"{c.text};\n" for c in changes)}
    if done.changed and state == APPLIED and not foreseen:
        result["next"] = hotfix_ledger.if_wrong(ledger.name)
    if done.changed:
        verb = f"would be {state}" if foreseen else state
        result["msg"] = f"database hotfix {ledger.name} {verb}: {', '.join(result['objects'])}"
    if state == APPLIED and not foreseen and done.after != done.before:
        made = migration.migration_of(ledger.name, done.before, done.after, *folder)
        path = hotfix_ledger.path_of(ledger.state_dir, ledger.name, _MIGRATION)
        write_private(path, made.text)
        result.update(migration=made.text, migration_path=made.path, migration_file=path)
        result["notes"].append(
            f"a migration for the repository is {path} on the server, to be put there as {made.path}"
        )
    return result


def _folder(store: Store, app: str) -> tuple[str, Sequence[str]]:
    """Where migrations of the app are in the repository, empty where nobody can tell, and which are there.

    :param app: that is named, empty where none is.
    :raises BadInput: it has none.
    """
    folders = _folders(store.path_of(store.current()))
    folder = migration.folder_of(folders, app)
    if app and not folder:
        known = ", ".join(sorted(folders)) or "none"
        raise BadInput(f"no app {app} with a folder of migrations is in the release; there are: {known}",
                       "set hotfix_database_app to the app that the migration belongs to")  # fmt: skip
    return folder, folders.get(folder, ())


def _folders(root: str) -> dict[str, list[str]]:
    """Folders of migrations in a tree, with the names of what is in each."""
    found = {}
    for at, below, files in os.walk(root):
        inside = os.path.relpath(at, root)
        below[:] = [b for b in below if not b.startswith(".") and b not in _PASSED_OVER and inside.count("/") < _DEEP]
        if os.path.basename(at) == "migrations" and "__init__.py" in files:
            found[inside] = [f[:-3] for f in files if f.endswith(".py")]
    return found


def _checked(store: Store, request: Request, state_dir: str, check_mode: bool) -> dict[str, Any]:
    """Look what became of the hotfixes that are in force: whether a migration has brought them, or replaced them."""
    result = _nothing("")
    every = hotfix_ledger.of_databases(state_dir)
    if not every:
        return {**result, "msg": "no hotfix of a database is in force"}
    notes: list[str] = []
    limits = _limits(request)
    for by in {str(a[DATABASE]["place"]): a[DATABASE] for a in every.values()}.values():
        with _source(store, request, by).reached(False) as source:
            report = asked(source.server, database_catalogue.MIGRATIONS, limits.statement)
            recorded = [str(t["migration"][1]) for t in report if "migration" in t]
            for name in sorted(n for n, a in every.items() if a[DATABASE]["place"] == _place(source)):
                ledger = _ledger(state_dir, name, source)
                word, said = _became(ledger, looked_at(source.server, limits, ledger.named), recorded)
                result["objects"] += sorted(ledger.known.get("sums") or {})
                notes += said
                if word and not check_mode:
                    what = f"hotfix_database of {store.root}"
                    with working(request.lock, state_dir, what) as fence, fence.act(f"hotfix {name} is {word}"):
                        ledger.end(word)
    return {**result, "notes": notes, "msg": "; ".join(notes) or "the hotfixes of the database are in force"}


def _became(ledger: Ledger, now: Mapping[str, Thing], recorded: Sequence[str]) -> tuple[str, list[str]]:
    """``merged`` or ``replaced``, empty where it is in force as before; and what is worth knowing."""
    before, after = ledger.things("before"), ledger.things("after")
    # What a later hotfix lies on is told of that one.
    keys = [k for k in objects.differing(before, after) if not ledger.later_on([k])[0]]
    if not keys:
        return "", []
    slug = migration.slug_of(ledger.name)
    brought = any(n.endswith(f"_{slug}") for n in recorded)
    others = [k for k in keys if not objects.same(now.get(k), after.get(k))]
    if not others:
        if brought:
            return "merged", [f"the hotfix {ledger.name} of the database is in the migrations now"]
        path = hotfix_ledger.path_of(ledger.state_dir, ledger.name, _MIGRATION)
        return "", [f"the hotfix {ledger.name} is in the database and in no migration yet: {path} is one"]
    lost = [k for k in others if k in after and k not in now]
    words = [f"{', '.join(lost)} of the hotfix {ledger.name} IS GONE from the database"] if lost else []
    left = [k for k in others if k not in lost]
    if left:
        was = [k for k in left if objects.same(now.get(k), before.get(k))]
        words += [f"{', '.join(was)} is again as before the hotfix {ledger.name}: IT IS LOST"] if was else []
        other = [k for k in left if k not in was]
        words += (
            [f"{', '.join(other)} of the hotfix {ledger.name} is another one since (a migration, or by hand)"]
            if other
            else []
        )
    back = hotfix_ledger.path_of(ledger.state_dir, ledger.name, "patch")
    return "replaced", [f"{w}; what it was is kept in {back}" for w in words]
