# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images come from a registry, which login is for them, and what a registry's refusal means."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..engine.jobs import is_off
from ..engine.kinds import kind_without_image
from ..engine.programs import BROKER, DATABASE, PROXY

#: The registry of a name that has none, and what Docker calls it.
DOCKER_HUB = "docker.io"
_OF_DOCKER_HUB = (DOCKER_HUB, "index.docker.io", "registry-1.docker.io", "hub.docker.com")
# Another database is no part of an update of the app, and a stop of it is a gap for all users.
_STANDING = (DATABASE, BROKER, PROXY)
_LOGIN = re.compile(
    r"unauthorized|authentication required|no basic auth|denied|incorrect username|\b401\b", re.IGNORECASE
)
_ABSENT = re.compile(r"manifest unknown|not found|name unknown|\b404\b", re.IGNORECASE)
# Names and addresses: a port can have 404 in it, and an image "certificate".
_NAMED = re.compile(r"\S*[/@]\S*|\S+:\d\S*")
_TLS = re.compile(r"x509|certificate|server gave HTTP response to HTTPS client|tls:", re.IGNORECASE)


class BadRegistry(Exception):
    """``app_registry`` cannot be what was meant; the message says why."""


@dataclass(frozen=True)
class Login:
    """Who asks a registry.

    :ivar host: name and port, as image names have it.
    """

    host: str
    username: str
    password: str = field(repr=False)


def registry_of(reference: str) -> str:
    """The registry of an image: what stands before the first ``/`` if it has a dot or a port, else Docker Hub."""
    first, slash, _rest = reference.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    return _host(first) if named else DOCKER_HUB


def login_of(given: Mapping[str, Any], password: str) -> Login | None:
    """The login that somebody wrote, None where nothing is written.

    :param given: ``url`` and ``username``; a password file is read by then.
    :raises BadRegistry: a part is missing.
    """
    if not any(given.get(key) for key in ("url", "username", "password", "password_file")):
        return None
    missing = [key for key in ("url", "username") if not given.get(key)]
    missing += [] if password else ["password (or password_file)"]
    if missing:
        raise BadRegistry(f"app_registry has no {' and no '.join(missing)}")
    host = _host(str(given["url"]).partition("://")[2] or str(given["url"]))
    return Login(host, str(given["username"]), password)


def _host(text: str) -> str:
    host = text.partition("/")[0].lower()
    return DOCKER_HUB if host in _OF_DOCKER_HUB else host


def from_registry(project: Mapping[str, Any], built: Collection[str]) -> dict[str, list[str]]:
    """The images that nothing here builds → the services that run them; neither is one of a service that is switched off.

    :param built: names of images that the project builds.
    """
    found: dict[str, list[str]] = {}
    for name, service in sorted((project.get("services") or {}).items()):
        image = str(service.get("image") or "")
        left_alone = service.get("build") or is_off(service) or service.get("pull_policy") == "never"
        if image and image not in built and not left_alone:
            found.setdefault(image, []).append(name)
    return found


def may_move(project: Mapping[str, Any], reference: str, services: Collection[str]) -> bool:
    """Whether a rebuild asks the registry again: for a tag of what an update replaces.

    A digest is always the same image.
    """
    kinds = {kind_without_image(project["services"][name]) for name in services}
    return "@" not in reference and not kinds & set(_STANDING)


def explained(reference: str, services: Collection[str], said: str, login: Login | None) -> tuple[str, str]:
    """Why an image cannot be had, and what to do.

    :param said: the engine's words.
    :param login: the one that was used.
    """
    host = registry_of(reference)
    what = f"the image {reference} of {' and '.join(services)} is not on this host and cannot be pulled: {said}"
    again = "then run the same command again"
    reason = _NAMED.sub("", said)
    if _LOGIN.search(reason):
        if login:
            return what, f"correct username and password of app_registry, which {host} refuses, {again}"
        return what, f"write the login of {host} into app_registry (url, username, password), {again}"
    if _ABSENT.search(reason):
        return what, f"push it to {host}, or correct `image:` in the Compose file, {again}"
    if _TLS.search(reason):
        return what, (
            f"make the engine trust {host} (its authority in /etc/docker/certs.d/{host}/ca.crt, or insecure-registries), {again}"
        )
    return what, f"see that this server reaches {host} (docker pull {reference}), {again}"
