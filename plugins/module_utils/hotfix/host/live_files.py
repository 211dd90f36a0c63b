# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes files of a volume or folder that is served as it is, or has them come back."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ...base.errors import BadInput
from ...build import asset_names
from ...build.builds import LIVE
from ...build.inside import publish, published
from ...drift.drift import is_below
from ...engine.host import interpreter
from ...engine.host.app_script import answer_in, as_text
from ...engine.host.compose import Compose, ComposeFailed
from ...engine.host.engine import EngineFailed
from ...engine.host.one_offs import ONE_OFF, sweep
from ...engine.host.project import connect, refuse_without_django
from ...operation.host.journal import working
from ...operation.host.records import iso
from ...operation.host.single_call import OperationOptions, single_call
from ...operation.options import LockOptions
from ...releases.host.store import Store, store_of
from ...traffic.host import smoke_test
from ...traffic.host.smoke_test import SmokeTestOptions
from .. import hotfix, live_files, staging
from ..inside import live_files as hotfix_live_files
from ..live_files import Live, NoLiveFiles
from ..lost_hotfixes import updated_to
from . import browser_caching, ledger, view
from . import staging as hotfix_staging
from .given_files import GivenFiles
from .staging import StagingOptions
from .view import Serving

APPLIED, REVERTED, CHECKED = "applied", "reverted", "checked"
_LIVE = "live"


class _NotDone(BadInput):
    """The script ended otherwise; ``begun``: how far the hotfix is there, empty where it is not."""

    def __init__(self, what: str, advice: str, begun: str) -> None:
        super().__init__(what, advice)
        self.begun = begun

    def message(self) -> str:
        """As that of any refusal, but that files may have been replaced."""
        report = super().message()
        if self.begun in ("", hotfix_live_files.APPLIED):
            return report
        return report.replace(
            "Now: nothing was touched, what was serving still is",
            "Now: some of the files may be new already; what was there is kept",
        )


class _TakenBack(BadInput):
    """The site does not serve as it should since; ``now`` is what the files are."""

    def __init__(self, what: str, now: str) -> None:
        super().__init__(what)
        self.now = now

    def message(self) -> str:
        """What a user reads."""
        what = f"What: it does not serve as it should ({self})\nNow: {self.now}\n"
        return f"{what}Next: see docker compose logs; then run the same command again"


@dataclass(frozen=True)
class Request:
    """What becomes of files that are served as they are.

    :ivar path: ``app_root``, absolute.
    :ivar django_service: the service whose image has the Django project.
    :ivar operation: the operation that this is, where it is one of its own.
    :ivar kind: ``media`` (uploads) or ``frontend`` (built files).
    :ivar target: where their folder is mounted, in ``django_service`` or, of built files, in the proxy; empty: it is looked for.
    :ivar file_owner: such as ``1000:1000``, ``mode`` such as ``0644``; empty: those of the file before, or of the folder.
    :ivar state: ``applied``, ``reverted`` for the one that is called ``name``, or ``checked``: whether uploads are there still.
    :ivar timeout: seconds for the container that does it.
    :ivar owner: user to whom the app belongs; empty for whoever runs this.
    """

    path: str
    django_service: str
    given: GivenFiles
    staging: StagingOptions
    lock: LockOptions
    smoke_test: SmokeTestOptions = field(default_factory=SmokeTestOptions)
    operation: OperationOptions | None = None
    kind: str = live_files.MEDIA
    target: str = ""
    file_owner: str = ""
    mode: str = ""
    name: str = ""
    state: str = APPLIED
    service_options: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 300.0
    owner: str = ""


def change(request: Request, check_mode: bool) -> dict[str, Any]:
    """Put the files there, take them back, or look whether they are there.

    :raises BadInput: nothing was replaced, or what was is kept and comes back with ``state: reverted``.
    """
    store = store_of(request.path, request.owner)
    wanted = replace(request.lock, state_dir=store.wanted_state_dir(request.lock))

    def changed(lock: LockOptions, check: bool) -> dict[str, Any]:
        return _change(replace(request, lock=lock), check)

    return single_call(request.operation, wanted, check_mode, changed, "hotfix_live", store.former_state_dir)


