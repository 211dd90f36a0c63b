# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds images of the serving release that a revision can go on using."""

from __future__ import annotations

import os
import posixpath
import pwd
import re
from collections.abc import Collection, Mapping
from typing import Any

from ...base.secret_values import MARK
from ...engine.definition import with_contexts
from ...engine.host.engine import Engine, EngineFailed
from ...git.host import history
from ...git.host.content import content_of
from ...git.host.git import Git, GitFailed
from ..layout import release_in
from ..project import REVISION_LABEL
from ..unchanged_images import MOST, Recipe, differing, matters, recipe_of, same_build
from .store import Store


def found(
    project: Mapping[str, Any], serving: Mapping[str, Any], root: str, revision: str, compose_files: Collection[str]
) -> dict[str, str]:
    """Service → the image of the serving release that would be built anew from the same files.

    The image's own label says from which commit it was built. Whatever cannot be told is built.

    :param project: as Compose resolves the user's files of ``revision``, in the release's folder ``root``.
    :param serving: the generated project of the serving release.
    """
    place, old = release_in(root), str((serving.get(MARK) or {}).get("release") or "")
    if not place or not old:
        return {}
    layout = place[0]
    old_root = layout.release(old)
    if Store(layout.root).manifest(old).get("hotfixes"):
        # A layer on what a build made: the next version is built whole.
        return {}
    old_services = with_contexts(serving)["services"]
    kept: dict[str, str] = {}
    verdicts: dict[tuple[str, str, str], bool] = {}
    try:
        git, engine = Git(layout.mirror, _owner_of(layout.mirror)), Engine()
        for name, service in (project.get("services") or {}).items():
            before = old_services.get(name) or {}
            image = str(before.get("image") or "")
            # One that has this revision's name already is not kept, but this revision's own.
            own = not image or image.endswith(f":{revision[:12]}")
            if own or not service.get("build") or not before.get("build"):
                continue
            recipe = recipe_of(service["build"], root)
            built_from = _built_from(engine, image)
            if recipe is None or not built_from or not same_build(service["build"], before["build"], root, old_root):
                continue
            key = (built_from, recipe.context, recipe.dockerfile)
            if key not in verdicts:
                others = _named_images(project, but=str(service.get("image") or ""))
                verdicts[key] = _is_same(git, built_from, revision, recipe, compose_files, others)
            if verdicts[key]:
                kept[name] = image
    except (EngineFailed, GitFailed, OSError, KeyError):
        return {}
    return kept


def notes(kept: Mapping[str, str]) -> list[str]:
    """Which images are kept, and how they are built all the same."""
    names = sorted(set(kept.values()))
    if not names:
        return []
    return [f"not built, since no file of theirs changed: {', '.join(names)} (update_rebuild=true builds them)"]


def _owner_of(mirror: str) -> str:
    """The user whose the mirror is, and as whom git runs.

    :raises KeyError: it has no name.
    """
    return pwd.getpwuid(os.stat(mirror).st_uid).pw_name


def _named_images(project: Mapping[str, Any], but: str) -> list[str]:
    """Names, without their tags, of images that the project builds: one may be the base of another."""
    given = {str(s.get("image") or "") for s in (project.get("services") or {}).values() if s.get("build")}
    return [re.sub(r":[^:/]+$", "", name) for name in given - {but, ""}]


def _built_from(engine: Engine, image: str) -> str:
    """The commit that an image was built from; empty where it is not here, or was made on another one, as of a hotfix."""
    labels = (engine.image(image).get("Config") or {}).get("Labels") or {}
    revision = str(labels.get(REVISION_LABEL) or "")
    return revision if revision and image.endswith(f":{revision[:12]}") else ""


def _is_same(
    git: Git, before: str, after: str, recipe: Recipe, compose_files: Collection[str], others: Collection[str]
) -> bool:
    if not (history.has(git, before) and history.has(git, after)):
        return False
    own = [os.path.normpath(path) for path in compose_files]
    dockerfile = content_of(git, after, recipe.dockerfile)
    text = (dockerfile or b"").decode("utf-8", "replace")
    if not text or any(name in text for name in others):
        return False
    sure, perhaps = differing(history.changes_between(git, before, after), recipe, text, own)
    if sure or len(perhaps) > MOST:
        return False
    if not perhaps:
        return True
    names = sorted({posixpath.basename(path) for path in perhaps})
    return not matters(perhaps, git.mentions(after, names), own)
