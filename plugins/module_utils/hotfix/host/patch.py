# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``hotfix_patch``: a small change becomes a commit on what runs, and a release that is ready to be rolled out."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...base.errors import BadInput
from ...base.host.files import KEY, read_json
from ...engine.definition import GENERATED
from ...engine.host.engine import EngineFailed
from ...engine.host.project import connect
from ...engine.options import ProjectOptions
from ...git.host.git import Git, GitFailed
from ...operation.host.journal import Fence, working
from ...operation.host.records import iso
from ...operation.host.timeline import Steps
from ...operation.options import LockOptions, lock_options
from ...releases import choice
from ...releases.host import project as releases_project
from ...releases.host.plain_folder import is_plain_folder
from ...releases.host.store import Store, store_of
from .. import hotfix, staging
from ..hotfix import Home
from ..lost_hotfixes import applied
from . import (
    browser_caching,
    capture,
    edits,
    environment,
    git_hotfixes,
    in_place_record,
    ledger,
    revert,
    thin_image,
    translations,
    view,
)
from . import source as hotfix_source
from . import staging as hotfix_staging
from .check import checked
from .frontend import Frontends, carry_records
from .source import Source
from .thin_image import Place
from .view import Serving


@dataclass
class Found:
    """What was found out before anything is done."""

    here: Serving
    git: Git
    source: Source
    commit: str
    changes: list[hotfix.Change] = field(default_factory=list)
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
            self._text = git_hotfixes.patch_between(self.git, self.here.revision, self.commit)
        return self._text

    @property
    def affected(self) -> set[str]:
        """Names of the images that something is put over."""
        homes = (h for several in self.homes.values() for h in several)
        return {self.here.image_of(h.service) for h in homes if h.where == hotfix.IMAGE}