def _change(request: Request, check_mode: bool) -> dict[str, Any]:
    store, state, state_dir = store_of(request.path, request.owner), request.state, request.lock.state_dir
    if state == CHECKED:
        return _checked(store, request, check_mode)
    given, name = _given(request)
    asked = smoke_test.questions(request.smoke_test.prove)
    known = ledger.read(state_dir, name)
    if state == REVERTED and not known.get(_LIVE):
        text = f"no hotfix of uploads, built files or the database is called {name}"
        if known.get("release"):
            back = "ansible-playbook evenkeel.deploy.rollback goes back to the release before"
            raise BadInput(f"{text}; it is of release {known['release']}", back)
        every = [n for n, about in ledger.every(state_dir).items() if about.get(_LIVE) or about.get("database")]
        raise BadInput(text, f"there are: {', '.join(every) or 'none'}")
    if state == APPLIED and known and not known.get(_LIVE):
        raise BadInput(f"a hotfix called {name} is there already, and is another one", "set hotfix_name")
    kind = str(known["kind"] if state == REVERTED else request.kind)
    target = str((known.get(_LIVE) or {}).get("target") or "") if state == REVERTED else request.target
    try:
        here = view.serving(store, connect(store.root), request.service_options)
        try:
            live = live_files.found(here.project, here.kinds, kind, request.django_service, target)
        except NoLiveFiles as error:
            raise BadInput(str(error), f"set hotfix_{kind}_path to where it is mounted") from error
        made = [os.path.realpath(p) for p in (store.layout.mounts, store.layout.releases, store.layout.proxy)]
        if live.source.startswith("/") and is_below(os.path.realpath(live.source), made):
            raise BadInput(
                f"{live.source}, which {live.service} mounts, is made of the repository's files with each release",
                "name them by their paths in the repository (hotfix_files), or update",
            )
        if live.source.startswith("/") and not os.path.isdir(live.source):
            raise BadInput(f"{live.source}, which {live.service} mounts, is no folder on this host")
        notes, untried = _on_staging(request.staging, known, kind, name, given) if state == APPLIED else ([], "")
        if check_mode:
            answer = _asked(here, request, live, state, kind, name, given, True)
            public = _public(here, live, kind, answer, known)
            notes = [*notes, *browser_caching.notes(here, public)]
            return _result(answer, kind, name, state, True, notes, public)
        with working(request.lock, state_dir, f"hotfix_live of {store.root}") as fence:
            with fence.act(f"{state} hotfix {name} in {live.source}"):
                sweep(here.engine, f"{here.name}-hotfix")
                answer = _acted(state_dir, known, here, request, live, state, kind, name, given, untried)
            # One that was killed before the site was asked is asked about by the same call.
            due = answer["changed"] or (state == APPLIED and known and not known.get("proven"))
            problem = smoke_test.wrong(request.smoke_test.health_url, asked, project=here.name) if due else ""
            if problem:
                if state == REVERTED:
                    raise _TakenBack(problem, "the files are those of before the hotfix")
                with fence.act(f"take back hotfix {name} in {live.source}"):
                    known = ledger.read(state_dir, name)
                    _acted(state_dir, known, here, request, live, REVERTED, kind, name, {}, "")
                raise _TakenBack(problem, "the files are again those of before")
            if due and state == APPLIED:
                ledger.add(state_dir, name, {"proven": iso(time.time())})
            public = _public(here, live, kind, answer, known)
            return fence.reported(_result(answer, kind, name, state, False, notes, public))
    except EngineFailed as error:
        raise BadInput(str(error), "docker ps -a shows the containers; then run the same command again") from error


