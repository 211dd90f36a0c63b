# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a configuration file of nginx really lies, and what a twin of its container has to look like.

A twin is a container that lives for one ``nginx -T``: image, user, rights, networks and mounts of the live one,
but the folder of the candidate is a volume of its own, so that the live one never sees what is only tried.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.confined import OF_TWIN

FILE = "file"
FOLDER = "folder"
VOLUME = "volume"
LAYER = "layer"
MEMORY = "memory"

TWIN_LABEL = "evenkeel.twin"

# What decides whether nginx may read, write and listen, and whom it can resolve; taken over word by word.
_SAME = (
    "CapAdd", "CapDrop", "SecurityOpt", "ReadonlyRootfs", "Tmpfs", "Dns", "DnsOptions", "DnsSearch", "ExtraHosts",
    "GroupAdd", "UsernsMode", "Sysctls", "Runtime", "Memory", "Ulimits",
)  # fmt: skip
_RELEASED = re.compile(r"^(?P<root>.*)/(?:mounts/[0-9a-f]{64}|releases/\d{8}T\d{6}Z-[^/]+)/")


class BadPlace(Exception):
    """The file cannot lie where it is said to; the message is for the user."""


@dataclass(frozen=True)
class Place:
    """Where a file of the container lies.

    :ivar path: on the host, empty where no path of the host leads to it.
    :ivar source: what is mounted, on the host.
    """

    kind: str
    path: str = ""
    source: str = ""


@dataclass(frozen=True)
class Twin:
    """A container to create: the engine's JSON for it, further networks, and the volume for each copied folder."""

    configuration: dict[str, Any]
    networks: tuple[str, ...]
    volumes: dict[str, str]


def checked(dest: str) -> str:
    """The path of a configuration file as nginx sees it.

    :raises BadPlace: it is relative, leads upwards, is a folder, or lies so high that its folder is the system.
    """
    if not dest.startswith("/") or "\0" in dest or "\n" in dest:
        raise BadPlace(f"dest {dest!r} is no absolute path as nginx sees it, such as /etc/nginx/conf.d/default.conf")
    if dest.endswith("/") or posixpath.normpath(dest) != dest or dest.count("/") < 3:
        raise BadPlace(f"dest {dest} is no path of a configuration file in a folder of its own")
    return dest


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def place_of(dest: str, mounts: Sequence[Mapping[str, Any]]) -> Place:
    """Which mount a file of the container lies in; the deepest one counts.

    :param mounts: ``Mounts`` of the container's inspection.
    """
    holding = [m for m in mounts if _inside(dest, str(m.get("Destination") or ""))]
    if not holding:
        return Place(LAYER)
    mount = max(holding, key=lambda m: len(str(m["Destination"])))
    at, kind, source = str(mount["Destination"]), str(mount.get("Type") or ""), str(mount.get("Source") or "")
    if kind == "bind" and at == dest:
        return Place(FILE, source, source)
    if kind not in ("bind", "volume") or not source:
        return Place(MEMORY)
    return Place(FOLDER if kind == "bind" else VOLUME, posixpath.join(source, posixpath.relpath(dest, at)), source)


def owning_app(path: str) -> str:
    """The ``app_root`` of the release that a path belongs to, empty when it belongs to none.

    What a release mounts is a copy named by its digest: edited, the name would be a lie, and the next release
    that has the same content would be given the edited one.
    """
    match = _RELEASED.match(path)
    return match.group("root") if match else ""


def folders_to_copy(
    dests: Sequence[str], prefix: str, changes: Sequence[str], mounts: Sequence[str]
) -> tuple[str, ...]:
    """The folders that a twin needs a copy of, because its image does not have them as the live container does.

    :param prefix: folder of the main configuration file.
    :param changes: paths that differ between the container and its image.
    :param mounts: paths inside the container where something is mounted.
    """
    folders = {posixpath.dirname(dest) for dest in dests}
    leaves = [
        c for c in changes if not any(other != c and _inside(other, c) for other in (*changes, *mounts, *folders))
    ]
    # An entrypoint that writes its configuration at the start (templates) leaves it in the container's own layer.
    is_external = [
        c for c in leaves if _inside(c, prefix) and not any(_inside(c, f) for f in folders) and c not in mounts
    ]
    wanted = {*folders, prefix} if is_external else folders
    return tuple(sorted(w for w in wanted if not any(o != w and _inside(w, o) for o in wanted)))


def twin_of(
    inspection: Mapping[str, Any], folders: Sequence[str], name: str, project: str, options: Sequence[str] = ()
) -> Twin:
    """What to create beside a live container so that ``nginx -T`` in it answers as the live one would.

    Everything mounted at or below a copied folder is left out: its content is in the copy, and a file mounted
    over the candidate would silently be tested instead of it.

    :param folders: see :func:`folders_to_copy`.
    :param options: the ``-c`` and ``-p`` that the live one was started with.
    """
    config, host = inspection.get("Config") or {}, inspection.get("HostConfig") or {}
    volumes = {folder: f"{name}-{number}" for number, folder in enumerate(folders)}
    mode = str(host.get("NetworkMode") or "default")
    networks = sorted((inspection.get("NetworkSettings") or {}).get("Networks") or {})
    own = mode not in ("host", "none") and not mode.startswith("container:")
    labels = {k: v for k, v in (config.get("Labels") or {}).items() if k.startswith("evenkeel.")}
    mounts = [m for m in (_same_mount(m) for m in inspection.get("Mounts") or []) if m]
    mounts = [m for m in mounts if not any(_inside(m["Target"], folder) for folder in folders)]
    for folder, volume in volumes.items():
        # Without NoCopy files that were deleted in the live one would come back from the image.
        options_of_it = {"NoCopy": True, "Labels": {**labels, TWIN_LABEL: project}}
        mounts.append({"Type": "volume", "Source": volume, "Target": folder, "VolumeOptions": options_of_it})
    return Twin(
        {
            "Image": inspection["Image"],
            # The image's own entrypoint may generate configuration over the candidate.
            "Entrypoint": ["nginx"],
            "Cmd": [*options, "-T"],
            "User": config.get("User") or "",
            "Env": config.get("Env") or [],
            "WorkingDir": config.get("WorkingDir") or "",
            "Labels": {**labels, TWIN_LABEL: project},
            "Healthcheck": {"Test": ["NONE"]},
            "AttachStdout": True,
            "AttachStderr": True,
            "HostConfig": {
                **{key: host[key] for key in _SAME if host.get(key)},
                "PidsLimit": OF_TWIN,
                # What -T prints holds secrets: it goes to us and to no log file.
                "LogConfig": {"Type": "none"},
                "NetworkMode": networks[0] if own and networks else mode,
                "Mounts": mounts,
            },
        },
        tuple(networks[1:]) if own else (),
        volumes,
    )


def _same_mount(mount: Mapping[str, Any]) -> dict[str, Any]:
    kind, target = str(mount.get("Type") or ""), str(mount.get("Destination") or "")
    if kind == "bind":
        return {"Type": "bind", "Source": mount["Source"], "Target": target, "ReadOnly": not mount.get("RW", True)}
    if kind == "volume":
        return {"Type": "volume", "Source": mount["Name"], "Target": target, "ReadOnly": not mount.get("RW", True)}
    return {"Type": "tmpfs", "Target": target} if kind == "tmpfs" else {}
