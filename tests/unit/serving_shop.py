# SPDX-License-Identifier: GPL-3.0-or-later
"""A shop whose first release serves: a real repository and real Compose files, with an engine in memory."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.calls import compose_project, hotfix_patch
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import patch
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host import project as releases_project
from tests.unit import compose_answers
from tests.unit.app_on_a_server import App, commit
from tests.unit.engine_in_memory import EngineInMemory

VIEWS = "backend/shop/views.py"
COMPOSE = """
services:
  api:
    build: {context: ./backend}
    command: gunicorn shop.wsgi
    env_file: .env
    volumes: ["static:/app/static_files", "./backend/shared:/app/shared:ro"]
  celery:
    build: {context: ./backend}
    command: celery -A shop worker
  builder:
    build: ./frontend
    command: ["true"]
    volumes: ["html:/app/dist"]
    x-evenkeel: {kind: job}
  mounted:
    image: node:1
    command: ["true"]
    volumes: ["html:/app/dist", "./landing:/app:ro"]
    x-evenkeel: {kind: job}
  migrate:
    build: {context: ./backend}
    command: python manage.py migrate
  nginx:
    image: nginx:1
    volumes: ["./deploy/nginx.conf:/etc/nginx/conf.d/default.conf:ro", "html:/usr/share/nginx/html:ro"]
volumes: {static: {}, html: {}}
"""
TREE = {
    "docker-compose.prod.yml": COMPOSE, "backend/Dockerfile": "FROM x",
    "backend/shop/views.py": "one\n", "backend/shop/urls.py": "urls\n",
    "backend/static_files/made.css": "a\n", "backend/shared/texts.py": "text\n", "frontend/app.js": "js\n", "frontend/left_out.js": "js\n",
    "landing/page.js": "page\n", "backend/shop/static/site.css": "a {}\n", "backend/shop/static/old.png": "old\0\n",
    "deploy/nginx.conf": "server {}\n",
    "backend/gone.py": "not in the image\n", "README.md": "readme\n",
}  # fmt: skip


class Shop(App):
    """An app whose first release serves."""

    def __init__(self, folder: Path, engine: EngineInMemory) -> None:
        super().__init__(folder)
        self.engine = engine
        for path, text in TREE.items():
            (self.source / path).parent.mkdir(parents=True, exist_ok=True)
            (self.source / path).write_text(text)
        self.first = commit(self.source)
        self.inputs = {"files": ["docker-compose.prod.yml"]}
        release = str(self(inputs=self.inputs)["release"])
        self.resolve(release, self.first)
        self("built", release=release)
        self("active", release=release)
        short = self.first[:12]
        backend = {f"/app/{p[8:]}": t for p, t in TREE.items() if p.startswith("backend/") and "gone" not in p}
        self.base = engine.add(f"shop-api:{short}", backend)
        for service in ("celery", "migrate"):
            engine.names[f"shop-{service}:{short}"] = self.base
        engine.add(f"shop-builder:{short}", {"/app/app.js": "js\n"}, Cmd=["true"])
        engine.add("nginx:1", {}, Cmd=["nginx"])
        for service in ("api", "celery"):
            engine.serve("shop", service, self.base, f"shop-{service}:{short}")

    def resolve(self, release: str, revision: str) -> None:
        root = str(self.root)
        compose_project.call(
            {"project_src": f"{root}/releases/{release}", "files": ["docker-compose.prod.yml"], "env_files": [".env"],
             "project_name": "shop", "revision": revision, "mounts_dir": f"{root}/mounts", "live_dir": f"{root}/shared/proxy",
             "data_dir": f"{root}/shared", "state_dir": f"{root}/.evenkeel", "lock_token": None}, False)  # fmt: skip

    def fix(self, check: bool = False, files: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        given = [{"path": p, "content": base64.b64encode(t.encode()).decode()} for p, t in (files or {}).items()]
        params = {
            "path": str(self.root), "repo": str(self.source), "files": given, "compose_files": ["docker-compose.prod.yml"],
            "env_files": [".env"], "shared": [".env"], "django_service": "api", "manage_py": "manage.py", "timeout": 10.0,
            "max_files": 20, "max_lines": 400, "max_chain": 5, **more,
        }  # fmt: skip
        return hotfix_patch.call(params, check)

    def seen(self) -> tuple[Any, ...]:
        mirror = self.root / "mirror.git"
        refs = sorted(str(p) for p in (mirror / "refs").rglob("*"))
        return dict(self.engine.names), dict(self.engine.made), self.names(), refs, os.listdir(self.root / "mounts")

    def project(self, release: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / "releases" / release / "compose.yaml").read_text())
        return found

    def use_its_engine(self, monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
        """Have ``hotfix_patch`` and these modules talk to its engine, and run no checks in containers."""
        compose_answers.remember(monkeypatch)
        for module in (releases_project, patch, *modules):
            monkeypatch.setattr(module, "connect", lambda _src: self.engine)
        monkeypatch.setattr(patch, "checked", lambda *_args: [])


def new_shop(folder: Path) -> Shop:
    """A shop with an engine of its own."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        engine = EngineInMemory()
        monkeypatch.setattr(releases_project, "connect", lambda _src: engine)
        return Shop(folder, engine)