def _checked(store: Store, request: Request, check_mode: bool) -> dict[str, Any]:
    """Look whether the uploads of hotfixes are there still; what is not is told once."""
    state_dir = request.lock.state_dir
    notes: list[str] = []
    result = {"changed": False, "name": "", "kind": live_files.MEDIA, "files": [], "notes": notes, "public_paths": []}
    every = ledger.of_uploads(state_dir)
    if not every:
        return {**result, "msg": "no hotfix of uploads is in force"}
    try:
        here = view.serving(store, connect(store.root), request.service_options)
        for live in {about[_LIVE]["source"]: Live(**about[_LIVE]) for about in every.values()}.values():
            mine = {name: about for name, about in every.items() if about[_LIVE]["source"] == live.source}
            if not (live.source.startswith("/") or live.source in (here.project.get("volumes") or {})):
                named = f"the hotfix{'es' if len(mine) > 1 else ''} {', '.join(mine)}"
                notes.append(f"the project has no volume {live.source} any more, in which {named} put files")
                continue
            sums = {name: about.get("sums") or {} for name, about in mine.items()}
            given = {"paths": sorted({path for several in sums.values() for path in several})}
            seen = _asked(here, request, live, CHECKED, live_files.MEDIA, "", given, True)["seen"]
            for name, lost in live_files.no_more(sums, seen).items():
                new = [word for path, word in lost.items() if path not in (mine[name].get("lost") or ())]
                notes += new
                if new and not check_mode:
                    what = f"hotfix_live of {store.root}"
                    with (
                        working(request.lock, state_dir, what) as fence,
                        fence.act(f"note what is lost of hotfix {name}"),
                    ):
                        ledger.add(state_dir, name, {"lost": sorted(lost)})
    except EngineFailed as error:
        raise BadInput(str(error), "docker ps -a shows the containers; then run the same command again") from error
    return {**result, "msg": "; ".join(notes) or "what hotfixes have put among the uploads is there"}


def _sums(given: Mapping[str, Any]) -> dict[str, str]:
    return {path: hashlib.sha256(content.encode()).hexdigest() for path, content in given["files"].items()}


def _on_staging(
    options: StagingOptions, known: Mapping[str, Any], kind: str, name: str, given: Mapping[str, Any]
) -> tuple[list[str], str]:
    """Refuse what staging has not tried; notes, and why it was let through all the same."""
    sums = _sums(given)
    if known.get("given_sums") == sums and not known.get("reverted"):
        # It is here already, or was begun: the same call ends it.
        return [], str(known.get("untried") or "")
    return hotfix_staging.refuse_untried(options, name, {kind: list(sums)}, staging.Content(sums=sums))


def _acted(
    state_dir: str,
    known: Mapping[str, Any],
    here: Serving,
    request: Request,
    live: Live,
    state: str,
    kind: str,
    name: str,
    given: Mapping[str, Any],
    untried: str,
) -> Mapping[str, Any]:
    """Do it, and have it in the ledger before: who was killed in the middle goes back by its name."""
    if state == REVERTED:
        answer = _asked(here, request, live, state, kind, name, given, False)
        if answer["changed"] or not known.get("reverted"):
            ledger.add(state_dir, name, {"reverted": iso(time.time())})
        return answer
    # Taken back in between, it is another trial.
    made = ("" if known.get("reverted") else str(known.get("made") or "")) or iso(time.time())
    about = {
        "name": name, "kind": kind, "made": made, "reverted": "", "proven": "",
        "base": updated_to(here.manifest), _LIVE: asdict(live), "given_sums": _sums(given), "untried": untried,
    }  # fmt: skip
    if not known:
        _remember(state_dir, name, about, {})
    try:
        answer = _asked(here, request, live, state, kind, name, given, False)
    except _NotDone as error:
        if not (known or error.begun):
            ledger.forget(state_dir, name)
        raise
    sums = {e["path"]: {"before": e["before"], "after": e["after"]} for e in answer["entries"]}
    if sums:
        _remember(state_dir, name, {**about, "sums": sums}, sums)
    elif not known:
        ledger.forget(state_dir, name)
    return answer


def _given(request: Request) -> tuple[dict[str, Any], str]:
    """What the script is told, and the hotfix's name.

    :raises BadInput: a path, a name, an owner or a mode that cannot be.
    """
    name, state = request.name, request.state
    files: dict[str, str] = {}
    for entry in request.given.files if state == APPLIED else ():
        path = str(entry["path"])
        problem = hotfix.problem_with_path(path)
        if problem:
            raise BadInput(problem, "name the file by its path in the folder that is served")
        if path in files or entry.get("content") is None:
            raise BadInput(f"{path} is named twice, or without a content", "name each file once, with src")
        files[path] = str(entry["content"])
    owner, mode = request.file_owner, request.mode
    if state == APPLIED and not files:
        raise BadInput("no file is given", "set hotfix_media or hotfix_frontend")
    if owner and not re.fullmatch(r"\d{1,9}:\d{1,9}", owner):
        raise BadInput(f"file_owner {owner!r} is not written as 1000:1000", "numbers, as the container knows them")
    if mode and not re.fullmatch(r"0?[0-7]{3}", mode):
        raise BadInput(f"mode {mode!r} is not written as 0644", "three octal digits")
    if not name and state == APPLIED:
        total = "".join(f"{p}\0{hashlib.sha256(c.encode()).hexdigest()}" for p, c in sorted(files.items()))
        name = f"{request.kind}-{hashlib.sha256(total.encode()).hexdigest()[:8]}"
    problem = hotfix.problem_with_name(name)
    if problem:
        raise BadInput(problem, "set hotfix_name")
    numbers = [int(n) for n in owner.split(":")] if owner else None
    return {"files": files, "owner": numbers, "mode": mode or None}, name


