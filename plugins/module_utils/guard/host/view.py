# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guard sees: each nginx of an app, the names it resolves once, and the containers that these lead to."""

from __future__ import annotations

import os
import posixpath
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Callable

from ...base.host import processes
from ...base.host.clock import lives, uptime
from ...base.host.file_lock import flock_if_there
from ...base.host.files import FilesFailed, read_json
from ...engine.host.engine import Engine
from ...engine.host.inspection import (
    ONE_OFF_LABEL,
    PROJECT_LABEL,
    SERVICE_LABEL,
    label_of,
    moment_of,
    pid_of,
    started_at,
)
from ...nginx.config import UNIX, routes
from ...nginx.host.nginx import HOST, HostNginx, Master, Nginx, NginxFailed, loaded_at
from ...nginx.host.site import ContainerSite, HostSite, Site
from ...nginx.include import FOLDER, is_managed
from ...nginx.syntax import Directive, UnreadableConfig, load
from ...operation import lease
from ...traffic.host.dns_resolver import reloads
from ...traffic.host.upstream_include import AddressFile
from ..guard import SAME_LOAD, Backend, Name, Pinned, Repin, Seen


class Deployment:
    """The lock of an app, as one sees it who never takes it and writes nothing.

    :param directory: the app's state directory; where there is none, nobody has ever deployed.
    :param former: where that is as long as it was not moved, and where an app is updated without root.
    :raises FilesFailed: it is there and may not be read.
    """

    def __init__(self, directory: str, former: str = "") -> None:
        self._paths = [os.path.join(d, "lock") for d in (directory, former) if d]
        for path in map(os.path.dirname, self._paths):
            if os.path.isdir(path) and not os.access(path, os.R_OK | os.X_OK):
                raise FilesFailed(f"the state directory {path} may not be read", "run the guard as root")

    @property
    def _path(self) -> str:
        return next((p for p in self._paths if os.path.exists(p)), self._paths[0])

    def busy(self) -> bool:
        """Whether a living process works under the lock; between the modules of an operation none does."""
        lock = lease.from_json(read_json(self._path))
        return lock is not None and lock.held and lives(lock.process)

    def still(self) -> AbstractContextManager[bool]:
        """Keep every act of an operation waiting while the block runs; False where one is under way.

        Exclusive, since acts share it.  The lock itself is not taken: an update that begins in this moment waits for
        the end of an act, but would refuse to begin beside another holder.

        :raises FilesFailed: the file may not be opened.
        """
        return flock_if_there(f"{self._path}.guard")


@dataclass(frozen=True)
class Watched:
    """One nginx: what is seen of it, the hand to act on it, and why its configuration cannot be read, if so.

    :ivar files: service → the file of addresses that nginx includes for it.
    """

    seen: Seen
    nginx: Master
    problem: str = ""
    networks: frozenset[str] = frozenset()
    files: Mapping[str, AddressFile] = field(default_factory=dict)

    def lead(self, repin: Repin) -> None:
        """Put right what nginx will load for a service: its pin, or the file of its addresses.

        :raises NginxFailed: it cannot be written.
        """
        file = self.files.get(repin.service)
        if file is None:
            self.nginx.pin(repin.service, repin.names, sorted(repin.addresses))
            return
        # Nobody resolves a name here: all that run are named.
        every = {
            a for name in self.seen.names for b in name.backends if b.service == repin.service for a in b.addresses
        }
        file.write(sorted(repin.addresses or every))


class Hearing:
    """Which of the engine's events are an app's business: a busy host has many that are not.

    :param project: the app's Compose project.
    """

    def __init__(self, project: str) -> None:
        self._project = project
        #: Ids of the networks that an nginx of the app is on.
        self.networks: frozenset[str] = frozenset()
        self._near: set[str] = set()

    def concerns(self, event: Mapping[str, Any]) -> bool:
        """Whether to look: at what is the app's own, or on a network of its nginx, whosever it is."""
        actor = event.get("Actor") or {}
        attributes = actor.get("Attributes") or {}
        if event.get("Type") == "network":
            near = actor.get("ID") in self.networks
            # It is connected before it starts, and only the start says that it has.
            self._near |= {str(attributes.get("container"))} if near and event.get("Action") == "connect" else set()
            return near
        own = str(actor.get("ID") or "")
        near = own in self._near
        if event.get("Action") == "die":
            self._near.discard(own)
        return near or attributes.get(PROJECT_LABEL) == self._project


@dataclass
class _Loaded:
    """What was read of a configuration, for as long as nginx has not loaded again.

    :ivar files: service → file of addresses, and the port that stands in it.
    """

    at: float
    hosts: dict[str, frozenset[int]]
    problem: str = ""
    files: dict[str, tuple[str, int]] = field(default_factory=dict)
    #: It could not be read this time.
    again: bool = False


