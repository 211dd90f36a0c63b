# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a small change a commit on what runs, and a release of it that is ready to be rolled out."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...base.errors import BadInput
from ...base.host.files import KEY, read_json
from ...django.host.oneoff import end_those_of
from ...engine.definition import GENERATED
from ...engine.host.engine import EngineFailed
from ...engine.host.project import connect
from ...engine.options import ProjectOptions
from ...engine.programs import WEB
from ...git.changes import Change
from ...git.host.git import Git, GitFailed
from ...operation.host.journal import Fence, working
from ...operation.host.records import iso
from ...operation.host.single_call import OperationOptions
from ...operation.host.timeline import Steps
from ...operation.options import LockOptions
from ...releases import choice
from ...releases.host import project as releases_project
from ...releases.host.plain_folder import is_plain_folder
from ...releases.host.store import Store, store_of
from ...traffic.host.smoke_test import SmokeTestOptions
from .. import hotfix, staging
from ..hotfix import Home
from ..lost_hotfixes import applied
from . import (
    browser_caching,
    capture,
    edits,
    environment,
    git_hotfixes,
    images,
    in_place_record,
    ledger,
    revert,
    translations,
    view,
)
from . import source as hotfix_source
from . import staging as hotfix_staging
from .check import checked
from .frontend import Frontends, carry_records
from .given_files import GivenFiles
from .source import Source, SourceOptions
from .staging import StagingOptions
from .thin_image import Place
from .view import Serving

MADE, SERVED = "made", "served"


@dataclass(frozen=True)
class Request:
    """A small change of what runs, and what becomes of it.

    :ivar path: ``app_root``, absolute.
    :ivar django_service: whose Django looks at the code.
    :ivar operation: the operation that this is, where it is one of its own.
    :ivar capture: make what was edited by hand in containers the hotfix.
    :ivar revert: the hotfix that is taken back; with ``revert_files`` only these files of it.
    :ivar env: variables of the app's environment file: ``name``, and ``value`` in base64.
    :ivar max_chain: how many hotfixes may lie on one another; 0 is no limit.
    :ivar drop_edits: replace containers in which somebody edited files by hand.
    :ivar state: ``made`` makes a release, ``served`` makes it the current one, which ``release`` names.
    :ivar keep: how many releases are left when another one is the current one; 0 leaves all.
    :ivar push: tell the repository of it.
    :ivar in_place: it is not for a release but for containers that run.
    """

    path: str
    django_service: str
    given: GivenFiles
    source: SourceOptions
    staging: StagingOptions
    lock: LockOptions
    smoke_test: SmokeTestOptions = field(default_factory=SmokeTestOptions)
    operation: OperationOptions | None = None
    capture: bool = False
    revert: str = ""
    revert_files: tuple[str, ...] = ()
    env: tuple[Mapping[str, Any], ...] = ()
    name: str = ""
    service_options: Mapping[str, Any] = field(default_factory=dict)
    max_chain: int = 5
    drop_edits: bool = False
    state: str = MADE
    release: str = ""
    keep: int = 0
    push: bool = True
    in_place: bool = False


@dataclass
class Found:
    """What was found out before anything is done."""

    here: Serving
    git: Git
    source: Source
    commit: str
    changes: list[Change] = field(default_factory=list)
    places: dict[str, dict[str, Place]] = field(default_factory=dict)
    homes: dict[str, list[Home]] = field(default_factory=dict)
    verdict: hotfix.Verdict = field(default_factory=lambda: hotfix.Verdict({}))
    notes: list[str] = field(default_factory=list)
    env: environment.Change = field(default_factory=environment.Change)
    jobs: list[str] = field(default_factory=list)
    catalogues: list[str] = field(default_factory=list)
    trees: dict[str, str] = field(default_factory=dict)
    public: list[str] = field(default_factory=list)
    untried: str = ""
    _text: str = ""

    @property
    def is_there(self) -> bool:
        """Whether what serves has all of it."""
        return self.commit == self.here.revision and not self.env.names

    def text(self) -> str:
        """The change as people read it."""
        if not self._text:
            binary = [c.path for c in self.changes if c.added < 0]
            self._text = git_hotfixes.patch_between(self.git, self.here.revision, self.commit, binary)
        return self._text

    def spare(self, services: Sequence[str]) -> None:
        """Leave these services as they are, whatever their images have of it."""
        self.homes = {p: [h for h in several if h.service not in services] for p, several in self.homes.items()}

    @property
    def affected(self) -> set[str]:
        """Names of the images that something is put over."""
        homes = (h for several in self.homes.values() for h in several)
        return {self.here.image_of(h.service) for h in homes if h.where == hotfix.IMAGE}


