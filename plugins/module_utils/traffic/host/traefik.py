# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Traefik in a container: whether it finds others by their labels, and where it listens."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...base.host import processes
from ...engine.host.engine import Engine
from ...engine.host.inspection import pid_of
from ...engine.host.live_root import LiveRoot, RootFailed
from ...nginx.host.nginx import Contained
from ..traefik_labels import Provider, provider_of

_FILES = ("/etc/traefik/traefik.yml", "/etc/traefik/traefik.yaml", "/etc/traefik/traefik.toml")


class Traefik(Contained):
    """One Traefik container."""

    def workers(self) -> list[processes.Process]:
        """Its process; it has no workers."""
        found = processes.tree(self.pid) if self.pid else []
        return [p for p in found if os.path.basename(p.command.split(" ", 1)[0]) == "traefik"][:1]

    def reload(self, timeout: float = 30.0) -> None:
        """It has nothing to be loaded again: it follows the engine's events."""

    @property
    def listening(self) -> frozenset[int]:
        """The ports on which it listens."""
        return processes.listening_ports(self.pid)

    def provider(self) -> Provider:
        """Whether it finds containers by their labels, as it was started."""
        words = [word for p in self.workers() for word in processes.words(p.pid)]
        environment = {k: v for p in self.workers() for k, v in processes.environment(p.pid).items()}
        named = [w.partition("=")[2] for w in words if w.lower().startswith("--configfile=")]
        text = next(filter(None, map(self._text, [*named, *_FILES])), "")
        return provider_of(words, environment, text)

    def _text(self, path: str) -> str:
        with contextlib.suppress(RootFailed):
            return (LiveRoot(self.pid).content(path) or b"").decode("utf-8", "replace")
        return ""

    def written(self, paths: Iterable[str]) -> str:
        """What is in these files, and in those of these folders."""
        texts = []
        for path in paths:
            inside: list[str] = []
            with contextlib.suppress(RootFailed):
                inside = [n for n in LiveRoot(self.pid).names(path) if n.endswith((".yml", ".yaml", ".toml"))]
            texts += [self._text(os.path.join(path, name)) for name in inside] or [self._text(path)]
        return "\n".join(texts)


def traefiks(
    engine: Engine, mine: Iterable[Mapping[str, Any]], elsewhere: bool
) -> Iterator[tuple[Traefik, Mapping[str, Any]]]:
    """Every Traefik that runs, with its container.

    :param mine: the containers of a project; ``elsewhere``: whether others of this host are looked at too.
    """
    known = {str(i["Id"]): i for i in mine if pid_of(i)}
    others = [c["Id"] for c in engine.running() if _may_be(c) and c["Id"] not in known] if elsewhere else []
    for inspection in [*known.values(), *filter(None, map(engine.inspect, others))]:
        traefik = Traefik(inspection)
        if traefik.workers():
            yield traefik, inspection


def _may_be(container: Mapping[str, Any]) -> bool:
    return "traefik" in f"{container.get('Image')} {container.get('Command')} {container.get('Names')}".lower()
