# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why nobody can be led from the old containers of a web service to the new ones, and what to do about it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ..engine.programs import WEB
from ..nginx.include import FOLDER


@dataclass(frozen=True)
class Around:
    """What is known of the proxies around a project.

    :ivar proxy: the nginx that is led, empty where there is none.
    :ivar beside: service → the container of another nginx that leads to it; ``strangers``: service → what it is, of proxies
        that cannot be led; ``down``: service → the state of its container, of nginx that do not run.
    :ivar unheard: sockets at which nobody knows who listens.
    """

    project: str = ""
    proxy: str = ""
    beside: Mapping[str, str] = field(default_factory=dict)
    strangers: Mapping[str, str] = field(default_factory=dict)
    down: Mapping[str, str] = field(default_factory=dict)
    unheard: Sequence[str] = ()


def why_unled(name: str, around: Around) -> tuple[str, str]:
    """What is in the way of a web service that no route of the led nginx leads to, and the way out."""
    proxy, other = around.proxy, around.beside.get(name)
    if other:
        why = (
            f"{other} leads to it and {proxy} does not, and only one nginx of a project is led from the old containers to the new "
            f"ones: {proxy}"
        )
        return why, f"let {other} lead to {proxy}, and that on to {name}"
    if around.down:
        front, state = min(around.down.items())
        hint = (
            f"docker compose start starts what is stopped, and docker compose logs {front} shows why it does not run; then run the "
            f"same command again"
        )
        return f"{front}, an nginx of the project, does not run ({state}), so nobody knows what it leads to", hint
    if around.strangers and not proxy:
        front, what = min(around.strangers.items())
        why = f"users come by {front} ({what}), which cannot be led from one container to another; nginx, Caddy and Traefik can"
        return why, f"let {front} lead to an nginx of the project, and that to {name}"
    unheard = f" (it cannot be told who listens at {', '.join(around.unheard)})" if around.unheard else ""
    why = f"{proxy} has no proxy_pass to {name}{unheard}" if proxy else "no running nginx was found in the project"
    return why, (
        f"if only other services ask it, give {name} kind: other, in app_services or in x-evenkeel of its service; give the nginx that "
        f"users come by kind: proxy there; an nginx of this host has to write include /etc/nginx/{FOLDER}/{around.project}-{name}.conf; "
        "in its upstream block, and in that file server 127.0.0.1:PORT; with the container's port"
    )


def leading_perhaps(kinds: Mapping[str, str], routed: Collection[str], down: Collection[str]) -> list[str]:
    """Which nginx that do not run may be the way to a web service, and so are none themselves for another one before them.

    :param kinds: service → what it looks like; ``routed``: services that a running nginx leads to; ``down``: nginx that do not run.
    """
    lost = any(kind == WEB and name not in routed for name, kind in kinds.items())
    return sorted(down) if lost else []
