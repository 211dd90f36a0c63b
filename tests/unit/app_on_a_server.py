# SPDX-License-Identifier: GPL-3.0-or-later
"""An app as ``symlink_release`` is called for it: a repository, a folder on a server."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.host.call_result import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.release_call import manage_release


def git(folder: Path, *words: str) -> str:
    who = {f"GIT_{r}_{k}": "x" for r in ("AUTHOR", "COMMITTER") for k in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", "-C", str(folder), *words], check=True, capture_output=True, text=True, env={**os.environ, **who}
    )
    return done.stdout.strip()


def commit(folder: Path, **files: str) -> str:
    for name, text in files.items():
        (folder / name).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "x")
    return git(folder, "rev-parse", "HEAD")


class App:
    """An app on a server, as the module is called for it."""

    def __init__(self, folder: Path) -> None:
        self.source, self.root = folder / "source", folder / "srv/shop"
        self.source.mkdir(parents=True)
        git(self.source, "init", "--quiet", "--initial-branch=main")
        self.first = commit(self.source, version="1")
        (self.root / "shared").mkdir(parents=True)
        (self.root / "shared/.env").write_text("SECRET=1")

    def __call__(self, state: str = "present", check: bool = False, **more: Any) -> dict[str, Any]:
        params = {"path": str(self.root), "state": state, "repo": str(self.source), "version": "main"}
        return manage_release({**params, "shared": [".env"], **more}, check)

    def built(self, **more: Any) -> str:
        """A release that may become the current one."""
        name = str(self(**more)["release"])
        self("built", release=name)
        return name

    def names(self) -> list[str]:
        return sorted(os.listdir(self.root / "releases"))


def refusal(app: App, *args: Any, **more: Any) -> str:
    with pytest.raises(BadInput) as caught:
        app(*args, **more)
    return f"{caught.value} | {caught.value.advice}"