def source_of(request: Request) -> Source:
    """What the hotfix was given as.

    :raises BadInput: nothing or too much, or what cannot be.
    """
    return hotfix_source.source_of(
        request.source,
        request.given,
        request.name,
        request.capture,
        request.revert,
        request.revert_files,
        request.env,
    )


def patch(request: Request, check_mode: bool) -> dict[str, Any]:
    """Make the release, or say what there is to make.

    :raises BadInput: it is no hotfix, or would not work; nothing that serves was touched.
    """
    source, store = source_of(request), store_of(request.path, request.source.owner, request.source.shared)
    if is_plain_folder(request.source.repo):
        raise BadInput(
            "app_repo is a plain folder without history, so nobody could say what a hotfix is based on",
            "change the folder, and update",
        )
    state_dir = store.state_dir(request.lock)
    request = replace(request, lock=replace(request.lock, state_dir=state_dir))
    git, steps = Git(store.layout.mirror, store.owner), Steps()
    try:
        if check_mode:
            with git_hotfixes.private_to(git) as folder:
                found = looked(request, store, git_hotfixes.TriedGit(git, folder), source, steps, False)
                ask_staging(request.staging, found)
                found.notes += browser_caching.notes(found.here, found.public)
                _look_for_edits(request, found, steps)
                return _result(request, found, "", not found.is_there, steps)
        with working(request.lock, state_dir, f"hotfix_patch of {store.root}") as fence:
            found = looked(request, store, git, source, steps, True)
            if found.is_there:
                return fence.reported(_result(request, found, found.here.release, False, steps))
            ask_staging(request.staging, found)
            return fence.reported(_made(request, found, fence, steps))
    except GitFailed as error:
        raise BadInput(str(error), error.advice) from error
    except EngineFailed as error:
        raise BadInput(str(error), "docker ps -a shows the containers; then run the same command again") from error


