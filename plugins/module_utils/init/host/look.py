# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a Compose project where it lies, and where it runs; touches nothing."""

from __future__ import annotations

import json
import os
import pwd
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...adopt.adoption import CannotAdopt, Started, origin_of
from ...adopt.host.snapshot import git_of
from ...adopt.host.view import started
from ...base.errors import BadInput
from ...engine.commands import django_command
from ...engine.host.compose import Compose, ComposeFailed
from ...engine.host.engine import Engine
from ...engine.host.inspection import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, label_of, pid_of
from ...engine.host.kinds import Look
from ...engine.host.project import connect, image_name
from ...engine.host.source_tree import SourceTree, text_of
from ...engine.jobs import jobs_of
from ...engine.kinds import Evidence, commands_run, environment_of, judge
from ...engine.programs import JOB
from ...engine.services import chosen_kind
from ...git import address
from ...git.host.git import GitFailed
from ...nginx.config import Route
from ...nginx.host.nginx import HOST
from ...traffic.host.proxy_routes import Proxied, proxy_of, routes_to
from ..health_url import paths_checked, paths_written
from ..variables import Repository, Seen, Service
from .proxy_files import edge_of, proxied_by_files

#: The names that Compose looks for by itself; docs.docker.com/compose/intro/compose-application-model.
_BY_ITSELF = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_FOR_PRODUCTION = re.compile(r"^(docker-)?compose[-.](prod|production)\.ya?ml$")
#: As ``startproject`` names them, docs.djangoproject.com/en/5.2/howto/deployment/wsgi.
_SERVED = re.compile(r"^[\w.]+\.(wsgi|asgi)(:application)?$")


class _NoEngine(Engine):
    """Stands where no engine can be asked: nothing runs, and no image is there."""

    def __init__(self) -> None:
        """Connect to nothing."""

    def containers(self, labels: Mapping[str, str], services: Any = ()) -> list[dict[str, Any]]:
        """None."""
        return []

    def image(self, name: str) -> dict[str, Any]:
        """Nothing is known of it."""
        return {}


@dataclass(frozen=True)
class _Place:
    """Where a project lies: its name is empty where Compose is to say it."""

    name: str
    folder: str
    files: tuple[str, ...]
    env_files: tuple[str, ...] = ()
    running: bool = False


def look(sources: Sequence[str], name: str) -> Seen:
    """Look at a project.

    :param sources: its Compose files, or its folder; empty for the one that runs.
    :param name: the Compose project, where several run or its containers have another name than the folder.
    :raises BadInput: there is none, or it cannot be read.
    """
    unread = []
    engine: Engine = _NoEngine()
    try:
        engine = connect("/")
    except BadInput as error:
        if not sources:
            raise
        unread.append(f"what runs was not looked at: {error}")
    inspections = engine.containers({ONE_OFF_LABEL: "False"})
    place = _place(list(map(os.path.realpath, sources)), name, [started(i) for i in inspections])
    try:
        project = Compose(place.folder, place.files, place.env_files, (), place.name).resolved()
    except ComposeFailed as error:
        raise BadInput(
            f"Compose cannot read {' + '.join(place.files)}: {error}",
            f"docker compose -f {place.files[0]} config shows the same; where .env is only on the server, run it there: -i HOST,",
        ) from error
    mine = [i for i in inspections if place.running and label_of(i, PROJECT_LABEL) == project["name"]]
    files = Look(engine, project, SourceTree(place.folder))
    evidence = files.at_each(mine)
    try:
        proxied = proxy_of(engine, project, mine, evidence, {}) if mine else Proxied()
        if not proxied.name:
            proxied = proxied_by_files(project, evidence, files, proxied)
    except BadInput as error:
        proxied = Proxied()
        unread.append(str(error))
    ports = _published(project["services"].get(proxied.name) or {})
    edge: tuple[Route, ...] = ()
    if proxied.name not in ("", HOST) and not ports:
        outer, edge = edge_of(project, evidence, files, proxied.name)
        ports = _published(project["services"].get(outer) or {})
    pids = {label_of(i, SERVICE_LABEL): pid for i in mine if (pid := pid_of(i))}
    return Seen(
        name=str(project["name"]),
        folder=place.folder,
        files=place.files,
        services=tuple(
            _service(
                n, project, evidence[n], proxied, _manage_py(files, project["services"][n], evidence[n], pids.get(n))
            )
            for n in project["services"]
        ),
        env_file=_env_file(place),
        owner=_owner(place.folder),
        running=bool(mine),
        around=proxied.around(str(project["name"])),
        edge=edge,
        ports=None if proxied.name == HOST else ports,
        repository=_repository(place.folder),
        health_paths=tuple(_health_paths(files.tree)),
        unread=tuple(unread),
    )


def _place(sources: Sequence[str], name: str, every: Sequence[Started]) -> _Place:
    """Where the project is, by what runs of it, else by what lies there.

    :raises BadInput: it is not there, or several are meant.
    """
    for source in sources:
        if not os.path.exists(source):
            raise BadInput(f"{source} is not there on this host", "name the Compose file, or its folder, as init_from")
    running = [c for c in every if c.running and c.files and (not name or c.project == name)]
    fitting = [c for c in running if all(_is_of(source, c) for source in sources)]
    projects = sorted({(c.project, c.folder) for c in fitting})
    if len(projects) > 1 or not (sources or projects):
        told = ", ".join(
            f"{project} (from {where})" for project, where in sorted({(c.project, c.folder) for c in every})
        )
        raise BadInput(
            f"it is not clear which Compose project is meant; on this host there are: {told or 'none'}",
            "name one that runs (-e init_project=NAME), or its Compose file (-e init_from=/srv/app/docker-compose.yml)",
        )
    if projects:
        try:
            origin = origin_of(projects[0][0], projects[0][1], every)
        except CannotAdopt as error:
            raise BadInput(str(error), error.advice) from error
        return _Place(projects[0][0], origin.folder.rstrip("/"), origin.files, origin.env_files, True)
    if os.path.isdir(sources[0]):
        return _Place(name, sources[0], tuple(os.path.join(sources[0], n) for n in _files_in(sources[0])))
    return _Place(name, os.path.dirname(sources[0]), tuple(sources))


