# SPDX-License-Identifier: GPL-3.0-or-later
"""An app as ``symlink_release`` is called for it: a repository, a folder on a server."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.symlink_release import call as manage_release

#: Nobody's own settings, no housekeeping after each command, and nothing to run at a commit.
_SETTINGS = {"gc.auto": "0", "maintenance.auto": "false", "init.templateDir": ""}
_ENVIRONMENT = {
    **{f"GIT_{role}_{kind}": "x" for role in ("AUTHOR", "COMMITTER") for kind in ("NAME", "EMAIL")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_COUNT": str(len(_SETTINGS)),
    **{f"GIT_CONFIG_KEY_{number}": key for number, key in enumerate(_SETTINGS)},
    **{f"GIT_CONFIG_VALUE_{number}": value for number, value in enumerate(_SETTINGS.values())},
}


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **_ENVIRONMENT},
    )
    return done.stdout.strip()


def commit(folder: Path, **files: str) -> str:
    for name, text in files.items():
        (folder / name).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "x")
    return head_of(folder / ".git")


def head_of(repository: Path) -> str:
    """The commit that the last one of a repository is, as git has just written it down."""
    kind, _colon, ref = (repository / "HEAD").read_text().strip().rpartition(": ")
    return (repository / ref).read_text().strip() if kind else ref


@functools.cache
def _first_commit() -> tempfile.TemporaryDirectory[str]:
    """A repository with one commit, made once for all apps."""
    made = tempfile.TemporaryDirectory()
    git(Path(made.name), "init", "--quiet", "--initial-branch=main")
    commit(Path(made.name), version="1")
    return made


class App:
    """An app on a server, as the module is called for it."""

    def __init__(self, folder: Path) -> None:
        self.source, self.root = folder / "source", folder / "srv/shop"
        shutil.copytree(_first_commit().name, self.source)
        self.first = head_of(self.source / ".git")
        (self.root / "shared").mkdir(parents=True)
        (self.root / "shared/.env").write_text("SECRET=1")
        #: Further arguments of each call.
        self.always: dict[str, Any] = {}

    def __call__(self, state: str = "present", check: bool = False, **more: Any) -> dict[str, Any]:
        params = {"path": str(self.root), "state": state, "repo": str(self.source), "version": "main"}
        return manage_release({**params, "shared": [".env"], **self.always, **more}, check)

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
