# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scratch copy of a project in which its tests run: its databases and brokers without their data, on a network of its own.

Everything answers by the names that it has in production, so the app's settings need no change, and there is no way to
production: one network, without a way out and without an address of this host.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..engine.definition import names_in
from ..engine.jobs import is_off
from ..engine.programs import BROKER, DATABASE

LABEL = "evenkeel.scratch"
TESTS = "evenkeel-tests"
_NETWORK = "scratch"
#: What of a service is its own business in any container.  All else (ports, networks, privileges, devices, links, names
#: and labels that a proxy may listen to) would lead out of the scratch copy, or somebody in.
_KEPT = (
    "environment", "working_dir", "user", "group_add", "shm_size", "ulimits", "cap_add", "cap_drop", "security_opt", "platform",
    "init", "configs", "secrets", "read_only", "tmpfs", "stop_signal", "mem_limit", "memswap_limit", "pids_limit",
)  # fmt: skip
_OF_SERVERS = ("command", "entrypoint", "hostname")
#: Production comes first, where memory or time are short.
_MODEST = {"oom_score_adj": 800, "cpu_shares": 128}
# Copies of files of the tree have their content for a name.
_COPY = re.compile(r"/mounts/[0-9a-f]{64}(/|\Z)")
_OWN_SETTINGS = re.compile(r"(^|\s)(--settings|--ds|DJANGO_SETTINGS_MODULE=|DJANGO_CONFIGURATION=)")
#: Ports by which a database or broker is known to be there; others of an image may never be listened on.
_PORTS = frozenset({5432, 3306, 1433, 1521, 27017, 6379, 5672, 11211, 9092, 4222})


class BadCommand(Exception):
    """What is to be run as tests is no command; the message says what to write."""


def command_of(given: Any) -> tuple[str, ...]:
    """A command for tests as words, empty for none; a script of Python's is run by ``python``.

    :raises BadCommand: it is none.
    """
    if not given:
        return ()
    if isinstance(given, str):
        try:
            words = shlex.split(given)
        except ValueError as error:
            raise BadCommand(f"{given!r} is no command ({error})") from error
    elif isinstance(given, Sequence) and all(isinstance(word, (str, int, float)) for word in given):
        words = [str(word) for word in given]
    else:
        raise BadCommand(f"{given!r} is no command")
    if not words or not words[0]:
        raise BadCommand(f"{given!r} is no command")
    # Many images have manage.py without the bit that lets it be run.
    return ("python", *words) if words[0].endswith(".py") else tuple(words)


def servers_of(project: Mapping[str, Any], kinds: Mapping[str, str]) -> list[str]:
    """The services that tests get a copy of."""
    return sorted(n for n, s in project["services"].items() if kinds.get(n) in (DATABASE, BROKER) and not is_off(s))


def out_of_reach(databases: Sequence[Mapping[str, str]], names: Collection[str], words: Sequence[str]) -> str:
    """Why the app's tests would find no database, empty where they do.

    :param databases: ``alias``, ``engine`` and ``host`` of each, as the app's settings have them.
    :param names: by which the scratch servers are found.
    :param words: the tests' command; one that names settings of its own is believed to know what it does.
    """
    if _OWN_SETTINGS.search(" ".join(words)):
        return ""
    for one in databases:
        # SQLite and SpatiaLite are files.
        if "lite" in one["engine"] or one["engine"].endswith("dummy"):
            continue
        missing = [host for host in (one["host"] or "").split(",") if host not in names]
        if missing:
            where = f"at {missing[0]}" if missing[0] else "not named by a host"
            return (
                f"the database {one['alias']} of the app's settings is {where}, and that is no database of this project"
            )
    return ""