def looked(request: Request, store: Store, git: Git, source: Source, steps: Steps, fetch: bool) -> Found:
    """What the hotfix is on what runs, with its commit.

    :param fetch: whether the mirror may be brought up to date.
    :raises BadInput: it is no hotfix.
    """
    options, state_dir = request.source, request.lock.state_dir
    with steps("look"):
        here = view.serving(store, connect(store.root), request.service_options)
    for name in request.service_options:
        if name not in here.kinds:
            raise BadInput(f"there is no service {name} in the project; it has {', '.join(sorted(here.kinds))}")
    if source.by_hand:
        view.refuse_unless_good(here)
        with steps("capture"):
            source = capture.source(here, state_dir, request.name, options.shared)
    with steps("commit"):
        base, chain = here.revision, applied(here.manifest.get("hotfixes"))
        values = environment.values_of(request.env)
        if values and not options.env_files:
            raise BadInput("the app has no environment file", "set app_env_file")
        env = environment.planned(store, here.release, (options.env_files or ("",))[0], values)
        if source.is_back:
            source, commit, undone = revert.commit_of(git, here, state_dir, source, options.reason)
            env = undone if undone.names else env
        else:
            commit = hotfix_source.commit_of(git, options.repo, base, source, options.reason, fetch)
        if source.environment and not request.name:
            # It is made of the names of variables alone, which may change twice.
            source = replace(source, name=hotfix.free_name(source.name, [h.name for h in chain]))
        found = Found(here, git, source, commit, env=env)
        if source.by_hand and not source.files:
            found.notes += capture.kept(state_dir, here)
        if found.is_there:
            return found
        view.refuse_unless_good(here)
        _refuse_other_inputs(request, here)
        ledger.refuse_taken(state_dir, source.name, chain)
        if commit == base:
            return found
        found.changes = hotfix_source.looked_at(git, base, commit, source, options.shared)
        # Only where a new file goes is told by its neighbours.
        known = git_hotfixes.paths_of(git, base) if any(c.status == "A" for c in found.changes) else []
    with steps("find"):
        found.places = view.located(here, known, found.changes)
        fronts = Frontends(here, view.homes(here, found.places, found.changes), found.changes, source.ref)
        found.homes = fronts.homes
        found.catalogues, uncompiled = translations.planned(
            git, commit, found.changes, found.homes, request.in_place, source.ref or "BRANCH"
        )
        # The way back is open, however long it is.
        allowed = (0, 0, 0) if source.is_back else (options.max_files, options.max_lines, request.max_chain)
        found.verdict = hotfix.judge(
            found.changes, found.homes, hotfix.Limits(*allowed), sum(h.base != h.commit for h in chain), not (source.ref or source.is_back),
            list(options.compose_files), source.ref or "BRANCH", options.force, fronts.sources,
            {**fronts.unbuildable, **uncompiled}, request.django_service,
        )  # fmt: skip
        found.spare(found.verdict.spared)
    if found.verdict.refusals:
        raise BadInput(
            f"{source.text} is no hotfix:\n{found.verdict.text()}",
            f"{found.verdict.refusals[0].command}, with a branch that has the change",
        )
    found.jobs = fronts.due(here, state_dir, found.verdict.jobs)
    found.notes += fronts.notes
    return found


def ask_staging(options: StagingOptions, found: Found) -> None:
    """Refuse what the staging hosts have not tried, by ``BadInput``; what they said becomes notes."""
    if found.is_there:
        return
    found.public = browser_caching.of_kinds(found.here, _kinds(found))
    found.trees = git_hotfixes.trees(found.git, found.here.revision, found.commit)
    content = staging.Content(found.trees["before"], found.trees["after"], env=found.env.names)
    notes, found.untried = hotfix_staging.refuse_untried(options, found.source.name, _kinds(found), content)
    found.notes += notes


def _refuse_other_inputs(request: Request, here: Serving) -> None:
    """Refuse to bring along what somebody changed beside the tree."""
    if not os.path.exists(os.path.join(request.lock.state_dir, KEY)):
        return
    if _inputs(request, here.store) != str(here.manifest.get("inputs") or ""):
        raise BadInput(
            "the server's own files (app_env_file, app_shared), or the names of the Compose files, are other ones than those "
            "the running release was made with, and would come along",
            f"bring them in first: ansible-playbook evenkeel.deploy.update -e update_version={here.revision[:12]}",
        )


def _inputs(request: Request, store: Store, env: environment.Change | None = None) -> str:
    shared, files = list(request.source.shared), list(request.source.compose_files)
    instead = {env.path: env.after} if env and env.names else {}
    return store.inputs_of(request.lock.state_dir, shared, {"files": files}, instead)


def _look_for_edits(request: Request, found: Found, steps: Steps) -> None:
    """Refuse to take away with a container what somebody changed in it."""
    with steps("hand edits"):
        services, captured = set(found.verdict.services), found.source.captured
        in_place = in_place_record.in_force(found.here.store, request.lock.state_dir)
        found.notes += edits.refused(
            found.here, services, captured, request.drop_edits, in_place, (found.git, found.commit)
        )