class View:
    """Looks at an app's nginx and at what it proxies to, wherever that belongs.

    :param project: the Compose project whose nginx is meant.
    """

    def __init__(self, engine: Engine, project: str) -> None:
        self.engine = engine
        self.project = project
        self._read: dict[str, _Loaded] = {}

    def look(self, busy: bool = False) -> list[Watched]:
        """Each nginx of the app that runs.

        :param busy: what :meth:`Deployment.busy` says.
        :raises EngineFailed: the engine does not answer.
        """
        running = self.engine.running()
        mine = [e for e in running if self._is_mine(e)]
        inspections = {str(e["Id"]): self.engine.inspect(str(e["Id"])) for e in mine}
        found = []
        for inspection in list(inspections.values()):
            nginx = Nginx(self.engine, inspection) if pid_of(inspection) else None
            workers = nginx.workers() if nginx else []
            if nginx and workers:
                found.append(self._watched(nginx, inspection, workers, running, inspections, busy))
        found += self._of_this_host(inspections, busy)
        self._read = {w.seen.proxy: self._read[w.seen.proxy] for w in found}
        return found

    def _of_this_host(self, inspections: Mapping[str, Mapping[str, Any]], busy: bool) -> list[Watched]:
        """This host's own nginx, where it includes a file of addresses for the app."""
        try:
            nginx = HostNginx()
        except NginxFailed:
            return []
        loaded = loaded_since_boot(nginx.workers())
        config = self._config(nginx, HOST, loaded, inspections)
        if not config.files:
            return []
        files, names, pins = self._addressed(config, HostSite, inspections.values(), None)
        return [Watched(Seen(uptime(), HOST, loaded, names, pins, busy), nginx, config.problem, files=files)]

    def _addressed(
        self,
        config: _Loaded,
        site_of: Callable[[str], Site],
        neighbours: Iterable[Mapping[str, Any]],
        networks: Mapping[str, Mapping[str, Any]] | None,
    ) -> tuple[dict[str, AddressFile], tuple[Name, ...], dict[str, Pinned]]:
        """The files of addresses: each is a pin that stays, of a name that only its service has."""
        files = {s: AddressFile(self.project, s, site_of(dest), port) for s, (dest, port) in config.files.items()}
        running = [i for i in neighbours if pid_of(i) and label_of(i, PROJECT_LABEL) == self.project]
        names = tuple(
            Name(
                f"{s} in {file.site.dest}",
                tuple(
                    self._backend(i, frozenset({file.port}), _networks(i) if networks is None else networks)
                    for i in running
                    if label_of(i, SERVICE_LABEL) == s
                ),
            )
            for s, file in files.items()
        )
        return files, names, {s: Pinned(file.named(), since_boot(file.site.changed_at())) for s, file in files.items()}

    def _is_mine(self, entry: Mapping[str, Any]) -> bool:
        labels = entry.get("Labels") or {}
        return bool(labels.get(PROJECT_LABEL) == self.project and labels.get(ONE_OFF_LABEL, "False") == "False")

    def _watched(
        self,
        nginx: Nginx,
        inspection: Mapping[str, Any],
        workers: Iterable[processes.Process],
        running: Iterable[Mapping[str, Any]],
        inspections: dict[str, dict[str, Any]],
        busy: bool,
    ) -> Watched:
        loaded = loaded_since_boot(workers)
        config = self._config(nginx, nginx.id, loaded, inspections)
        names: tuple[Name, ...] = ()
        networks = _networks(inspection)
        files: dict[str, AddressFile] = {}
        kept: dict[str, Pinned] = {}
        if (config.hosts or config.files) and networks:
            near = [str(e["Id"]) for e in running if set(_networks(e)) & set(networks) and str(e["Id"]) != nginx.id]
            for key in near:
                inspections[key] = inspections.get(key) or self.engine.inspect(key)
            neighbours = [inspections[key] for key in near if pid_of(inspections[key])]
            names = tuple(self._name(host, ports, neighbours, networks) for host, ports in config.hosts.items())

            def site_of(dest: str) -> Site:
                return ContainerSite(self.engine, inspection, dest, self.project)

            files, more, kept = self._addressed(config, site_of, neighbours, networks)
            names += more
        pins: dict[str, Pinned] = {}
        problem = config.problem
        if any(name.backends for name in names):
            try:
                pins = {s: Pinned(frozenset(p.addresses), since_boot(p.written)) for s, p in nginx.pins().items()}
            except NginxFailed as error:
                names, problem = (), str(error)
        seen = Seen(uptime(), nginx.id, loaded, names, {**pins, **kept}, busy)
        return Watched(seen, nginx, problem, frozenset(networks), files)

    def _config(self, nginx: Master, key: str, loaded: float, inspections: Mapping[str, Mapping[str, Any]]) -> _Loaded:
        """The hosts of its configuration, with their ports; asked once per load."""
        known = self._read.get(key)
        if known is None or abs(known.at - loaded) > SAME_LOAD or known.again:
            services = {label_of(i, SERVICE_LABEL) for i in inspections.values() if self._is_of_app(i)}
            known = self._read[key] = _read_config(nginx, loaded, known, self.project, services)
        return known

    def _is_of_app(self, inspection: Mapping[str, Any]) -> bool:
        return label_of(inspection, PROJECT_LABEL) == self.project

    def _name(
        self,
        host: str,
        ports: frozenset[int],
        neighbours: Iterable[Mapping[str, Any]],
        networks: Mapping[str, Mapping[str, Any]],
    ) -> Name:
        return Name(
            host, tuple(self._backend(i, ports, networks) for i in neighbours if _answers_to(i, host, networks))
        )

    def _backend(
        self, inspection: Mapping[str, Any], ports: frozenset[int], networks: Mapping[str, Mapping[str, Any]]
    ) -> Backend:
        pid = pid_of(inspection) or 0
        process = processes.process(pid)
        # By the clock that the workers are counted by, so that a corrected wall clock does not part them.
        started = process.started if process else started_at(inspection)
        shared = [data for key, data in _networks(inspection).items() if key in networks]
        addresses = {str(data.get(k)) for data in shared for k in ("IPAddress", "GlobalIPv6Address") if data.get(k)}
        open_ports = [processes.listens(pid, port) for port in ports]
        mine = label_of(inspection, PROJECT_LABEL) == self.project
        return Backend(
            id=str(inspection["Id"]),
            addresses=frozenset(addresses),
            started=since_boot(started),
            listening=any(is_open is not False for is_open in open_ports),
            service=label_of(inspection, SERVICE_LABEL) if mine else "",
            created=since_boot(moment_of(inspection.get("Created"))),
        )


