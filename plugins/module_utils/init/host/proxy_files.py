# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which proxy of a project leads where, by the files that it would be started with: it does not run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...engine.dockerfile import Recipe
from ...engine.host.kinds import Look
from ...engine.host.source_tree import text_of
from ...engine.kinds import Evidence, environment_of, judge
from ...engine.programs import CADDY, NGINX, PROXY, TRAEFIK
from ...nginx.config import UNIX, Route, routes
from ...nginx.syntax import Directive, UnreadableConfig, parse
from ...traffic.caddy_config import UnreadableCaddy, caddyfile_routes
from ...traffic.host.proxy_routes import Proxied, routes_to
from ...traffic.traefik_labels import file_routes, hosts_in, label_routes

#: As ``envsubst`` of nginx's image knows them; nginx's own have small letters.
_VARIABLE = re.compile(r"\$(?:\{([A-Z][A-Z0-9_]*)\}|([A-Z][A-Z0-9_]*)\b)")


@dataclass(frozen=True)
class _Where:
    """Where a proxy's configuration lies in its container, and how the names of its files end."""

    inside: tuple[str, ...]
    ends: tuple[str, ...]


_NGINX = _Where(("/etc/nginx", "/usr/share/nginx/templates"), (".conf", ".template", ".tmpl", ".conf.j2", ".nginx"))
_CADDY = _Where(("/etc/caddy",), ("Caddyfile", ".caddy", ".caddyfile"))
_TRAEFIK = _Where(("/etc/traefik",), (".yml", ".yaml", ".toml"))


def proxied_by_files(
    project: Mapping[str, Any], evidence: Mapping[str, Evidence], files: Look, known: Proxied
) -> Proxied:
    """The proxy that leads to most services of a project; those that cannot be led are named as strangers.

    :param known: what is known of its proxies otherwise.
    """
    services = project["services"]
    judged = {name: judge(service, evidence[name]) for name, service in services.items()}
    others = {n: j.because.removeprefix("image ") for n, j in judged.items() if j.kind == PROXY and not j.is_nginx}
    found = _of_each(project, evidence, files)
    strangers = {n: what for n, what in {**known.strangers, **others}.items() if not found.get(n)}
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
    """The routes of each proxy of a project that can be led."""
    services = project["services"]
    fronts = {n: judge(s, evidence[n]).front for n, s in services.items()}
    found = {n: tuple(_routes(_texts(project, services[n], files))) for n, front in fronts.items() if front == NGINX}
    for name in (n for n, front in fronts.items() if front == CADDY):
        recipe, folders = files.recipe(services[name])
        environment = {**recipe.environment, **environment_of(services[name], {})}
        texts = list(_written(project, services[name], recipe, folders, _CADDY))
        found[name] = tuple(r for text in texts for r in _of_caddy(text, environment))
    for name in (n for n, front in fronts.items() if front == TRAEFIK):
        listening = {int(p["target"]) for p in services[name].get("ports") or []}
        recipe, folders = files.recipe(services[name])
        texts = list(_written(project, services[name], recipe, folders, _TRAEFIK))
        # By which of the names an app is reached, only all of the rules say; most have one.
        name_of = next((host for text in texts for host in hosts_in(text)), "")
        written = [replace(r, server_name=name_of) for text in texts for r in file_routes(text, listening, True)]
        labels = {n: s.get("labels") or {} for n, s in services.items() if fronts[n] != TRAEFIK}
        led = {n: has for n, has in labels.items() if any(key.startswith("traefik.http.") for key in has)}
        found[name] = (*(r for n, has in led.items() for r in label_routes(n, has, listening)), *written)
    return found


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
    for text in _written(project, service, recipe, folders, _NGINX):
        yield _VARIABLE.sub(lambda m: variables.get(m.group(1) or m.group(2), m.group()), text)


def _written(
    project: Mapping[str, Any], service: Mapping[str, Any], recipe: Recipe, folders: Sequence[str], where: _Where
) -> Iterator[str]:
    for volume in service.get("volumes") or []:
        if volume.get("type") == "bind" and str(volume.get("target") or "").startswith(where.inside):
            yield from map(text_of, _files(str(volume.get("source") or ""), where.ends))
    for given in service.get("configs") or []:
        one = (project.get("configs") or {}).get(given.get("source")) or {}
        yield str(one.get("content") or text_of(str(one.get("file") or "")))
    for target, source in recipe.copied:
        if target.startswith(where.inside):
            yield from (
                text_of(path) for folder in folders for path in _files(os.path.join(folder, source), where.ends)
            )


def _of_caddy(text: str, environment: Mapping[str, str]) -> tuple[Route, ...]:
    try:
        return caddyfile_routes(text, environment)
    except UnreadableCaddy:
        return ()


def _files(path: str, ends: tuple[str, ...]) -> list[str]:
    """The configuration files at a path: itself, or what lies below it."""
    if os.path.isfile(path):
        return [path]
    return sorted(
        os.path.join(parent, name) for parent, _folders, names in os.walk(path) for name in names if name.endswith(ends)
    )
