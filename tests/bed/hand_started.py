# SPDX-License-Identifier: GPL-3.0-or-later
"""A shop that somebody started by hand from a folder, as teams do before they know this collection."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from tests.bed.shop import Play, Shop, run

COMPOSE = "docker-compose.prod.yml"


class HandStarted(Shop):
    """See the module's text.

    :param place: the folder's name, in a home of its own.
    :param edits: in the Compose file before anything is started: pairs of what stands there, and what is to.
    """

    def __init__(
        self,
        name: str,
        variables: Mapping[str, Any] | None = None,
        place: str = "app",
        edits: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(name, variables)
        self.home = self.folder / "home" / place
        self.edits = edits

    def create(self, env: str = "", git: bool = True) -> HandStarted:
        """Make repository and inventory, and the folder with v1 in it, a checkout or not."""
        super().create(env)
        text = (self.root / "shared/.env").read_text(encoding="utf-8")
        shutil.rmtree(self.root)
        run(["git", "clone", "-q", "--branch", "v1", str(self.repository), str(self.home)])
        if not git:
            shutil.rmtree(self.home / ".git")
        self.write_env(text)
        compose = self.home / COMPOSE
        for old, new in self.edits:
            content = compose.read_text(encoding="utf-8")
            assert content.count(old) == 1, old
            compose.write_text(content.replace(old, new), encoding="utf-8")
        return self

    def write_env(self, text: str) -> None:
        path = self.home / ".env"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)

    def start(self, *options: str) -> HandStarted:
        """Start all of it as an admin does, the database migrated and the static files collected."""
        base = ["docker", "compose", "-p", self.name, "-f", COMPOSE, *options]
        run([*base, "up", "-d", "--build", "--wait", "db", "redis"], cwd=self.home)
        for command in (["migrate", "--noinput"], ["collectstatic", "--noinput"]):
            run([*base, "run", "--rm", "--build", "-T", "api", "python", "manage.py", *command], cwd=self.home)
        run([*base, "up", "-d", "--build", "--wait"], cwd=self.home, timeout=600)
        return self

    def adopt(self, *arguments: str, **variables: Any) -> Play:
        """Run the playbook ``adopt`` to its end."""
        return self.play(*arguments, playbook="adopt", **variables)

    def lives(self, *services: str) -> dict[str, tuple[str, str]]:
        """Per service the container and when it was started."""
        found = {}
        for inspection in self.inspections():
            service = inspection["Config"]["Labels"]["com.docker.compose.service"]
            if not services or service in services:
                found[service] = (inspection["Id"], inspection["State"]["StartedAt"])
        return found

    def tree(self) -> dict[str, str]:
        """All that lies in the folder, by path."""
        return {
            str(p.relative_to(self.home)): p.read_text(errors="replace")
            for p in sorted(self.home.rglob("*"))
            if "pgdata" not in p.parts and p.is_file()
        }
