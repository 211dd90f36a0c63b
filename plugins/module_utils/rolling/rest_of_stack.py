# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an update means for the services that are not replaced one beside the other: databases, brokers, proxies.

They are started where they are missing, left alone where they are as wanted, and created anew, with a gap, only where
somebody allowed it. Data never moves: a mount that would come from elsewhere is refused by its name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..engine.definition import name_on_engine
from ..engine.programs import BROKER, DATABASE, JOB, PROXY
from ..releases.project import is_copy
from ..releases.standing import STANDING

_FIRST = (DATABASE, BROKER)
_RELEASE = re.compile(r"/releases/\d{8}T\d{6}Z-[^/]+/compose\.yaml\Z")
_GAPS = {
    DATABASE: "every service that asks it has to wait, and its connections are cut",
    BROKER: "tasks cannot be sent or fetched meanwhile, and its connections are cut",
    PROXY: "nobody is answered meanwhile",
}
#: Where PostgreSQL's own images, and Debian's packages, have their major version.
_MAJOR = re.compile(r"^(?:PG_MAJOR=|PATH=(?:.*:)?/usr/lib/postgresql/)(\d+)(?:\.\d+)?(?:/bin.*)?$")


@dataclass(frozen=True)
class Present:
    """A container that is there.

    :ivar source_of: where it mounts something that is written to → the volume's name, or the path on the host.
    :ivar anonymous: where it has a volume that nobody named and that holds something → the volume's name on the engine.
    :ivar files: the Compose files it was created from.
    :ivar exit_code: None while it runs.
    """

    service: str
    name: str
    config_hash: str
    image: str
    running: bool
    source_of: Mapping[str, str]
    files: tuple[str, ...] = ()
    exit_code: int | None = None
    anonymous: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rest:
    """What is to be done about the services that no roll replaces, databases and brokers apart from the proxies.

    :ivar start: what does not run yet and others depend on; ``start_last`` what depends on others.
    :ivar recreate: what runs with another definition than is wanted; ``handed`` of it what takes over its own ports.
    :ivar removed: services that the project had and has no longer.
    """

    start: tuple[str, ...] = ()
    start_last: tuple[str, ...] = ()
    recreate: tuple[str, ...] = ()
    recreate_last: tuple[str, ...] = ()
    handed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any((self.start, self.start_last, self.recreate, self.recreate_last, self.handed, self.removed))


def rest_of(
    kinds: Mapping[str, str],
    hashes: Mapping[str, str],
    images: Mapping[str, str],
    present: Sequence[Present],
    sources: Collection[str],
) -> Rest:
    """Sort what no roll replaces.

    :param kinds: service → kind, of those that are wanted at all.
    :param hashes: service → configuration hash as wanted.
    :param images: service → image id as wanted, empty where the image is not there yet.
    :param sources: the Compose files of this project, for what is no release.
    """
    standing = {n: k for n, k in kinds.items() if k in STANDING}
    alive = {p.service for p in present if p.running}
    differing = {p.service for p in present if p.service in standing and _differs(p, hashes, images)}
    absent = [n for n in standing if n not in alive and n not in differing]
    return Rest(
        start=tuple(n for n in absent if standing[n] in _FIRST),
        start_last=tuple(n for n in absent if standing[n] == PROXY),
        recreate=tuple(sorted(n for n in differing if standing[n] in _FIRST)),
        recreate_last=tuple(sorted(n for n in differing if standing[n] == PROXY)),
        removed=tuple(sorted({p.service for p in present if p.service not in kinds and _is_ours(p, sources)})),
    )


def _differs(container: Present, hashes: Mapping[str, str], images: Mapping[str, str]) -> bool:
    image = images.get(container.service) or container.image
    return container.config_hash != hashes.get(container.service) or container.image != image


def _is_ours(container: Present, sources: Collection[str]) -> bool:
    """Whether it was made from these files or from a release, and not from a file that somebody adds to the project."""
    return bool(container.files) and all(f in sources or _RELEASE.search(f) for f in container.files)


def gap_of(service: str, kind: str, keys: Sequence[str], obstacle: str = "") -> str:
    """Why a service cannot be created anew just so, and what to do.

    :param keys: what differs in its definition, where that is known.
    :param obstacle: why its ports cannot be handed over.
    """
    what = f" ({', '.join(keys)})" if keys else ""
    unhanded = f" Its ports cannot be handed over without a gap: {obstacle}." if obstacle else ""
    return (
        f"{service}: the definition of this {kind} differs from the one it runs with{what}; creating it anew takes the "
        f"time of its stop and start, in which {_GAPS[kind]}.{unhanded} Leave its definition as it is, or allow this with "
        f"allow_downtime: true (in a playbook update_allow_downtime, or rollback_allow_downtime)"
    )


