# SPDX-License-Identifier: GPL-3.0-or-later
"""The corpus: stacks as other people have them, each with a table of what is right, and what is made of them.

``expected.yaml`` of a stack, judged by a person who saw all of it:

- ``files``: the Compose files; ``edge`` and ``front``: which service users reach first, and what it is.
- ``images``: service → what the engine says of its image; ``running``: service → ``processes`` (command lines) and
  ``listens`` (ports) where the stack runs, or ``exited CODE``, or ``absent``.
- ``services``: service → ``kind`` (of several the first is best, the others do no harm), ``route`` (by whom it is reached,
  and at which port), ``data`` (paths in the container that no release may replace or start empty), ``why``.
- ``content``: mounted folder → what git has in it, and what only the server has.
- ``verdict``: ``unchanged``, ``words`` (after a few words beside services) or ``refused``, with the ``reason``.
"""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.kinds import Look, evidence_of
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.source_tree import SourceTree
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.jobs import jobs_of
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.kinds import Evidence
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.programs import JOB, OTHER, PROXY, WEB
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import (
    ROLLED_KINDS,
    START_FIRST,
    CommonSettings,
    chosen_kind,
    settings_of,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.adopted import binds_inside
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.mounted_content import (
    VERSION,
    content_of,
    is_code,
    worth_keeping,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.scalability import alone

HERE = Path(__file__).parent
#: Those that the rules were tuned by, and those that nobody who tunes them looks at.
SEEN, UNSEEN = HERE / "corpus", HERE / "unseen"
#: Two of these at once lose data, or do work twice.
FRAGILE = ("database", "broker", "scheduler")


class _Images:
    """An engine that has the images of a stack, or none."""

    def __init__(self, images: Mapping[str, Any]) -> None:
        self.images = images

    def image(self, name: str) -> dict[str, Any]:
        return {"Config": self.images[name]} if name in self.images else {}


@dataclass(frozen=True)
class Stack:
    """One stack of the corpus: its folder, its table, and the project as Compose resolves it."""

    folder: Path
    expected: Mapping[str, Any]
    project: Mapping[str, Any]

    def accepted(self, service: str) -> list[str]:
        """The kinds that are right for a service, the best first."""
        own = self.expected["services"][service]
        kinds: list[str] = own["kind"] if isinstance(own["kind"], list) else [own["kind"]]
        # What users come to by the proxy may be led like any web service: a dashboard, an nginx with built pages.
        return [*kinds, WEB] if own.get("route") and {OTHER, PROXY} & set(kinds) else kinds

    def evidence(self, running: bool) -> dict[str, Evidence]:
        """What is known of each service: by the files alone, or where the stack runs."""
        services = self.project["services"]
        images = {
            str(s.get("image") or f"{self.project['name']}-{n}"): self.expected["images"][n]
            for n, s in services.items()
        }
        found = evidence_of(_Images(images if running else {}), self.project, str(self.folder), [])
        return {n: self._where_it_runs(n, one) for n, one in found.items()} if running else found

    def _where_it_runs(self, service: str, evidence: Evidence) -> Evidence:
        seen = self.expected["running"][service]
        # Services that share an image by its name have one entry each, of the same image.
        evidence = replace(evidence, image=self.expected["images"][service])
        if isinstance(seen, Mapping):
            lines = tuple(tuple(map(str, argv)) for argv in seen["processes"])
            evidence = replace(evidence, processes=lines, listens=frozenset(map(int, seen["listens"])))
            look = Look(_Images({}), self.project, SourceTree(str(self.folder)))
            return replace(evidence, programs=look.programs(self.project["services"][service], evidence))
        return replace(evidence, ended=int(seen.split()[1])) if str(seen).startswith("exited") else evidence

    def kinds(self, running: bool) -> dict[str, str]:
        """What is made of each service."""
        jobs = jobs_of(self.project)
        return {
            n: JOB if n in jobs else chosen_kind(n, self.project["services"][n], one, {}, self._port(n))
            for n, one in self.evidence(running).items()
        }

    def wrong(self, running: bool) -> list[str]:
        """The services that are taken for what they are not."""
        return [
            f"{self.folder.name}/{name}: {self.accepted(name)[0]}, taken for {kind}"
            for name, kind in self.kinds(running).items()
            if kind not in self.accepted(name)
        ]

    def _port(self, service: str) -> int:
        """The port by which an nginx of the project leads to a service, 1 for a socket, 0 where none does."""
        route = str(self.expected["services"][service].get("route") or "")
        if not route or self.expected["front"] != "nginx":
            return 0
        port = route.rpartition(":")[2]
        return int(port) if port.isdigit() else 1

    def spoiled(self) -> list[str]:
        """Services of which an update would let two run at once, without a word, though that does harm."""
        found, jobs = [], jobs_of(self.project)
        for name, one in self.evidence(running=True).items():
            service, best = self.project["services"][name], self.accepted(name)[0]
            if name in jobs or self.expected["running"][name] == "absent":
                continue
            settings = settings_of(name, service, one, CommonSettings(), {}, self._port(name))
            problem = ""
            if settings.kind == OTHER:
                settings, problem = alone(service, settings, one, False, True)
            two = settings.kind in ROLLED_KINDS and settings.order == START_FIRST and not problem
            asked = settings.kind == WEB and not self._port(name)
            harmed = best in FRAGILE or (best == OTHER and one.listens and WEB not in self.accepted(name))
            if two and harmed and not asked:
                found.append(f"{self.folder.name}/{name}: {best}, taken for {settings.kind}")
        return found

    def lost(self) -> list[str]:
        """Mounts of the checkout with data in them that a release would replace by what git has, and with code that it would not."""
        found = []
        folder = str(self.folder)
        contents = {str(k).removeprefix("./") or ".": v for k, v in (self.expected.get("content") or {}).items()}
        for path, users in binds_inside(self.project, folder).items():
            if path not in contents:
                continue
            known, here = contents[path]["git"], contents[path]["here"]
            content = content_of(users, known, worth_keeping(here))
            if content == VERSION and here and self._holds_data(path):
                found.append(f"{self.folder.name}/{path}: taken for the version's")
            if content != VERSION and not here and any(map(is_code, known)):
                found.append(f"{self.folder.name}/{path}: {content}, though only git writes there")
        return found

    def _holds_data(self, path: str) -> bool:
        """Whether somebody has written down that a mount of this folder has data in it."""
        source = str(self.folder) if path == "." else f"{self.folder}/{path}"
        return any(
            str(volume.get("source")) == source
            and volume.get("target") in (self.expected["services"][name].get("data") or [])
            for name, service in self.project["services"].items()
            for volume in service.get("volumes") or []
        )


def stacks(of: Path) -> Iterator[Stack]:
    """The stacks of one part of the corpus."""
    for folder in sorted(path.parent for path in of.glob("*/expected.yaml")):
        expected = yaml.safe_load((folder / "expected.yaml").read_text(encoding="utf-8"))
        yield Stack(folder, expected, resolved(folder, tuple(expected["files"])))


@functools.cache
def resolved(folder: Path, files: tuple[str, ...]) -> dict[str, Any]:
    """A project as Compose resolves it, every profile of it."""
    argv = ["docker", "compose", "--project-name", "corpus", "--profile", "*"]
    argv += [word for file in files for word in ("--file", file)]
    done = subprocess.run(
        [*argv, "config", "--format", "json"], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ValueError(f"{folder.name}: {done.stderr}")
    project: dict[str, Any] = json.loads(done.stdout)
    return project