def _read_config(
    nginx: Master, loaded: float, before: _Loaded | None, project: str, services: Iterable[str]
) -> _Loaded:
    try:
        tree = load(nginx.dump())
        return _Loaded(loaded, long_known(tree), files=files_of(tree, project, services))
    except NginxFailed as error:
        problem = str(error)
    except UnreadableConfig:
        # What it complains of is quoted, and may be a token.
        problem = f"{nginx.name}: its configuration cannot be read safely, so it is not guarded; see role guard"
    # It refuses to be printed too while a name means nothing: the hosts that were read before are still those.
    return replace(before, again=True) if before and before.hosts else _Loaded(loaded, {}, problem, again=True)


def long_known(tree: tuple[Directive, ...]) -> dict[str, frozenset[int]]:
    """The names that nginx resolves when it loads, or for long, each with the ports that it connects to.

    Those of a variable are asked for anew after a reload; those that an upstream block resolves are handed on.
    """
    found: dict[str, set[int]] = {}
    for route in routes(tree):
        if posixpath.basename(posixpath.dirname(route.include)) == FOLDER or route.host.startswith((UNIX, "[")):
            continue
        helps = route.static_name or (not route.keepalive and reloads(route.kept))
        if helps and "$" not in route.host:
            found.setdefault(route.host.lower().rstrip("."), set()).add(route.port)
    return {host: frozenset(ports) for host, ports in found.items()}


def files_of(tree: tuple[Directive, ...], project: str, services: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Service → the file of its addresses that an upstream block includes, and the port in it."""
    return {s: (r.include, r.port) for r in routes(tree) for s in services if is_managed(r.include, project, s)}


def _networks(container: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A container's networks by their id, from its short or its long form."""
    networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
    return {str(d["NetworkID"]): {**d, "Name": name} for name, d in networks.items() if d and d.get("NetworkID")}


def _answers_to(inspection: Mapping[str, Any], host: str, networks: Mapping[str, Any]) -> bool:
    own = str(inspection.get("Name") or "").lstrip("/")
    return any(
        host in _names_on(data, own, str(inspection["Id"]))
        for k, data in _networks(inspection).items()
        if k in networks
    )


def _names_on(data: Mapping[str, Any], own: str, container_id: str) -> Iterator[str]:
    for name in (own, container_id[:12], *(data.get("Aliases") or ()), *(data.get("DNSNames") or ())):
        yield str(name).lower()
        yield f"{name}.{data['Name']}".lower()


def loaded_since_boot(workers: Iterable[processes.Process]) -> float:
    """When nginx loaded what its workers know, 0 without workers."""
    return since_boot(loaded_at(workers))


def since_boot(moment: float) -> float:
    """A UNIX time as seconds since boot, 0 for none."""
    return moment - (time.time() - uptime()) if moment else 0.0
