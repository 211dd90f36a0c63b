# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the app's nginx serves files that a hotfix changes, and what it lets browsers keep of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...engine.host.engine import EngineFailed
from ...engine.host.inspection import SERVICE_LABEL, label_of, pid_of
from ...engine.programs import PROXY
from ...nginx.files import addresses
from ...nginx.host.nginx import Nginx, NginxFailed
from ...nginx.syntax import UnreadableConfig, load, split_dump
from .. import live_files
from ..browser_caching import kept_long
from ..hotfix import FRONTEND
from ..live_files import Live
from ..public_paths import as_asked, public_paths
from .view import Serving

_UNREADABLE = (NginxFailed, UnreadableConfig, EngineFailed)


def _proxies(here: Serving) -> Iterator[tuple[str, Nginx]]:
    for inspection in here.containers:
        service = label_of(inspection, SERVICE_LABEL)
        if here.kinds.get(service) == PROXY and pid_of(inspection):
            yield service, Nginx(here.engine, inspection)


def notes(here: Serving, paths: Sequence[str]) -> list[str]:
    """A note for each line that keeps one of the site's paths for long; where that cannot be told, why."""
    found = []
    for _service, nginx in _proxies(here) if paths else ():
        try:
            dump = nginx.described()
            found += [kept.note() for kept in kept_long(load(dump), next(iter(split_dump(dump))), paths)]
        except _UNREADABLE as error:
            found.append(f"what {nginx.name} lets browsers keep of it cannot be told: {error}")
    return list(dict.fromkeys(found))


def public(here: Serving, live: Live, kind: str, paths: Sequence[str]) -> list[str]:
    """Under which paths of the site files of a volume or folder are served; by custom, where nginx does not tell."""
    folders = live_files.in_proxies(here.project, here.kinds, live)
    found: list[str] = []
    for service, nginx in _proxies(here) if paths else ():
        try:
            tree = load(nginx.described()) if service in folders else ()
        except _UNREADABLE:
            tree = ()
        found += [url for path in paths for url in (addresses(tree, f"{folders[service]}/{path}") if tree else ())]
    return as_asked(found) if found else public_paths({kind: paths})


def of_kinds(here: Serving, kinds: Mapping[str, Sequence[str]]) -> list[str]:
    """The same of a hotfix that is a release; what is built from its files only the build knows: the page at the top is told."""
    found = public_paths({kind: paths for kind, paths in kinds.items() if kind != FRONTEND})
    for live in live_files.built_folders(here.project, here.kinds) if kinds.get(FRONTEND) else ():
        found += public(here, live, FRONTEND, ["index.html"])
    return sorted(set(found))