def moved_data(project: Mapping[str, Any], kinds: Mapping[str, str], present: Sequence[Present]) -> list[str]:
    """Why data would not be where it was, a sentence for each mount that would come from elsewhere."""
    found = []
    for container in present:
        service = project.get("services", {}).get(container.service)
        if service is None:
            continue
        wanted = _sources(project, service)
        if kinds.get(container.service) != JOB:
            found += [left_behind(container, t) for t in sorted(container.anonymous) if wanted.get(t)]
        for target, source in sorted(container.source_of.items()):
            if is_copy(source) or wanted.get(target) == source:
                continue
            if target in wanted and not is_copy(wanted[target]):
                what = f"would come from {wanted[target]} instead of {source}"
            elif target not in wanted and kinds.get(container.service) in _FIRST:
                what = f"would not be mounted from {source} any more"
            else:
                continue
            found.append(
                f"{container.service}: {target} {what}, so that the new container would not find the data of the old one. "
                f"Write the mount as it was; or, if it is meant, stop and remove {container.name} yourself and move the data "
                f"first"
            )
    return list(dict.fromkeys(found))


def left_behind(container: Present, target: str) -> str:
    """Why a container cannot be replaced that has data in an anonymous volume, and what to do."""
    volume = container.anonymous[target]
    return (
        f"{container.service}: {container.name} has data in an anonymous volume at {target} ({volume[:12]}), which no new "
        f"container would get. Give {target} a volume with a name in the Compose file; then stop {container.name}, copy the "
        f"data (docker run --rm --volumes-from {container.name} -v NAME:/new --entrypoint cp IMAGE -a {target}/. /new/), remove "
        f"the container, and run the same command again"
    )


def _sources(project: Mapping[str, Any], service: Mapping[str, Any]) -> dict[str, str]:
    """Where each mount of a definition comes from: the volume's name on the engine, or the path."""
    result = {}
    for volume in service.get("volumes") or []:
        source = str(volume.get("source") or "")
        if volume.get("type") == "volume" and source:
            source = name_on_engine(project, "volumes", source)
        result[str(volume.get("target"))] = source
    return result


def changed_networks(project: Mapping[str, Any], engine: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Why a network of the engine is not as the project defines it, which nothing but removing it could change.

    :param engine: the name of each network that is there → its inspection.
    """
    found = []
    for key, definition in sorted((project.get("networks") or {}).items()):
        wanted = definition or {}
        name = name_on_engine(project, "networks", key)
        there = engine.get(name)
        if there is None or wanted.get("external"):
            continue
        subnets = {str(c.get("subnet")) for c in (wanted.get("ipam") or {}).get("config") or [] if c.get("subnet")}
        # Of a family that the project does not name the engine gives one of its own.
        families = {":" in s for s in subnets}
        every = {str(c.get("Subnet")) for c in (there.get("IPAM") or {}).get("Config") or []}
        given = {s for s in every if (":" in s) in families}
        differing = [
            what
            for what, differs in (
                ("driver", wanted.get("driver") and wanted["driver"] != there.get("Driver")),
                ("internal", bool(wanted.get("internal")) != bool(there.get("Internal"))),
                (
                    "enable_ipv6",
                    bool(wanted.get("enable_ipv6", there.get("EnableIPv6"))) != bool(there.get("EnableIPv6")),
                ),
                ("ipam", subnets and subnets != given),
                (
                    "driver_opts",
                    not set((wanted.get("driver_opts") or {}).items()) <= set((there.get("Options") or {}).items()),
                ),
            )
            if differs
        ]
        if differing:
            found.append(
                f"network {key}: {', '.join(differing)} differ from the network {name} that is there, which nothing can change "
                f"while containers are in it. Give the new network another name, beside the old one, and move the services"
            )
    return found


def notes_on(present: Sequence[Present], kinds: Mapping[str, str], sources: Collection[str]) -> list[str]:
    """Services of the project's name that none of its files has: somebody's own, which are left alone."""
    strangers = sorted({p.service for p in present if p.service not in kinds and not _is_ours(p, sources)})
    return [f"{name}: was started from another Compose file, and is left alone" for name in strangers]


def postgres_major(environment: Collection[str]) -> int | None:
    """The major version of PostgreSQL in an image, by its environment (``NAME=value``); None where that does not say."""
    found = [int(m[1]) for m in map(_MAJOR.match, environment) if m]
    return found[0] if found else None


def other_major(service: str, running: Collection[str], wanted: Collection[str]) -> str:
    """Why a database cannot be created anew from an image, empty where it can: its files are of another major version.

    :param running: the environment of the container that runs; ``wanted``: that of the image.
    """
    old, new = postgres_major(running), postgres_major(wanted)
    if None in (old, new) or old == new:
        return ""
    return f"{service}: its data is of PostgreSQL {old}, and the image has PostgreSQL {new}, which cannot read it"