def patch(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: it is no hotfix, or would not work; nothing that serves was touched.
    """
    source, store = (
        hotfix_source.source_of(params),
        store_of(str(params["path"]), str(params.get("owner") or ""), params.get("shared") or ()),
    )
    if is_plain_folder(str(params["repo"])):
        raise BadInput(
            "app_repo is a plain folder without history, so nobody could say what a hotfix is based on",
            "change the folder, and update",
        )
    state_dir = store.state_dir(lock_options(params))
    params = {**params, "state_dir": state_dir}
    git, steps = Git(os.path.join(store.root, "mirror.git"), store.owner), Steps()
    try:
        if check_mode:
            with git_hotfixes.private_to(git) as folder:
                found = looked(params, store, git_hotfixes.TriedGit(git, folder), source, steps, False)
                ask_staging(params, found)
                found.notes += browser_caching.notes(found.here, found.public)
                _look_for_edits(params, found, steps)
                return _result(params, found, "", not found.is_there, steps)
        with working(lock_options(params), state_dir, f"hotfix_patch of {store.root}") as fence:
            found = looked(params, store, git, source, steps, True)
            if found.is_there:
                return fence.told(_result(params, found, found.here.release, False, steps))
            ask_staging(params, found)
            return fence.told(_made(params, found, fence, steps))
    except GitFailed as error:
        raise BadInput(str(error), error.advice) from error
    except EngineFailed as error:
        raise BadInput(str(error), "docker ps -a shows the containers; then run the same command again") from error


def looked(params: Mapping[str, Any], store: Store, git: Git, source: Source, steps: Steps, fetch: bool) -> Found:
    with steps("look"):
        here = view.serving(store, connect(store.root), params.get("service_options") or {})
    for name in params.get("service_options") or {}:
        if name not in here.kinds:
            raise BadInput(f"there is no service {name} in the project; it has {', '.join(sorted(here.kinds))}")
    if source.by_hand:
        view.refuse_unless_good(here)
        with steps("capture"):
            source = capture.source(params, here)
    with steps("commit"):
        base = here.revision
        reason = str(params.get("reason") or "")
        if source.is_back:
            source, commit = revert.commit_of(git, here, str(params["state_dir"]), source, reason)
        else:
            commit = hotfix_source.commit_of(git, str(params["repo"]), base, source, reason, fetch)
        found = Found(here, git, source, commit)
        values = environment.values_of(params)
        if values and not params.get("env_files"):
            raise BadInput("the app has no environment file", "set app_env_file")
        found.env = environment.planned(store, here.release, str((params.get("env_files") or [""])[0]), values)
        if source.by_hand and not source.files:
            found.notes += capture.kept(str(params["state_dir"]), here)
        if found.is_there:
            return found
        view.refuse_unless_good(here)
        _refuse_other_inputs(params, here)
        chain = applied(here.manifest.get("hotfixes"))
        ledger.refuse_taken(str(params["state_dir"]), source.name, chain)
        if commit == base:
            return found
        shared = [str(s) for s in params.get("shared") or []]
        found.changes = hotfix_source.looked_at(git, base, commit, source, shared)
        # Only where a new file goes is told by its neighbours.
        known = git_hotfixes.paths_of(git, base) if any(c.status == "A" for c in found.changes) else []
    with steps("find"):
        found.places = view.located(here, known, found.changes)
        fronts = Frontends(here, view.homes(here, found.places, found.changes), found.changes, source.ref)
        found.homes = fronts.homes
        found.catalogues, uncompiled = translations.planned(
            git, commit, found.changes, found.homes, bool(params.get("in_place")), source.ref or "BRANCH"
        )
        # The way back is open, however long it is.
        limits = hotfix.Limits(*(0 if source.is_back else int(params[f"max_{k}"]) for k in ("files", "lines", "chain")))
        found.verdict = hotfix.judge(
            found.changes, found.homes, limits, len(chain), not (source.ref or source.is_back),
            [str(f) for f in params["compose_files"]], source.ref or "BRANCH", bool(params.get("force")), fronts.sources,
            {**fronts.unbuildable, **uncompiled},
        )  # fmt: skip
    if found.verdict.refusals:
        raise BadInput(
            f"{source.told} is no hotfix:\n{found.verdict.told()}",
            f"{found.verdict.refusals[0].command}, with a branch that has the change",
        )
    found.jobs = fronts.due(here, str(params["state_dir"]), found.verdict.jobs)
    found.notes += fronts.notes
    return found


def ask_staging(params: Mapping[str, Any], found: Found) -> None:
    """Refuse what the staging hosts have not tried, by ``BadInput``; what they said becomes notes."""
    if found.is_there:
        return
    found.public = browser_caching.of_kinds(found.here, _kinds(found))
    found.trees = git_hotfixes.trees(found.git, found.here.revision, found.commit)
    content = staging.Content(found.trees["before"], found.trees["after"], env=found.env.names)
    notes, found.untried = hotfix_staging.refuse_untried(
        hotfix_staging.staging_options(params), found.source.name, _kinds(found), content
    )
    found.notes += notes


def _refuse_other_inputs(params: Mapping[str, Any], here: Serving) -> None:
    """Refuse to bring along what somebody changed beside the tree."""
    if not os.path.exists(os.path.join(str(params["state_dir"]), KEY)):
        return
    if _inputs(params, here.store) != str(here.manifest.get("inputs") or ""):
        raise BadInput(
            "the server's own files (app_env_file, app_shared), or the names of the Compose files, are other ones than those "
            "the running release was made with, and would come along",
            f"bring them in first: ansible-playbook evenkeel.deploy.update -e update_version={here.revision[:12]}",
        )


def _inputs(params: Mapping[str, Any], store: Store, env: environment.Change | None = None) -> str:
    shared, files = [str(s) for s in params.get("shared") or []], [str(f) for f in params["compose_files"]]
    instead = {env.path: env.after} if env and env.names else {}
    return store.inputs_of(str(params["state_dir"]), shared, {"files": files}, instead)


def _look_for_edits(params: Mapping[str, Any], found: Found, steps: Steps) -> None:
    """Refuse to take away with a container what somebody changed in it."""
    with steps("hand edits"):
        services, captured = set(found.verdict.services), found.source.captured
        in_place = in_place_record.in_force(found.here.store, str(params["state_dir"]))
        found.notes += edits.refused(
            found.here, services, captured, bool(params.get("drop_edits")), in_place, (found.git, found.commit)
        )


def _made(params: Mapping[str, Any], found: Found, fence: Fence, steps: Steps) -> dict[str, Any]:
    here, store, commit = found.here, found.here.store, found.commit
    inputs = _inputs(params, store, found.env)
    release = choice.release_for(commit, inputs, store.all(), here.release)
    fresh = not release
    made: list[str] = []
    # The engine is asked for hand edits while git, Compose and Django have their time.
    beside = concurrent.futures.ThreadPoolExecutor(1)
    looking = beside.submit(_look_for_edits, params, found, steps)
    try:
        if fresh:
            release = _exported(params, found, inputs, fence, steps)
        if found.catalogues:
            with steps("translations"), fence.act(f"compile translations of {release}"):
                found.notes += translations.compile_in(
                    params, here, store.path_of(release), found.catalogues, found.homes, found.places
                )
        if store.manifest(release).get("state") == choice.PREPARING and found.env.names:
            with fence.act(f"write {found.env.path} of {release}"):
                environment.put_in(store, release, found.env)
        with steps("resolve"):
            _resolve(params, found, release, fence)
        project = read_json(os.path.join(store.path_of(release), GENERATED))
        with steps("images"):
            made = _images(found, project, store.path_of(release), fence)
        with steps("check"):
            found.notes += checked(params, here, found.homes, project, store.path_of(release), bool(found.env.names))
        looking.result()
        with fence.act(f"remember the hotfix {found.source.name}"):
            _remember(params, found, release)
            carry_records(here.path, store.path_of(release), found.jobs)
            store.note(release, state=_state(store, release), hotfix=_about(params, found))
            # Layers below the new images: whoever prunes names takes these, and not the images themselves.
            store.note(here.release, image_ids=view.built_images(here))
        if params.get("lock_token"):
            _write_down_what_serves(fence, found, release)
    except BaseException:
        if release and (fresh or store.manifest(release).get("state") == choice.PREPARING):
            _take_back(found, release, made)
        raise
    finally:
        beside.shutdown()
    return _result(params, found, release, True, steps)


def _exported(params: Mapping[str, Any], found: Found, inputs: str, fence: Fence, steps: Steps) -> str:
    """A release with the tree of the hotfix: that of the running revision could be exported, and plain files differ from it."""
    here, store, commit = found.here, found.here.store, found.commit
    entries = [_entry(found)] if commit != here.revision else []
    chain = [*(here.manifest.get("hotfixes") or []), *entries]
    with steps("export"), fence.act(f"export {commit[:12]}"):
        store.refuse_without_room(*found.git.size_of(commit))
        return store.create(
            lambda target: found.git.export(commit, target), commit, f"hotfix/{found.source.name}",
            [str(s) for s in params.get("shared") or []], inputs, chain,
        )  # fmt: skip


def _state(store: Store, release: str) -> str:
    state = str(store.manifest(release).get("state"))
    return choice.BUILT if state == choice.PREPARING else state


def _entry(found: Found) -> dict[str, str]:
    entry = {"name": found.source.name, "base": found.here.revision, "commit": found.commit}
    return {**entry, **revert.mark(found.source)}


def _about(params: Mapping[str, Any], found: Found) -> dict[str, Any]:
    about = {
        **_entry(found), "kinds": _kinds(found), "base_release": found.here.release, "forced": bool(params.get("force")),
        "files": [c.path for c in found.changes], "trees": found.trees,
    }  # fmt: skip
    return {**about, "env_file": found.env.path} if found.env.names else about


def _kinds(found: Found) -> dict[str, list[str]]:
    kinds = {k: list(v) for k, v in found.verdict.kinds.items()}
    return {**kinds, "env": list(found.env.names)} if found.env.names else kinds


def _resolve(params: Mapping[str, Any], found: Found, release: str, fence: Fence) -> None:
    """Generate the ``compose.yaml`` of the release, in which only what is changed has another image."""
    here, root, path = found.here, found.here.store.root, found.here.store.path_of(release)
    built = set(view.built_images(here))
    kept = {s: here.image_of(s) for s in here.kinds if here.image_of(s) in built - found.affected}
    files, env_files = tuple(params["compose_files"]), tuple(params.get("env_files") or ())
    asked = releases_project.Request(
        ProjectOptions(path, files, env_files, project_name=here.name),
        LockOptions(str(params["state_dir"])),
        found.commit,
        mounts_dir=os.path.join(root, "mounts"),
        service_options=params.get("service_options") or {},
        live_dir=os.path.join(root, "shared", "proxy"),
        data_dir=os.path.join(root, "shared"),
        serving_src=here.path,
        kept_images=kept,
    )
    releases_project.write_generated(asked, releases_project.read_sources(asked.project), fence)


def _images(found: Found, project: Mapping[str, Any], tree: str, fence: Fence) -> list[str]:
    """Make the images that are changed; returns the names of those that were not there."""
    here, made = found.here, []
    for base in sorted(found.affected):
        service = next(s for s in sorted(here.kinds) if here.image_of(s) == base)
        reference, image = str(project["services"][service]["image"]), here.images[base]
        places = {p: at for p, at in found.places[base].items() if p in found.homes}
        contents = {p: thin_image.plain_file(tree, p) or b"" for p in places}
        labels = thin_image.labels_of(
            found.source.name, here.revision, found.commit, image, thin_image.sums_of(contents)
        )
        if thin_image.is_there(here.engine, reference, labels):
            continue
        there = bool(here.engine.image(reference))
        with fence.act(f"put {', '.join(sorted(places))} on {image[7:19]} as {reference}"):
            files = [(at, contents[p]) for p, at in places.items()]
            thin_image.make(here.engine, image, reference, files, labels, here.name)
        made += [] if there else [reference]
    return made


def _take_back(found: Found, release: str, images: Sequence[str]) -> None:
    """Leave nothing of a hotfix that was refused."""
    for name in images:
        with contextlib.suppress(EngineFailed):
            found.here.engine.untag(name)
    path = found.here.store.path_of(release)
    aside = os.path.join(found.here.store.folder, f".removing-{release}")
    with contextlib.suppress(OSError):
        os.rename(path, aside)
        shutil.rmtree(aside)


def _remember(params: Mapping[str, Any], found: Found, release: str) -> None:
    if found.commit != found.here.revision:
        found.git.inside("update-ref", f"{git_hotfixes.REFS}{found.source.name}", found.commit)
    known = ledger.read(str(params["state_dir"]), found.source.name)
    same = known.get("commit") == found.commit
    about = {
        **_about(params, found), "release": release, "given": found.source.told,
        "made": known.get("made") if same else iso(time.time()), "captured": found.source.by_hand,
        "untried": found.untried, "public_paths": found.public,
    }  # fmt: skip
    ledger.write(str(params["state_dir"]), found.source.name, about, found.text())


def _write_down_what_serves(fence: Fence, found: Found, release: str) -> None:
    """For the way back: as role update does it before anything is replaced."""
    here = found.here
    by_service = {s: [here.images[here.image_of(s)]] for s in found.verdict.services if here.images[here.image_of(s)]}
    fence.keeper.note(
        fence.run, revision=found.commit, release=release,
        before={"release": here.release, "revision": here.revision, "project_src": here.path, "images": by_service},
        go_back="ansible-playbook evenkeel.deploy.rollback",
    )  # fmt: skip


def _result(params: Mapping[str, Any], found: Found, release: str, changed: bool, steps: Steps) -> dict[str, Any]:
    here, store = found.here, found.here.store
    manifest = store.manifest(release) if release else {}
    kinds, name = _kinds(found), found.source.name
    what = "; ".join(f"{kind}: {', '.join(paths)}" for kind, paths in kinds.items())
    msg = f"the hotfix {name} on {here.revision[:12]} is {what}" if changed else f"{found.source.told}: {_HAS_IT}"
    text = found.text() if changed else ""
    # Who keeps copies may be told again of what is there already.
    public = found.public or ledger.read(store.state_dir(lock_options(params)), name).get("public_paths") or []
    return {
        "public_paths": [str(p) for p in public],
        "changed": changed, "name": name, "release": release, "release_path": store.path_of(release) if release else "",
        "release_state": manifest.get("state", ""), "revision": found.commit, "exists": bool(manifest),
        "current": here.release, "current_revision": here.revision, "kinds": kinds, "services": list(found.verdict.services),
        "jobs": found.jobs, "base": here.revision if changed else "", "files": [c.path for c in found.changes],
        "notes": [*found.verdict.notes, *found.notes], "timeline": steps.timeline, "msg": msg, "diff": {"prepared": text},
    }  # fmt: skip


_HAS_IT = "the running release has it already"
