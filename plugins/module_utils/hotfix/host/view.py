# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hotfix is put on: the release that serves, its images as they run, and where files of its tree live."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...base.errors import BadInput
from ...base.host.files import read_json
from ...base.secret_values import MARK
from ...drift.drift import is_below
from ...engine.definition import GENERATED, LIVE, with_contexts
from ...engine.host.engine import Engine, EngineFailed
from ...engine.host.inspection import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, label_of
from ...engine.host.kinds import evidence_of, kinds_of
from ...git.changes import Change
from ...releases.adopted import ADOPTED
from ...releases.choice import VERIFIED
from ...releases.host.store import Store
from ...releases.project import MOUNTS
from .. import hotfix
from ..hotfix import Home
from . import thin_image
from .thin_image import Place


@dataclass(frozen=True)
class Serving:
    """The release that serves.

    :ivar project: its generated ``compose.yaml``.
    :ivar images: name of an image → the id that the containers made by it run, or that the name means where there is none.
    """

    store: Store
    engine: Engine
    release: str
    manifest: Mapping[str, Any]
    project: Mapping[str, Any]
    kinds: Mapping[str, str]
    images: Mapping[str, str]
    containers: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    @property
    def name(self) -> str:
        return str(self.project["name"])

    @property
    def revision(self) -> str:
        return str(self.manifest["revision"])

    @property
    def path(self) -> str:
        return self.store.path_of(self.release)

    def image_of(self, service: str) -> str:
        """The name of a service's image."""
        return str(self.project["services"][service].get("image") or f"{self.name}-{service}")


def serving(store: Store, engine: Engine, options: Mapping[str, Any]) -> Serving:
    """What serves now.

    :param options: per service, as ``service_options``.
    :raises BadInput: nothing that a hotfix could be put on.
    """
    release = store.current()
    manifest = store.manifest(release) if release else {}
    project = with_contexts(read_json(os.path.join(store.path_of(release), GENERATED))) if release else {}
    update = "ansible-playbook evenkeel.deploy.update -e update_version=VERSION brings the app to a release first"
    if not release or MARK not in project:
        raise BadInput(f"there is no release in {store.root} that a hotfix could be put on", update)
    if ADOPTED in project[MARK]:
        raise BadInput("what runs was started by hand and taken over, and is not yet a release of its own", update)
    services = project.get("services") or {}
    found = engine.containers({PROJECT_LABEL: str(project["name"]), ONE_OFF_LABEL: "False"})
    name_of = {n: str(s.get("image") or f"{project['name']}-{n}") for n, s in services.items()}
    built = {name_of[n] for n, s in services.items() if s.get("build")}
    images = {}
    for name in dict.fromkeys(name_of.values()):
        mine = [i for i in found if name_of.get(label_of(i, SERVICE_LABEL)) == name]
        ids = _ids_of(engine, name, mine)
        if name in built and len(ids) > 1:
            raise BadInput(
                f"the containers of {name} run {len(ids)} different images, so none of them is what the fix was made for",
                "ansible-playbook evenkeel.deploy.status says what was not finished, and by which command it is",
            )
        images[name] = min(ids)
    configs = {i: engine.image(i).get("Config") or {} for i in set(images.values()) if i}
    # What runs counts, whatever its tag has become since.
    source = store.path_of(release)
    seen = evidence_of(engine, project, source, found)
    seen = {n: replace(one, image=configs.get(images[name_of[n]]) or {}) for n, one in seen.items()}
    kinds = kinds_of(engine, project, source, options, seen)
    return Serving(store, engine, release, manifest, project, kinds, images, found)


def _ids_of(engine: Engine, name: str, containers: Sequence[Mapping[str, Any]]) -> set[str]:
    """What a name means to the release that serves: a roll that was killed has left containers of the next one, by another name."""
    own = {str(i.get("Image") or "") for i in containers if (i.get("Config") or {}).get("Image") == name}
    named = "" if own else str(engine.image(name).get("Id") or "")
    # Names may have been pruned.
    return own or ({named} if named else {str(i.get("Image") or "") for i in containers}) or {""}


def refuse_unless_good(here: Serving) -> None:
    """Look whether what serves was found good.

    :raises BadInput: a run was killed that brought it, or it is on its way.
    """
    if here.manifest.get("state") != VERIFIED:
        raise BadInput(
            f"release {here.release} is the current one, and nobody has found it good (it is {here.manifest.get('state')})",
            "finish what brought it: ansible-playbook evenkeel.deploy.status says by which command",
        )


def built_images(here: Serving) -> dict[str, str]:
    """The images that are made from the tree, with the ids that run."""
    services = here.project.get("services") or {}
    names = {here.image_of(n) for n, s in services.items() if s.get("build")}
    return {n: i for n, i in here.images.items() if n in names and i}


def located(here: Serving, known: Sequence[str], changes: Sequence[Change]) -> dict[str, dict[str, Place]]:
    """Per image made from the tree: where in it the changed files are, or new ones go.

    :raises BadInput: an image cannot be read.
    """
    images = sorted(built_images(here).items())

    def look(image: str) -> dict[str, Place]:
        return thin_image.places(here.engine, image, here.name, here.path, known, changes)

    try:
        # A container to read from is made of each, which the engine does for several at once.
        with concurrent.futures.ThreadPoolExecutor(4) as readers:
            return dict(zip((name for name, _id in images), readers.map(look, (image for _name, image in images))))
    except EngineFailed as error:
        raise BadInput(f"what runs cannot be looked at: {error}") from error


def homes(here: Serving, places: Mapping[str, Mapping[str, Place]], changes: Sequence[Change]) -> dict[str, list[Home]]:
    """For each changed file every place where somebody has it."""
    found: dict[str, list[Home]] = {}
    mark = here.project[MARK]
    for service, definition in sorted((here.project.get("services") or {}).items()):
        kind = here.kinds[service]
        mounted = dict.fromkeys(mark.get(MOUNTS, {}).get(service, {}), "")
        for where, tree in ((hotfix.MOUNT, mark.get(MOUNTS, {})), (hotfix.LIVE, mark.get(LIVE, {}))):
            for target, inside in sorted(tree.get(service, {}).items()):
                for change in changes:
                    if is_below(change.path, [inside]) or inside in ("", "."):
                        rest = change.path[len(inside) :].lstrip("/") if inside not in ("", ".") else change.path
                        at = f"{target}/{rest}" if rest else target
                        found.setdefault(change.path, []).append(Home(where, service, kind, at))
        others = [str(v.get("target")) for v in definition.get("volumes") or [] if str(v.get("target")) not in mounted]
        image = here.images.get(here.image_of(service)) or ""
        config = here.engine.image(image).get("Config") or {} if image else {}
        over = [*others, *(config.get("Volumes") or {})]
        for path, place in (places.get(here.image_of(service)) or {}).items():
            if is_below(place.path, over):
                under = next(v for v in over if is_below(place.path, [v]))
                found.setdefault(path, []).append(Home(hotfix.VOLUME, service, kind, under))
            elif not is_below(place.path, mounted):
                found.setdefault(path, []).append(Home(hotfix.IMAGE, service, kind, place.path))
    return found
