# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a hotfix that is a release ends: seen as users see it, made the current release, told to the repository.

One of nginx alone needs no container, and is the whole operation in the call that makes it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from ...base.errors import BadInput
from ...base.host.files import read_json
from ...base.masking import shown_address
from ...engine.definition import GENERATED
from ...engine.host import log_tail
from ...engine.host.project import connect
from ...engine.options import ProjectOptions
from ...engine.services import Probe
from ...git.host.git import GitFailed
from ...operation.host import lock as operation_lock
from ...operation.host.journal import Keeper
from ...operation.host.single_call import GOES_ON, single_call
from ...operation.options import LockOptions
from ...operation.summary import report
from ...releases.choice import VERIFIED
from ...releases.host.store import Store, store_of
from ...traffic.host import smoke_test
from ...traffic.host.nginx_reload import nginx_reload
from ...traffic.host.nginx_wanted import Request as Reload
from . import patch as hotfix_patch
from .patch import SERVED, Request
from .refs import Request as RefsRequest
from .refs import tell_repository
from .release import Request as ReleaseRequest
from .release import manage_release

_NGINX = {"nginx"}
_LINES = 20


def patch(request: Request, check_mode: bool) -> dict[str, Any]:
    """Make a hotfix, as a whole operation where that is quickly done, or make one that serves the current release.

    :raises BadInput: it is no hotfix, or would not work; nothing that serves was touched.
    """
    store = store_of(request.path, request.source.owner, request.source.shared)
    asked = smoke_test.questions(request.smoke_test.prove)
    if request.state == SERVED:
        began = time.time()
        if check_mode:
            return {"changed": False, "whole": False, "msg": f"{request.release} would be the current release"}
        held = replace(request.lock, state_dir=store.state_dir(request.lock))
        ended = _served(store, replace(request, lock=held), request.release, asked)
        if "problem" not in ended:
            Keeper(held.state_dir).add_report(held.lock_token, "hotfix_patch", began, report(ended))
            done = operation_lock.Request(held.state_dir, "released", lock_token=held.lock_token)
            ended["summary"] = operation_lock.lock(done, False)["summary"]
        return {**ended, "whole": False}

    def made(lock: LockOptions, check: bool) -> dict[str, Any]:
        mine = replace(request, lock=lock)
        result = hotfix_patch.patch(mine, check)
        due = result["changed"] or result["release_state"] != VERIFIED
        if check or not (request.operation and due):
            return result
        if set(result["kinds"]) != _NGINX or result["services"] or result["jobs"]:
            return {**result, GOES_ON: True}
        here = ProjectOptions(str(result["release_path"]))
        reloaded = nginx_reload(Reload(here, lock, from_release=True), False)
        if reloaded.get("failed"):
            ended = {"problem": reloaded["msg"]}
        else:
            ended = _served(store, mine, str(result["release"]), asked)
        if "problem" in ended:
            # What serves goes back by the playbook's own steps, under the same lock.
            return {**result, **ended, GOES_ON: True}
        return {**result, **ended, "msg": result["msg"], "notes": [*result["notes"], *ended["notes"]]}

    wanted = replace(request.lock, state_dir=store.wanted_state_dir(request.lock))
    return single_call(request.operation, wanted, check_mode, made, "hotfix_patch", store.former_state_dir)


def _served(store: Store, request: Request, release: str, asked: tuple[Probe, ...]) -> dict[str, Any]:
    """Look at the site, then make the release the current one; only ``problem`` where it does not serve as it should."""
    began = time.time()
    project = str(read_json(f"{store.path_of(release)}/{GENERATED}")["name"])
    wrong = smoke_test.wrong(request.smoke_test.health_url, asked, project=project)
    if wrong:
        said = log_tail.of_service(connect(store.root), project, request.django_service, began - 60, _LINES)
        lines = "".join(f"{line}\n" for line in ("Last log lines:", *said)) if said else ""
        problem = f"What: it does not serve as it should ({wrong})\n{lines}Next: correct the change and run the same command again"
        return {"changed": False, "problem": problem, "msg": problem}
    switch = ReleaseRequest(
        request.path, request.lock, "active", release=release, asked=bool(request.smoke_test.health_url),
        keep=request.keep, owner=request.source.owner,
    )  # fmt: skip
    active = manage_release(switch, False)
    result: dict[str, Any] = {
        "changed": True, "asked": shown_address(request.smoke_test.health_url),
        "release": release, "release_state": active["release_state"], "refs": [], "notes": [],
        "msg": f"{release} is the current release",
    }  # fmt: skip
    if request.source.ref or not (store.manifest(release).get("hotfix") or {}).get("files"):
        return result
    hotfixed = RefsRequest(
        request.path,
        request.source.repo,
        release,
        request.lock,
        "hotfixed",
        push=request.push,
        owner=request.source.owner,
    )
    try:
        answer = tell_repository(hotfixed, False)
    except (BadInput, GitFailed) as error:
        # What serves is not touched by it.
        return {**result, "notes": [f"the repository was not told: {error}"]}
    return {**result, "refs": answer["refs"], "notes": answer["notes"]}
