# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an app's owner should know about how its nginx finds containers.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..nginx.syntax import Directive

#: The first nginx that knows ``keepalive_min_timeout``.
_KNOWS_MIN_TIMEOUT = (1, 27, 4)


def version_of(text: str) -> tuple[int, ...]:
    """The version in what ``nginx -v`` prints, empty when there is none."""
    match = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", text)
    return tuple(int(part) for part in match.groups()) if match else ()


def unguarded(app: str, nginx: str, hosts: Sequence[str]) -> str:
    """That nginx would not find a container again which comes back at another address, and what to do about it."""
    return (
        f"{nginx} asks for the address of {' and '.join(hosts)} only when it loads: after a crash a container may come "
        f"back at another one, and requests fail until somebody reloads nginx; install the guard of {app}: "
        f"ansible-playbook evenkeel.deploy.guard (roles/guard/README.md has another way too)"
    )


def missing_min_timeout(nginx: str, version: tuple[int, ...], tree: Iterable[Directive]) -> str:
    """That reloads would be gentler with ``keepalive_min_timeout``, empty where nginx has or does not know it."""
    if version < _KNOWS_MIN_TIMEOUT or has_directive(tree, "keepalive_min_timeout"):
        return ""
    return (
        f"{nginx}: keepalive_min_timeout 5s; in its http block would spare clients the closed keep-alive connections "
        f"of a reload"
    )


def has_directive(tree: Iterable[Directive], name: str) -> bool:
    """Whether a directive stands anywhere in a configuration."""
    return any(d.name == name or has_directive(d.block or (), name) for d in tree)