def _is_of(source: str, container: Started) -> bool:
    """Whether a container was started from this file or folder."""
    return source == os.path.realpath(container.folder) or source in map(os.path.realpath, container.files)


def _files_in(folder: str) -> list[str]:
    """The Compose files of a folder in which nothing runs.

    :raises BadInput: none, or nobody knows which.
    """
    names = sorted(os.listdir(folder))
    production = [n for n in names if _FOR_PRODUCTION.match(n)]
    if len(production) == 1:
        return production
    usual = [n for n in _BY_ITSELF if n in names][:1]
    if usual and not production:
        stem, dot, end = usual[0].rpartition(".")
        return [*usual, *(n for n in (f"{stem}.override{dot}{end}",) if n in names)]
    raise BadInput(
        f"{folder} has {'several Compose files for production' if production else 'no Compose file'}"
        + (f": {', '.join(production)}" if production else ""),
        f"name the file: -e init_from={folder}/{(production or ['docker-compose.prod.yml'])[0]}",
    )


def _service(name: str, project: Mapping[str, Any], evidence: Evidence, proxied: Proxied, manage_py: str) -> Service:
    service = project["services"][name]
    routes = routes_to(str(project["name"]), name, service, proxied.routes, proxied.listeners)
    kind = JOB if name in jobs_of(project) else chosen_kind(name, service, evidence, {}, 1 if routes else 0)
    commands = [c.words for c in commands_run(service, evidence)] + list(map(list, evidence.processes))
    words = [word for command in commands for word in command]
    environment = environment_of(service, evidence.image)
    others = set(project["services"]) - {name}
    served = [match.group(1) for match in map(_SERVED.match, words) if match]
    return Service(
        name=name,
        kind=kind,
        because=judge(service, evidence).because,
        routes=routes,
        manage_py=manage_py,
        started_as_django=bool(served) or any(map(django_command, commands)) or "DJANGO_SETTINGS_MODULE" in environment,
        wsgi="wsgi" in served,
        recipe=json.dumps(service.get("build") or image_name(project, name), sort_keys=True),
        asks=tuple(
            sorted(
                o
                for o in others
                if any(re.search(rf"(?<![\w-]){re.escape(o)}(?![\w-])", v) for v in environment.values())
            )
        ),
        checked=tuple(paths_checked(service.get("healthcheck") or evidence.image.get("Healthcheck") or {})),
        own=bool(service.get("build")),
        published=_published(service),
    )


def _published(service: Mapping[str, Any]) -> dict[int, int]:
    """Port of the container → port of the server, of those that others than this server reach."""
    found = {}
    for port in service.get("ports") or []:
        published, target = str(port.get("published") or ""), str(port.get("target") or "")
        if published.isdecimal() and target.isdecimal() and port.get("protocol", "tcp") == "tcp":
            found[int(target)] = int(published)
    return found


def _manage_py(files: Look, service: Mapping[str, Any], evidence: Evidence, pid: int | None) -> str:
    """Where ``manage.py`` is in a service's containers, from their working directory; empty where it has none."""
    recipe, folders = files.recipe(service)
    inside = str(service.get("working_dir") or evidence.image.get("WorkingDir") or recipe.folder)
    known = [os.path.dirname(p) for p in files.tree.paths if os.path.basename(p) == "manage.py"]
    ends = ["", *dict.fromkeys("/".join(k.split("/")[n:]) for k in known for n in range(k.count("/") + 1) if k)]
    for end in ends:
        path = os.path.normpath(os.path.join(inside, end, "manage.py"))
        if pid is not None and os.path.isfile(f"/proc/{pid}/root{path}"):
            return os.path.normpath(os.path.join(end, "manage.py"))
        if pid is None and any(map(os.path.isfile, files.origins(service, path, recipe, folders))):
            return os.path.normpath(os.path.join(end, "manage.py"))
    return ""


def _health_paths(tree: SourceTree) -> Iterator[str]:
    for path in (p for p in tree.paths if os.path.basename(p) == "urls.py"):
        yield from paths_written(text_of(os.path.join(tree.root, path)))


def _env_file(place: _Place) -> str:
    if place.env_files:
        inside = os.path.relpath(place.env_files[0], place.folder)
        return inside if not inside.startswith("..") else os.path.basename(inside)
    return ".env" if os.path.isfile(os.path.join(place.folder, ".env")) else ""


def _owner(folder: str) -> str:
    try:
        return pwd.getpwuid(os.stat(folder).st_uid).pw_name
    except KeyError:
        return ""


def _repository(folder: str) -> Repository | None:
    """The checkout that a folder lies in, at its top or below; None where it lies in none."""
    top = folder
    while not os.path.lexists(os.path.join(top, ".git")):
        above = os.path.dirname(top)
        if above == top:
            return None
        top = above
    git = git_of(top)

    def asked(*words: str) -> str:
        try:
            return git.run("-C", top, *words).strip() if git else ""
        except GitFailed:
            return ""

    remote = asked("config", "--get", "remote.origin.url")
    try:
        given = address.apart(("fetch", remote))
    except address.BadAddress:
        return Repository(top, "", asked("symbolic-ref", "--short", "-q", "HEAD"), True)
    return Repository(top, given.words[1], asked("symbolic-ref", "--short", "-q", "HEAD"), bool(given.variables))