def _made(request: Request, found: Found, fence: Fence, steps: Steps) -> dict[str, Any]:
    here, store, commit = found.here, found.here.store, found.commit
    inputs = _inputs(request, store, found.env)
    there = [r for r in store.all() if r.state == choice.PREPARING or environment.is_still_own(store, r.id, found.env)]
    release = choice.release_for(commit, inputs, there, here.release)
    fresh = not release
    made: list[str] = []
    # The engine is asked for hand edits while git, Compose and Django have their time.
    beside = concurrent.futures.ThreadPoolExecutor(1)
    looking = beside.submit(_look_for_edits, request, found, steps)
    try:
        if fresh:
            release = _exported(request, found, inputs, fence, steps)
        if found.catalogues:
            with steps("translations"), fence.act(f"compile translations of {release}"):
                found.notes += translations.compile_in(
                    request.source,
                    request.django_service,
                    here,
                    store.path_of(release),
                    found.catalogues,
                    found.homes,
                    found.places,
                )
        if store.manifest(release).get("state") == choice.PREPARING and found.env.names:
            with fence.act(f"write {found.env.path} of {release}"):
                environment.put_in(store, release, found.env)
        with steps("resolve"):
            _resolve(request, found, release, fence)
        project = read_json(os.path.join(store.path_of(release), GENERATED))
        with steps("images"):
            made = images.make(found, project, store.path_of(release), fence)
        # Static files are seen by the Django that collects them, before anything is replaced as well.
        if not hotfix.static_alone(_kinds(found)):
            with steps("check"):
                found.notes += checked(
                    request.source,
                    request.django_service,
                    here,
                    found.homes,
                    project,
                    store.path_of(release),
                    bool(found.env.names),
                )
        looking.result()
        with fence.act(f"remember the hotfix {found.source.name}"):
            _remember(request, found, release)
            carry_records(here.path, store.path_of(release), found.jobs)
            store.note(release, state=_state(store, release), hotfix=_about(request, found))
            # Layers below the new images: whoever prunes names takes these, and not the images themselves.
            store.note(here.release, image_ids=view.built_images(here))
        if request.lock.lock_token:
            _write_down_what_serves(fence, found, release)
    except BaseException:
        if release and (fresh or store.manifest(release).get("state") == choice.PREPARING):
            _take_back(found, release, made)
        raise
    finally:
        beside.shutdown()
    return _result(request, found, release, True, steps)


def _exported(request: Request, found: Found, inputs: str, fence: Fence, steps: Steps) -> str:
    """A release with the tree of the hotfix: that of the running revision could be exported, and plain files differ from it."""
    here, store, commit = found.here, found.here.store, found.commit
    chain = [*(here.manifest.get("hotfixes") or []), _entry(found)]
    with steps("export"), fence.act(f"export {commit[:12]}"):
        store.refuse_without_room(*found.git.size_of(commit))
        return store.create(
            lambda target: found.git.export(commit, target), commit, f"hotfix/{found.source.name}",
            list(request.source.shared), inputs, chain,
        )  # fmt: skip


def _state(store: Store, release: str) -> str:
    state = str(store.manifest(release).get("state"))
    return choice.BUILT if state == choice.PREPARING else state


def _entry(found: Found) -> dict[str, str]:
    entry = {"name": found.source.name, "base": found.here.revision, "commit": found.commit}
    return {**entry, **revert.mark(found.source)}


def _about(request: Request, found: Found) -> dict[str, Any]:
    about = {
        **_entry(found), "kinds": _kinds(found), "base_release": found.here.release, "forced": request.source.force,
        "files": [c.path for c in found.changes], "trees": found.trees,
    }  # fmt: skip
    return {**about, "env_file": found.env.path} if found.env.names else about


def _kinds(found: Found) -> dict[str, list[str]]:
    kinds = {k: list(v) for k, v in found.verdict.kinds.items()}
    return {**kinds, "env": list(found.env.names)} if found.env.names else kinds


def _resolve(request: Request, found: Found, release: str, fence: Fence) -> None:
    """Generate the ``compose.yaml`` of the release, in which only what is changed has another image."""
    here, path = found.here, found.here.store.path_of(release)
    built = set(view.built_images(here))
    spared = [s for s in found.verdict.spared if here.image_of(s) in built]
    kept = {s: here.image_of(s) for s in here.kinds if s in spared or here.image_of(s) in built - found.affected}
    source = request.source
    asked = releases_project.Request(
        ProjectOptions(path, tuple(source.compose_files), tuple(source.env_files), project_name=here.name),
        LockOptions(request.lock.state_dir),
        found.commit,
        mounts_dir=here.store.layout.mounts,
        service_options=request.service_options,
        live_dir=here.store.layout.proxy,
        data_dir=here.store.layout.shared,
        serving_src=here.path,
        kept_images=kept,
    )
    releases_project.write_generated(asked, releases_project.read_sources(asked.project), fence)


