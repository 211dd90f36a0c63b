# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which changed files a front end is built from, and by which jobs: pure, images are read in ``host/``.

Many apps copy their whole repository into each image. What lies in the builder's own folder is built there; that the app's image
has it along is no reason to replace workers in the middle of a task.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..base.secret_values import MARK
from ..build.builds import outputs_of
from ..drift.drift import is_below
from ..engine.jobs import BadJob, is_off
from ..engine.programs import JOB
from ..engine.services import ROLLED_KINDS
from ..releases.project import MOUNTS
from .hotfix import FRONTEND, IMAGE, MOUNT, UPDATE, Home, Refusal

# What Django itself reads, wherever it lies.
_OF_DJANGO = re.compile(r"\.(?:py|pyi|po|mo)$|(?:^|/)(?:templates|static|locale)/")


@dataclass(frozen=True)
class Builder:
    """A job that builds what the proxy serves.

    :ivar lives: what it publishes to, as :class:`.builds.Output` names it.
    :ivar folders: folders of the tree that it is made of, and no service of the app; ``near`` is one that only has its recipe,
        so that other things may lie there as well.
    :ivar image: the name of its image; ``shared`` says that a service of the app runs the same one.
    :ivar there: whether that image is on this host, or nothing has to be put on it.
    :ivar readers: services of the app that look into what it publishes as well.
    """

    lives: tuple[str, ...]
    folders: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    image: str = ""
    shared: bool = False
    there: bool = True
    readers: tuple[str, ...] = ()


def _image(project: Mapping[str, Any], service: str) -> str:
    return str(project["services"][service].get("image") or f"{project['name']}-{service}")


def _folders(project: Mapping[str, Any], service: str, tree: str) -> set[str]:
    """The folders of the tree that a service is made of; an empty one is the whole tree."""
    mounted = (project.get(MARK) or {}).get(MOUNTS, {}).get(service, {}).values()
    found = {"" if inside == "." else str(inside) for inside in mounted}
    context = str((project["services"][service].get("build") or {}).get("context") or "").rstrip("/")
    if context == tree or context.startswith(f"{tree}/"):
        found.add(context[len(tree) + 1 :])
    return found


def _recipe(project: Mapping[str, Any], service: str, tree: str) -> set[str]:
    """The folder with the recipe of a service that is built of the whole tree."""
    build = project["services"][service].get("build") or {}
    folder = posixpath.normpath(posixpath.dirname(str(build.get("dockerfile") or "")) or ".")
    whole = str(build.get("context") or "").rstrip("/") == tree
    return {folder} if whole and folder != "." and not folder.startswith(("/", "..")) else set()


def builders(
    project: Mapping[str, Any], kinds: Mapping[str, str], release: str, tree: str, images: Mapping[str, str]
) -> dict[str, Builder]:
    """The jobs of a release that build for the proxy.

    :param project: the generated one of the release, ``tree`` its folder.
    :param images: name of an image → its id, empty where it is not on this host.
    """
    services = project.get("services") or {}
    rolled = [n for n in services if kinds.get(n) in ROLLED_KINDS]
    others = {f for n in rolled for f in _folders(project, n, tree) | _recipe(project, n, tree)}
    found = {}
    for name in sorted(n for n in services if kinds.get(n) == JOB and not is_off(services[n])):
        try:
            outputs, _remarks = outputs_of(project, name, kinds, release)
        except BadJob:
            # An update says so; a hotfix of something else does not need it.
            continue
        if outputs:
            image = _image(project, name)
            own, near = (
                tuple(sorted(f for f in folders(project, name, tree) if f and f not in others))
                for folders in (_folders, _recipe)
            )
            shared = image in {_image(project, n) for n in rolled}
            there = bool(images.get(image)) or not services[name].get("build")
            lives, readers = {o.live for o in outputs}, {r for o in outputs for r in o.readers}
            found[name] = Builder(tuple(sorted(lives)), own, near, image, shared, there, tuple(sorted(readers)))
    return found


