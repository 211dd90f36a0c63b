# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which code of an app runs now: every container of it, one-offs and those that drain included, by revision and image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...engine.host.engine import Engine
from ...engine.host.inspection import PROJECT_LABEL, SERVICE_LABEL, label_of
from ...engine.host.one_offs import ONE_OFF
from ...engine.host.project import image_name
from ...engine.kinds import Evidence, kind_without_image
from ...engine.services import ROLLED_KINDS
from ...releases.layout import release_in
from ...releases.project import REVISION_LABEL
from ..database_host import Host
from .database_host import host_of


@dataclass(frozen=True)
class Code:
    """What runs, and what is asked to migrate.

    :ivar running: per container its name, revision and image id.
    :ivar inactive: why the release that is asked is not the active one, empty where it is.
    :ivar host: where it runs; None where nothing is known of that.
    """

    running: list[dict[str, str]] = field(default_factory=list)
    revision: str = ""
    image: str = ""
    inactive: str = ""
    host: Host | None = None


def code_of(engine: Engine, project: Mapping[str, Any], service: str, project_src: str) -> Code:
    """Look at the project's containers, and at the image of its Django service."""
    services = project.get("services", {})
    image = engine.image(image_name(project, service))
    same = {n for n in services if image_name(project, n) == image_name(project, service)}
    running = []
    for inspection in engine.containers({PROJECT_LABEL: str(project["name"])}):
        of = label_of(inspection, SERVICE_LABEL)
        revision = label_of(inspection, REVISION_LABEL)
        # What no service of this version has may still be code of the version before.
        ran_by = Evidence(image=inspection.get("Config") or {})
        other = of in services and of not in same and kind_without_image(services[of], ran_by) not in ROLLED_KINDS
        foreign = other or (of not in services and not revision)
        if foreign or not (inspection.get("State") or {}).get("Running") or label_of(inspection, ONE_OFF):
            continue
        name = str(inspection.get("Name") or "").lstrip("/")
        running.append({"container": name, "revision": revision, "image": str(inspection.get("Image") or "")})
    labels = (image.get("Config") or {}).get("Labels") or {}
    revision, host = str(labels.get(REVISION_LABEL) or ""), host_of(engine, str(project["name"]))
    return Code(running, revision, str(image.get("Id") or ""), _inactive(project_src), host)


def _inactive(project_src: str) -> str:
    """Why the release in a folder is not the active one of its app."""
    found = release_in(project_src)
    current = found[0].link() if found else ""
    if not os.path.islink(current) or os.path.realpath(current) == os.path.realpath(project_src):
        return ""
    return f"another release is active: {os.path.basename(os.path.realpath(current))}"
