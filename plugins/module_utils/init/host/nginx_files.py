# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which nginx of a project leads where, by the files that it would be started with: it does not run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...engine.dockerfile import Recipe
from ...engine.host.kinds import Look
from ...engine.host.source_tree import text_of
from ...engine.kinds import Evidence, environment_of, judge
from ...engine.programs import PROXY
from ...nginx.config import UNIX, Route, routes
from ...nginx.syntax import Directive, UnreadableConfig, parse
from ...traffic.host.proxy_routes import Proxied, routes_to

_ENDS = (".conf", ".template", ".tmpl", ".conf.j2", ".nginx")
#: As ``envsubst`` of nginx's image knows them; nginx's own have small letters.
_VARIABLE = re.compile(r"\$(?:\{([A-Z][A-Z0-9_]*)\}|([A-Z][A-Z0-9_]*)\b)")
_INSIDE = ("/etc/nginx", "/usr/share/nginx/templates")


def proxied_by_files(
    project: Mapping[str, Any], evidence: Mapping[str, Evidence], files: Look, known: Proxied
) -> Proxied:
    """The nginx that leads to most services of a project; those that are no nginx are named as strangers.

    :param known: what is known of its proxies otherwise.
    """
    services = project["services"]
    judged = {name: judge(service, evidence[name]) for name, service in services.items()}
    others = {n: j.because.removeprefix("image ") for n, j in judged.items() if j.kind == PROXY and not j.is_nginx}
    strangers = {**known.strangers, **others}
    found = _of_each(project, evidence, files)
    if not found:
        return replace(known, strangers=strangers)
    ways = {
        name: sum(bool(_led(project, other, every)) for other in services if other != name)
        for name, every in found.items()
    }
    name = max(ways, key=ways.__getitem__)
    sockets = {r.host: "" for r in found[name] if r.host.startswith(UNIX)}
    return replace(known, name=name, routes=found[name], listeners=sockets, strangers=strangers, down={})


def edge_of(
    project: Mapping[str, Any], evidence: Mapping[str, Evidence], files: Look, leader: str
) -> tuple[str, tuple[Route, ...]]:
    """The nginx by which users come to another one of the project, and its routes there; empty where none leads there."""
    for name, every in _of_each(project, evidence, files).items():
        routes_there = _led(project, leader, every) if name != leader else ()
        if routes_there:
            return name, routes_there
    return "", ()


def _of_each(project: Mapping[str, Any], evidence: Mapping[str, Evidence], files: Look) -> dict[str, tuple[Route, ...]]:
    """The routes of each nginx of a project."""
    nginx = {n: s for n, s in project["services"].items() if judge(s, evidence[n]).is_nginx}
    return {n: tuple(_routes(_texts(project, s, files))) for n, s in nginx.items()}


def _led(project: Mapping[str, Any], service: str, every: tuple[Route, ...]) -> tuple[Route, ...]:
    return routes_to(str(project["name"]), service, project["services"][service], every, {})


def _routes(texts: Iterable[str]) -> Iterator[Route]:
    """The routes of all files, as if one block had them; a file that cannot be read has none."""
    blocks: list[Directive] = []
    for text in texts:
        try:
            tree = parse(text)
        except UnreadableConfig:
            continue
        inner = [d for outer in tree if outer.name == "http" for d in outer.block or ()]
        blocks += [d for d in [*inner, *tree] if d.name in ("server", "upstream", "map", "geo", "split_clients")]
    try:
        yield from routes([Directive(("http",), tuple(blocks))])
    except UnreadableConfig:
        return


def _texts(project: Mapping[str, Any], service: Mapping[str, Any], files: Look) -> Iterator[str]:
    """What an nginx is configured with: mounted, given by Compose, or copied into its image; templates filled in."""
    recipe, folders = files.recipe(service)
    variables = {**recipe.environment, **environment_of(service, {})}
    for text in _written(project, service, recipe, folders):
        yield _VARIABLE.sub(lambda m: variables.get(m.group(1) or m.group(2), m.group()), text)


def _written(
    project: Mapping[str, Any], service: Mapping[str, Any], recipe: Recipe, folders: Sequence[str]
) -> Iterator[str]:
    for volume in service.get("volumes") or []:
        if volume.get("type") == "bind" and str(volume.get("target") or "").startswith(_INSIDE):
            yield from map(text_of, _files(str(volume.get("source") or "")))
    for given in service.get("configs") or []:
        one = (project.get("configs") or {}).get(given.get("source")) or {}
        yield str(one.get("content") or text_of(str(one.get("file") or "")))
    for target, source in recipe.copied:
        if target.startswith(_INSIDE):
            yield from (text_of(path) for folder in folders for path in _files(os.path.join(folder, source)))


def _files(path: str) -> list[str]:
    """The configuration files at a path: itself, or what lies below it."""
    if os.path.isfile(path):
        return [path]
    return sorted(
        os.path.join(parent, name)
        for parent, _folders, names in os.walk(path)
        for name in names
        if name.endswith(_ENDS)
    )
