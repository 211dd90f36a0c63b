# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which mount holds the files that are served without a release: uploads, and what a front end was built to. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..build.builds import LIVE
from ..engine.programs import JOB, PROXY

MEDIA, FRONTEND = "media", "frontend"
LIVE_KINDS = (MEDIA, FRONTEND)
SERVICE = "evenkeel-hotfix"
_MEDIA_NAMES = {"media", "mediafiles", "media_files", "uploads"}
_SERVED = ("/usr/share/nginx/html", "/var/www/html", "/srv/www")


@dataclass(frozen=True)
class Live:
    """A mount: the volume's key in the project or the absolute path on the host; where ``service`` sees it.

    :ivar built: whether a job builds to it, which overwrites what is there.
    """

    source: str
    target: str
    service: str
    built: bool = False


class NoLiveFiles(ValueError):
    """Nothing, or more than one thing, could be meant; the message is for the user."""


def found(
    project: Mapping[str, Any], kinds: Mapping[str, str], kind: str, django_service: str, target: str = ""
) -> Live:
    """The mount that a kind of hotfix changes.

    :param target: its path in the container (of Django for media, of the proxy for a front end), empty to be found.
    :raises NoLiveFiles: none, or several.
    """
    services = project.get("services") or {}
    mine = [django_service] if kind == MEDIA else sorted(n for n in services if kinds.get(n) == PROXY)
    built = {s for n in services if kinds.get(n) == JOB for s, _target in _mounts(services[n], True)}
    there: dict[str, Live] = {}
    for name in mine:
        for source, at in _mounts(services.get(name) or {}, kind == MEDIA):
            known = (
                posixpath.basename(at) in _MEDIA_NAMES
                if kind == MEDIA
                else source in built or at.rstrip("/") in _SERVED
            )
            if at.rstrip("/") == target.rstrip("/") if target else known:
                there.setdefault(source, Live(source, at, name, source in built))
    if len(there) == 1:
        return next(iter(there.values()))
    whose = f"service {django_service}" if kind == MEDIA else "the proxy"
    also = f" at {target}" if target else ""
    words = ", ".join(sorted(f"{one.target} of {one.service}" for one in there.values()))
    raise NoLiveFiles(
        f"{whose} mounts more than one folder that could be meant: {words}" if there
        else f"{whose} mounts no volume or folder of {'uploads' if kind == MEDIA else 'built files'}{also}"
    )  # fmt: skip


def no_more(
    hotfixes: Mapping[str, Mapping[str, Mapping[str, str | None]]], seen: Mapping[str, str | None]
) -> dict[str, dict[str, str]]:
    """What of hotfixes' files in one place is not what they put there any more: hotfix → path → a sentence.

    :param hotfixes: those that are in force: name → path → its SHA-256 ``before`` and ``after``, None for no file. What a later
        one put over an earlier one's counts as put there by both.
    :param seen: path → what is there now.
    """
    wanted: dict[str, set[str | None]] = {}
    for sums in hotfixes.values():
        for path, one in sums.items():
            wanted.setdefault(path, set()).add(one["after"])
    found: dict[str, dict[str, str]] = {}
    for name, sums in hotfixes.items():
        for path, one in sorted(sums.items()):
            now = seen.get(path)
            if now in wanted[path]:
                continue
            if now == one["before"]:
                text = f"{path} is again as before the hotfix {name}: IT IS LOST"
            elif now is None:
                text = f"{path} of the hotfix {name} IS GONE"
            else:
                text = f"{path} of the hotfix {name} is another one since (the app, or somebody by hand)"
            found.setdefault(name, {})[path] = text
    return found


def in_proxies(project: Mapping[str, Any], kinds: Mapping[str, str], live: Live) -> dict[str, str]:
    """Where each proxy has the same files: service → path in its container."""
    services = project.get("services") or {}
    return {
        name: at.rstrip("/")
        for name in services
        if kinds.get(name) == PROXY
        for source, at in _mounts(services[name], False)
        if source == live.source
    }


def built_folders(project: Mapping[str, Any], kinds: Mapping[str, str]) -> list[Live]:
    """What jobs build to and proxies serve."""
    services = project.get("services") or {}
    jobs = [n for n in sorted(services) if kinds.get(n) == JOB]
    every = {s: Live(s, at, name, True) for name in jobs for s, at in _mounts(services[name], True)}
    return [live for live in every.values() if in_proxies(project, kinds, live)]


def _mounts(service: Mapping[str, Any], writable: bool) -> list[tuple[str, str]]:
    return [
        (str(v["source"]), str(v["target"])) for v in service.get("volumes") or []
        if v.get("type") in ("volume", "bind") and v.get("source") and not (writable and v.get("read_only"))
    ]  # fmt: skip


def container(project: Mapping[str, Any], image: str, live: Live) -> dict[str, Any]:
    """A project of one service that has these files, and no network.

    :param image: any with Python.
    """
    bind = live.source.startswith("/")
    mount = {"type": "bind" if bind else "volume", "source": live.source, "target": LIVE}
    known = (project.get("volumes") or {}).get(live.source) or {}
    service = {"image": image, "user": "0:0", "network_mode": "none", "volumes": [mount], "pull_policy": "never"}
    return {"name": project["name"], "services": {SERVICE: service}, "volumes": {} if bind else {live.source: known}}
