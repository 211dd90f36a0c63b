# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply a hotfix of code to a shop, by its playbook or by its module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.calls import hotfix_patch
from tests.bed.killed_roll import QUICK
from tests.bed.shop import Play, Shop, run

VERSION, CODE, PAGE, NGINX = (
    "shop/version.py",
    "tours/catalogue.py",
    "tours/templates/tours/index.html",
    "deploy/nginx.conf",
)


def said(version: str) -> str:
    """The text of VERSION that makes the shop answer with this version."""
    return f'# SPDX-License-Identifier: GPL-3.0-or-later\nVERSION = "{version}"\n'


def of_v1(shop: Shop, path: str) -> str:
    """The text of a file at v1."""
    return run(["git", "-C", str(shop.repository), "show", f"v1:{path}"])


def write(shop: Shop, files: Mapping[str, str]) -> Path:
    """A developer's checkout, as far as it was changed."""
    folder = shop.folder / "dev"
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def hotfix(shop: Shop, files: Mapping[str, str], *arguments: str, **more: Any) -> Play:
    """Run the playbook on changed files."""
    source = str(write(shop, files))
    return shop.play(*arguments, playbook="hotfix", hotfix_files=",".join(files), hotfix_source=source, **more)


def module(shop: Shop, check: bool = False, **given: Any) -> dict[str, Any]:
    """The module itself, without a playbook around it."""
    params = {
        "path": str(shop.root), "repo": str(shop.repository), "compose_files": ["docker-compose.prod.yml"],
        "env_files": [".env"], "shared": [".env"], "service_options": QUICK, "django_service": "api",
        "manage_py": "manage.py", "timeout": 120.0, "max_files": 20, "max_lines": 400, "max_chain": 5, **given,
    }  # fmt: skip
    return hotfix_patch.call(params, check)


def back_at_v1(shop: Shop) -> None:
    """Roll back to v1, unless it serves."""
    if shop.version() != "v1":
        play = shop.rollback(rollback_to="v1")
        assert play.returncode == 0 and shop.version() == "v1", play.output[-4000:]
