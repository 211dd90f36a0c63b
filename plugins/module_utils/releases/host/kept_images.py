# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images that served before an operation, kept under ``evenkeel-keep/<run id>`` and put back by name if it is undone.

A rebuilt or pulled tag leaves the image that runs without a name: ``docker image prune`` takes it as soon as its
container is gone, and the project's own file would bring back the new one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from ...base.errors import BadInput
from ...engine.host.compose import ComposeFailed
from ...engine.host.engine import Engine, EngineFailed
from ...engine.host.project import compose_of, connect, image_name, state_dir_of
from ...engine.options import ProjectOptions
from ...operation.host.journal import working
from ...operation.host.records import Records
from ...operation.lease import is_run
from ...operation.options import LockOptions

REPOSITORY = "evenkeel-keep"
#: Operations of a project whose images are kept.
KEPT_RUNS = 2


def keep(engine: Engine, records: Records, run: str, images: Mapping[str, Sequence[str]]) -> None:
    """Give each service's images a name of this run, and drop those of all but the latest runs of the same project.

    An image that is gone cannot be kept and is passed over.  What this run kept first stays what it kept: on its way
    back the new images run.
    """
    for service, ids in images.items():
        for number, image in enumerate(ids):
            tag = service + (f".{number}" if number else "")
            if not engine.image(f"{REPOSITORY}/{run.lower()}:{tag}"):
                with contextlib.suppress(EngineFailed):
                    engine.tag(image, f"{REPOSITORY}/{run.lower()}", tag)
    names = [n for n in engine.image_names(f"{REPOSITORY}/*") if n.startswith(f"{REPOSITORY}/")]
    runs = sorted({n.split("/", 1)[1].rpartition(":")[0] for n in names})
    # Other projects of this host keep theirs: a run is ours where our state knows it.
    mine = [r for r in runs if is_run(_written(r)) and records.read(_written(r))]
    for old in mine[:-KEPT_RUNS]:
        for name in (n for n in names if n.startswith(f"{REPOSITORY}/{old}:")):
            with contextlib.suppress(EngineFailed):
                engine.untag(name)


def _written(run: str) -> str:
    """A run id as the records write it: repositories know no capitals."""
    head, dash, rest = run.partition("-")
    return head.upper() + dash + rest


def parts_of(name: str) -> tuple[str, str]:
    """Repository and tag of an image's name; a colon before the last slash is of the registry's port."""
    repository, _colon, tag = name.rpartition(":") if ":" in name.rsplit("/", 1)[-1] else (name, ":", "latest")
    return repository, tag


def put_back(engine: Engine, names: Mapping[str, str], images: Mapping[str, Sequence[str]]) -> list[str]:
    """Make the names that services use mean the images they ran before.

    :param names: service → the image name in the project that is gone back to.
    :param images: service → ids of the images it ran; the first that is still there counts.
    :returns: the names that were moved.
    :raises BadInput: a service's image is gone, and its name means another one by now.
    """
    moved = []
    for service, ids in images.items():
        name = names.get(service, "")
        present = [i for i in ids if engine.image(i)]
        if not name or not ids or str(engine.image(name).get("Id") or "") in ids:
            continue
        if not present:
            raise BadInput(
                f"{service}: the image that served before ({ids[0][:19]}) is not on this host any more",
                f"build or pull it, so that {name} is that version again",
            )
        engine.tag(present[0], *parts_of(name))
        moved.append(name)
    return moved


def bring_back(options: ProjectOptions, lock: LockOptions, wanted: Mapping[str, Sequence[Any]]) -> None:
    """Make a project's image names mean these images again, before anything is compared.

    :param wanted: service → ids of the images that it ran.
    :raises BadInput: see :func:`put_back`.
    """
    images = {str(s): [str(i) for i in ids] for s, ids in wanted.items()}
    compose = compose_of(options)
    engine = connect(compose.project_src)
    try:
        project = compose.resolved()
    except ComposeFailed as error:
        raise BadInput(f"the Compose project in {compose.project_src} is not valid: {error}") from error
    names = {s: image_name(project, s) for s in images if s in (project.get("services") or {})}
    directory = state_dir_of(lock, str(project["name"]))
    with (
        working(lock, directory, f"compose_rolling of {project['name']}") as fence,
        fence.act("put back image names"),
    ):
        put_back(engine, names, images)
