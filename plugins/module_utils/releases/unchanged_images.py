# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images a revision need not build, since nothing that they are made of changed: pure, git is asked in ``host/``."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.definition import is_inside
from ..git.changes import Change
from ..git.classes import COMPOSE, DOCS, NGINX, class_of
from .project import PROJECT_LABEL, REVISION_LABEL

_OURS = (REVISION_LABEL, PROJECT_LABEL)
#: Changed files of which it is looked up whether others mention them; with more the image is built.
MOST = 40


@dataclass(frozen=True)
class Recipe:
    """How an image is built from the tree.

    :ivar context: its folder in the tree, empty for the whole tree.
    :ivar dockerfile: its path in the tree.
    """

    context: str
    dockerfile: str


def recipe_of(build: Mapping[str, Any], root: str) -> Recipe | None:
    """Where in the tree a build takes its files from; None where it takes some from elsewhere."""
    context = str(build.get("context") or "").rstrip("/")
    if not is_inside(context, root):
        return None
    if build.get("additional_contexts") or build.get("ssh") or build.get("dockerfile_inline"):
        return None
    dockerfile = posixpath.normpath(posixpath.join(context, str(build.get("dockerfile") or "Dockerfile")))
    if not is_inside(dockerfile, root):
        return None
    return Recipe(context[len(root) + 1 :], dockerfile[len(root) + 1 :])


def same_build(new: Mapping[str, Any], old: Mapping[str, Any], root: str, old_root: str) -> bool:
    """Whether two services are built alike, but for the folder of their release and our own labels."""
    return _comparable(new, root) == _comparable(old, old_root)


def _comparable(build: Mapping[str, Any], root: str) -> str:
    labels = {k: v for k, v in (build.get("labels") or {}).items() if k not in _OURS}
    text = json.dumps({**build, "labels": labels}, sort_keys=True)
    return text.replace(json.dumps(root)[1:-1], "<tree>") if root else text


def differing(
    changes: Iterable[Change], recipe: Recipe, dockerfile: str, compose_files: Collection[str]
) -> tuple[list[str], list[str]]:
    """The changed files that the image surely is another one by, and those that matter only if another file mentions them.

    :param dockerfile: its text.
    """
    sure: list[str] = []
    perhaps: list[str] = []
    for change in changes:
        path = change.path
        if path in (recipe.dockerfile, f"{recipe.dockerfile}.dockerignore"):
            sure.append(path)
        elif not recipe.context or path.startswith(f"{recipe.context}/"):
            (perhaps if _is_aside(change, dockerfile, compose_files) else sure).append(path)
    return sure, perhaps


def _is_aside(change: Change, dockerfile: str, compose_files: Collection[str]) -> bool:
    name, kind = posixpath.basename(change.path), class_of(change, compose_files)
    if name in dockerfile or posixpath.dirname(change.path).partition("/")[0] in dockerfile.split():
        return False
    return kind in (DOCS, COMPOSE) or (kind == NGINX and "nginx" not in dockerfile.lower())


def matters(perhaps: Sequence[str], mentioning: Iterable[str], compose_files: Collection[str]) -> bool:
    """Whether a file that is read in production mentions one of these."""
    readers = (class_of(Change(path), compose_files) for path in mentioning if path not in perhaps)
    return any(kind not in (DOCS, COMPOSE, NGINX) for kind in readers)
