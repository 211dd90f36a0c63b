# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which nginx a call of ``nginx_reload`` concerns, and what its files are to hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...base.errors import BadInput
from ...base.host.directory_handles import read_file
from ...base.secret_values import MARK
from ...engine.definition import LIVE
from ...engine.host.compose import ComposeFailed
from ...engine.host.engine import Engine
from ...engine.host.inspection import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, label_of, pid_of
from ...engine.host.project import compose_of, connect
from ...engine.options import ProjectOptions
from ...nginx.host.nginx import Nginx
from ...nginx.host.proxy_files import files_of
from ...nginx.host.site import ContainerSite, Contents, HostSite, Site
from ...nginx.twin import checked
from ...operation.options import LockOptions
from ..port_rules import lasting


@dataclass(frozen=True)
class Request:
    """Which files nginx is to serve with.

    :ivar service: the project's that is nginx; the nginx of the host itself, or every nginx of a release, where none is named.
    :ivar src: a file of this host that is put at ``dest``; ``content`` instead where that is given, though it be empty.
    :ivar from_release: all files that the release has for nginx, in place of one.
    :ivar keep: how many earlier contents of a file are kept.
    :ivar url: asked once nginx has the files; it has to answer with a status below 400.
    """

    project: ProjectOptions
    lock: LockOptions
    service: str = ""
    src: str | None = None
    content: str | None = None
    dest: str = ""
    from_release: bool = False
    backup: bool = True
    keep: int = 5
    validate_only: bool = False
    url: str = ""
    url_host: str = ""


class Absent(Exception):
    """The nginx does not run, so that nothing can be known of it."""


def file_change(request: Request) -> tuple[list[Site], Contents, str]:
    """One file, with what it is to hold."""
    dest = checked(request.dest)
    content = _content(request.content, request.src)
    if request.service:
        engine, inspection, project = _container(request)
        name = str(project["name"])
        return [ContainerSite(engine, inspection, dest, name)], {dest: content}, name
    compose_of(request.project)
    name = request.project.project_name
    if not name and not request.lock.state_dir:
        raise BadInput("the host's own nginx belongs to no project: where its records are kept is not told",
                       "set project_name or state_dir")  # fmt: skip
    return [HostSite(dest)], {dest: content}, name or "nginx of this host"


def release_change(request: Request) -> tuple[list[Site], Contents, str]:
    """All files that a release has for its nginx, and those that it no longer has."""
    engine, inspection, project = _container(request)
    name = str(project["name"])
    wanted = files_of(request.project.project_src, project, request.service)
    return [ContainerSite(engine, inspection, dest, name) for dest in wanted], wanted, name


def _content(text: str | None, src: str | None) -> bytes:
    if text is not None:
        return text.encode("utf-8")
    try:
        return read_file(str(src))
    except OSError as error:
        raise BadInput(
            f"src {src} cannot be read on this host: {error.strerror}",
            "copy it there first, or give content: \"{{ lookup('file', …) }}\"",
        ) from error


def project_of(options: ProjectOptions) -> dict[str, Any]:
    """The resolved project.

    :raises BadInput: it is not valid.
    """
    try:
        return compose_of(options).resolved()
    except ComposeFailed as error:
        raise BadInput(f"the Compose project is not valid: {error}", "docker compose config shows it") from error


def proxies_of(project: Mapping[str, Any]) -> list[str]:
    """The services of a release that find their files at paths that never change."""
    return sorted((project.get(MARK) or {}).get(LIVE) or {})


def _container(request: Request) -> tuple[Engine, dict[str, Any], dict[str, Any]]:
    """The one container of the service that is nginx, and the resolved project."""
    service = request.service
    engine = connect(request.project.project_src, request.lock)
    project = project_of(request.project)
    name = str(project["name"])
    if service not in (project.get("services") or {}):
        known = ", ".join(sorted(project.get("services") or {}))
        raise BadInput(f"there is no service {service} in the project; it has {known}")
    every = engine.containers({PROJECT_LABEL: name, SERVICE_LABEL: service, ONE_OFF_LABEL: "False"})
    found = lasting(
        project["services"][service], [i for i in every if pid_of(i) and label_of(i, SERVICE_LABEL) == service]
    )
    if not found:
        raise Absent(f"{service} does not run")
    if len(found) > 1:
        raise BadInput(f"{service} has {len(found)} containers; a change of one file under several is not supported")
    master = Nginx(engine, found[0])
    if not master.workers():
        raise BadInput(f"{master.name} is no nginx: no worker process of one was found in it", "see service")
    return engine, dict(found[0]), project
