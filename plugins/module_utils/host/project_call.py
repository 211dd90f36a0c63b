# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``compose_project``: resolve the user's Compose files into the ``compose.yaml`` of a release."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from typing import Any

from ..decide import project as generated
from .call_result import BadInput
from .compose import Compose, ComposeFailed
from .files import write_private
from .mounts import digest, place
from .project import compose_of, connect


def _source_files(compose: Compose) -> Compose:
    """The user's files; one that is named like the generated one is kept aside the first time."""
    kept = os.path.join(".evenkeel", "compose.source.yaml")
    path = os.path.join(compose.project_src, generated.GENERATED)
    aside = os.path.join(compose.project_src, kept)
    if os.path.isfile(path) and not os.path.isfile(aside):
        with open(path, encoding="utf-8") as stream:
            ours = generated.MARK in stream.read()
        if not ours:
            os.makedirs(os.path.dirname(aside), mode=0o700, exist_ok=True)
            shutil.copyfile(path, aside)
    files = tuple(kept if f == generated.GENERATED and os.path.isfile(aside) else f for f in compose.files)
    return Compose(compose.project_src, files, compose.env_files, compose.profiles, compose.project_name)


def resolve(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call.

    :raises BadInput: the project is not valid, or could not live in a release folder.
    """
    asked = compose_of(params)
    connect(asked.project_src)
    if not asked.files:
        raise BadInput("files: the project's own Compose files are needed", "set app_compose_files")
    compose = _source_files(asked)
    root, mounts = compose.project_src, str(params["mounts_dir"])
    try:
        project = compose.resolved()
    except ComposeFailed as error:
        raise BadInput(
            f"the Compose project of this revision is not valid: {error}",
            f"docker compose --project-directory {root} config shows it",
        ) from error
    placed, fresh = {}, False
    for source in generated.tree_mounts(project, root):
        if not os.path.exists(source):
            continue
        if check_mode:
            placed[source] = os.path.join(mounts, digest(source), os.path.basename(source))
        else:
            placed[source], made = place(source, mounts)
            fresh = fresh or made
    try:
        result = generated.generate(project, root, str(params["revision"]), os.path.basename(root), placed)
    except generated.BadProject as error:
        raise BadInput(str(error)) from error
    path = os.path.join(root, generated.GENERATED)
    text = generated.as_text(result)
    try:
        with open(path, encoding="utf-8") as stream:
            before = stream.read()
    except OSError:
        before = ""
    changed = before != text
    if changed and not check_mode:
        write_private(path, text)
    services = result.get("services", {})
    return {
        "changed": changed or fresh,
        "path": path,
        "project_name": result["name"],
        "services": sorted(services),
        "images": {n: s["image"] for n, s in services.items() if s.get("build")},
        "diff": {
            "before": _shown(before),
            "after": generated.masked(text),
            "before_header": path,
            "after_header": path,
        },
    }


def _shown(text: str) -> str:
    try:
        json.loads(text)
    except ValueError:
        # What stands there is the user's own file, and it may hold secrets anywhere.
        return ""
    return generated.masked(text)