def scratch_project(
    project: Mapping[str, Any],
    service: str,
    servers: Sequence[str],
    images: Mapping[str, str],
    words: Sequence[str],
    name: str,
    source: str,
    plain_files: Collection[str] = (),
) -> dict[str, Any]:
    """A project of the servers without their data and of the tests, to be run under another name.

    :param project: as Compose resolves it.
    :param images: service → image.
    :param words: the tests' command, which stands in the place of the image's entrypoint.
    :param name: the scratch project's.
    :param source: the folder that the project lies in.
    :param plain_files: those sources of mounts that are regular files on this host.
    """
    labels = {LABEL: str(project["name"])}
    services: dict[str, Any] = {}
    for server in servers:
        own = project["services"][server]
        services[server] = {
            **_bare(own, images[server], labels, source, plain_files),
            **{key: own[key] for key in _OF_SERVERS if own.get(key) is not None},
            "networks": {_NETWORK: {"aliases": names_in(project, service, server)}},
        }
        if (own.get("healthcheck") or {}).get("test") and not own["healthcheck"].get("disable"):
            known = {k: v for k, v in own["healthcheck"].items() if k not in ("start_period", "start_interval")}
            # The engine asks for the first time after one interval, and production's may be long.
            services[server]["healthcheck"] = {**known, "interval": "1s", "retries": 300}
    # What Compose resolved has its dollar signs doubled, and so must what we add.
    first, *rest = [word.replace("$", "$$") for word in words]
    app = _bare(project["services"][service], images[service], labels, source, plain_files)
    services[TESTS] = {
        **app,
        # What fails is told by the end of the output, so that has to come in its order.
        "environment": {**(app.get("environment") or {}), "PYTHONUNBUFFERED": "1"},
        "entrypoint": [first],
        "command": rest,
        "pull_policy": "never",
        "healthcheck": {"disable": True},
        "networks": {_NETWORK: {}},
    }
    network = {
        "name": name,
        "internal": True,
        "enable_ipv6": False,
        "labels": labels,
        # Without it this host has an address in there, and whatever listens on it could be reached (measured).
        "driver": "bridge",
        "driver_opts": {"com.docker.network.bridge.inhibit_ipv4": "true"},
    }
    result = {"name": name, "services": services, "networks": {_NETWORK: network}}
    for kind in ("configs", "secrets"):
        used = {str(e.get("source")) for s in services.values() for e in s.get(kind) or []}
        known = {key: value for key, value in (project.get(kind) or {}).items() if key in used}
        result.update({kind: known} if known else {})
    copied: dict[str, Any] = json.loads(json.dumps(result))
    return copied


def _bare(
    service: Mapping[str, Any], image: str, labels: Mapping[str, str], source: str, plain_files: Collection[str]
) -> dict[str, Any]:
    """A service without whatever leads to others or to data."""
    limits = ((service.get("deploy") or {}).get("resources") or {}).get("limits")
    return {
        **{key: service[key] for key in _KEPT if service.get(key) is not None},
        **({"deploy": {"resources": {"limits": limits}}} if limits else {}),
        **_MODEST,
        "image": image,
        "labels": labels,
        "restart": "no",
        "volumes": _mounts(service, source, plain_files),
        # One that a host keeps elsewhere could not be read back.
        "logging": {"driver": "json-file", "options": {"max-size": "50m"}},
    }


def _mounts(service: Mapping[str, Any], source: str, plain_files: Collection[str]) -> list[dict[str, Any]]:
    """The mounts that are code or configuration, read-only: of the release's tree, and files that nobody writes to anyway.

    A folder from elsewhere may be data, or have a socket in it, which is a way out.
    """
    found = []
    for mount in service.get("volumes") or []:
        where = str(mount.get("source") or "")
        guarded = bool(mount.get("read_only")) and (where in plain_files or where.startswith(f"{source}/"))
        if mount.get("type") == "tmpfs":
            found.append(dict(mount))
        elif mount.get("type") == "bind" and (guarded or where == source or _COPY.search(where)):
            found.append({**mount, "read_only": True})
    return found


def awaited_port(image: Mapping[str, Any], service: Mapping[str, Any]) -> int:
    """The port that a server listens on once it is there, 0 where that is not known.

    :param image: the image's configuration.
    """
    exposed = [*(image.get("ExposedPorts") or {}), *map(str, service.get("expose") or [])]
    ports = {int(p.split("/")[0]) for p in exposed if p.split("/")[0].isdecimal() and not p.endswith("/udp")}
    return min(ports & _PORTS, default=0)