def _asked(
    here: Serving,
    request: Request,
    live: Live,
    state: str,
    kind: str,
    name: str,
    given: Mapping[str, Any],
    dry: bool,
) -> Mapping[str, Any]:
    service = request.django_service
    refuse_without_django(here.kinds, service)
    project = live_files.container(here.project, here.images[here.image_of(service)], live)
    modules = [published, publish, asset_names, hotfix_live_files]
    script = as_text(modules, [state, LIVE, kind, name, dry])
    words = ["run", "--rm", "-T", "--no-deps", "--label", f"{ONE_OFF}={here.name}-hotfix"]
    words += interpreter.run_by(live_files.SERVICE, django=False)
    compose, unknown = Compose(here.path, project_name=here.name), "" if dry else hotfix_live_files.APPLYING
    try:
        printed = compose.run_by(project, *words, "-c", script, timeout=request.timeout, stdin=json.dumps(given))
    except ComposeFailed as error:
        raise _NotDone(f"the files could not be {state}: {error}", "run the same command again", unknown) from error
    answer = answer_in(printed)
    if answer is None or "error" in answer:
        said = (answer or {}).get("error") or (printed.strip().splitlines() or ["no output"])[-1]
        begun = str((answer or {}).get("begun", unknown))
        raise _NotDone(f"the files were not {state}: {said}", str((answer or {}).get("advice") or ""), begun)
    return answer


def _remember(state_dir: str, name: str, about: Mapping[str, Any], sums: Mapping[str, Any]) -> None:
    lines = [f"{path}: {one['before'] or 'nothing'} -> {one['after'] or 'nothing'}" for path, one in sums.items()]
    ledger.write(state_dir, name, about, "".join(f"{line}\n" for line in lines))


def _public(here: Serving, live: Live, kind: str, answer: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """Paths of the site that are other ones, also of a hotfix that was there before."""
    paths = [str(e["path"]) for e in answer["entries"]] or [str(p) for p in known.get("sums") or {}]
    return browser_caching.public(here, live, kind, paths)


def _result(
    answer: Mapping[str, Any],
    kind: str,
    name: str,
    state: str,
    foreseen: bool,
    notes: Sequence[str],
    public: Sequence[str],
) -> dict[str, Any]:
    paths = [str(e["path"]) for e in answer["entries"]]
    verb = f"would be {state}" if foreseen else state
    msg = (
        f"{kind} hotfix {name} {verb}: {', '.join(paths)}" if answer["changed"] else f"hotfix {name}: nothing to change"
    )
    before, after = ("".join(_line(e, k) for e in answer["entries"]) for k in ("before", "after"))
    diff = {"before": after, "after": before} if state == REVERTED else {"before": before, "after": after}
    applied = answer["changed"] and state == APPLIED and not foreseen
    return {
        "next": ledger.if_wrong(name) if applied else [],
        "changed": bool(answer["changed"]), "name": name, "kind": kind, "files": paths, "notes": [*answer["notes"], *notes],
        "public_paths": list(public), "msg": msg, "diff": diff if answer["changed"] else {"before": "", "after": ""},
    }  # fmt: skip


def _line(entry: Mapping[str, Any], when: str) -> str:
    """One file in a diff; a plan from before sizes were written down has none."""
    sizes = entry.get("bytes")
    size = f", {sizes[when == 'after']} bytes" if sizes and entry[when] else ""
    return f"{entry['path']} {entry[when] or 'nothing'}{size}\n"