def _owners(path: str, found: Mapping[str, Builder], others: Collection[str], near: bool) -> list[str]:
    """The builders in whose own folder a file lies, none where Django would read it.

    :param others: folders of the app below such ones.
    """
    if _OF_DJANGO.search(path) or is_below(path, others):
        return []
    return [n for n, b in found.items() if is_below(path, (*b.folders, *b.near) if near else b.folders)]


def app_folders(project: Mapping[str, Any], kinds: Mapping[str, str], tree: str) -> set[str]:
    """The folders that services of the app are made of, without the whole tree."""
    rolled = (n for n in project.get("services") or {} if kinds.get(n) in ROLLED_KINDS)
    return {folder for n in rolled for folder in _folders(project, n, tree) if folder}


def sources(homes: Mapping[str, Sequence[Home]], found: Mapping[str, Builder]) -> dict[str, list[str]]:
    """For each changed file the jobs that build from it.

    What Django reads counts only in a builder's own folder: one that has the whole tree is not run for a view.
    """
    built: dict[str, list[str]] = {}
    for path, several in homes.items():
        for home in several:
            builder = found.get(home.service)
            if not builder or home.where not in (IMAGE, MOUNT):
                continue
            own = not builder.shared and is_below(path, (*builder.folders, *builder.near))
            if (own or not _is_of_django(path)) and home.service not in built.setdefault(path, []):
                built[path].append(home.service)
    return {path: jobs for path, jobs in built.items() if jobs}


def _is_of_django(path: str) -> bool:
    """Whether it is code or a template, from which no front end is built, but for static files."""
    return bool(_OF_DJANGO.search(path)) and "static" not in path.split("/")[:-1]


def without_ballast(
    homes: Mapping[str, Sequence[Home]],
    found: Mapping[str, Builder],
    project: Mapping[str, Any],
    others: Collection[str] = (),
) -> tuple[dict[str, list[Home]], dict[str, list[str]]]:
    """The homes of files without those in images that only have a builder's files along; path → services of these."""
    kept: dict[str, list[Home]] = {}
    along: dict[str, list[str]] = {}
    for path, several in homes.items():
        mine = [n for n in _owners(path, found, others, True) if any(h.service == n for h in several)]
        images = {found[h.service].image for h in several if h.service in found and h.where == IMAGE}
        for home in several:
            other = home.service not in found and home.kind in (*ROLLED_KINDS, JOB) and home.where == IMAGE
            if mine and other and _image(project, home.service) not in images:
                along.setdefault(path, []).append(home.service)
            else:
                kept.setdefault(path, []).append(home)
    return kept, along


def unbuildable(
    paths: Collection[str],
    homes: Mapping[str, Sequence[Home]],
    found: Mapping[str, Builder],
    others: Collection[str] = (),
    version: str = "BRANCH",
    named: bool = True,
) -> dict[str, Refusal]:
    """Files of a builder's own folder that it has not, each with why it is no hotfix: no run would bring it to anybody.

    :param named: whether somebody named each file; of a branch what no container has at all is of no concern.
    """
    refusals = {}
    for path in sorted(paths):
        mine, there = _owners(path, found, others, False), homes.get(path) or ()
        gone = [n for n in mine if not found[n].there]
        if not mine or any(h.service in mine for h in there) or not (named or there or gone):
            continue
        why = (
            f"whose image is not on this host any more ({', '.join(found[n].image for n in gone)})"
            if gone
            else "whose image does not have it: it is left out there, or the front end is built when the image is"
        )
        what = f"{path} is of the front end that {' and '.join(mine)} builds, {why}"
        refusals[path] = Refusal(FRONTEND, what, UPDATE.format(version))
    return refusals


def together(found: Mapping[str, Builder], jobs: Collection[str]) -> list[str]:
    """These jobs, and those that build parts of the same site: what one of them has not built would be missing."""
    due = set(jobs)
    while True:
        lives = {live for n in due for live in found[n].lives}
        more = {n for n, builder in found.items() if lives & set(builder.lives)} - due
        if not more:
            return sorted(due)
        due |= more