def _take_back(found: Found, release: str, made: Sequence[str]) -> None:
    """Leave nothing of a hotfix that was refused."""
    with contextlib.suppress(EngineFailed):
        end_those_of(made, found.here.engine, found.here.name)
    for name in made:
        with contextlib.suppress(EngineFailed):
            found.here.engine.untag(name)
    path = found.here.store.path_of(release)
    aside = os.path.join(found.here.store.folder, f".removing-{release}")
    with contextlib.suppress(OSError):
        os.rename(path, aside)
        shutil.rmtree(aside)


def _remember(request: Request, found: Found, release: str) -> None:
    if found.commit != found.here.revision:
        found.git.inside("update-ref", f"{git_hotfixes.REFS}{found.source.name}", found.commit)
    known = ledger.read(request.lock.state_dir, found.source.name)
    same = known.get("commit") == found.commit
    about = {
        **_about(request, found), "release": release, "given": found.source.text,
        "made": known.get("made") if same else iso(time.time()), "captured": found.source.by_hand,
        "untried": found.untried, "public_paths": found.public,
    }  # fmt: skip
    ledger.write(request.lock.state_dir, found.source.name, about, found.text())


def _write_down_what_serves(fence: Fence, found: Found, release: str) -> None:
    """For the way back: as role update does it before anything is replaced."""
    here = found.here
    by_service = {s: [here.images[here.image_of(s)]] for s in found.verdict.services if here.images[here.image_of(s)]}
    fence.keeper.note(
        fence.run, revision=found.commit, release=release,
        before={"release": here.release, "revision": here.revision, "project_src": here.path, "images": by_service},
        go_back="ansible-playbook evenkeel.deploy.rollback",
    )  # fmt: skip


def _result(request: Request, found: Found, release: str, changed: bool, steps: Steps) -> dict[str, Any]:
    here, store = found.here, found.here.store
    manifest = store.manifest(release) if release else {}
    kinds, name = _kinds(found), found.source.name
    what = "; ".join(f"{kind}: {', '.join(paths)}" for kind, paths in kinds.items())
    msg = f"the hotfix {name} on {here.revision[:12]} is {what}" if changed else f"{found.source.text}: {_HAS_IT}"
    if changed and not release:
        ahead = {"would be replaced": found.verdict.services, "would be built": found.jobs}
        msg = "\n".join([msg, *(f"{verb}: {', '.join(names)}" for verb, names in ahead.items() if names)])
    text = found.text() if changed else ""
    web = [s for s in found.verdict.services if here.kinds[s] == WEB]
    options = hotfix.options_of_roll(kinds, web, here.project["services"], request.service_options)
    # Who keeps copies may be told again of what is there already.
    public = found.public or ledger.read(store.state_dir(request.lock), name).get("public_paths") or []
    then = []
    if changed and found.changes:
        then.append(f"merge it ({found.commit[:10]}): an update to a version that lacks it is refused")
    if changed:
        then.append(f"if it was wrong: ansible-playbook evenkeel.deploy.rollback goes back to {here.revision[:12]}")
    return {
        "public_paths": [str(p) for p in public], "next": then,
        "changed": changed, "name": name, "release": release, "release_path": store.path_of(release) if release else "",
        "release_state": manifest.get("state", ""), "revision": found.commit, "exists": bool(manifest),
        "current": here.release, "current_revision": here.revision, "kinds": kinds, "services": list(found.verdict.services),
        "service_options": options, "jobs": found.jobs, "base": here.revision if changed else "", "files": [c.path for c in found.changes],
        "notes": [*found.verdict.notes, *found.notes], "timeline": steps.timeline, "msg": msg, "diff": {"prepared": text},
    }  # fmt: skip


_HAS_IT = "the running release has it already"
