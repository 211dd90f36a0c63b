# SPDX-License-Identifier: GPL-3.0-or-later
"""An app without an engine: a repository, a folder on a server, and the playbook ``update`` with ``app_engine: none``."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bed.shop import ROOT, Play, run

_NAMES = {f"GIT_{r}_{k}": "x" for r in ("AUTHOR", "COMMITTER") for k in ("NAME", "EMAIL")}


class PlainApp:
    """One such app.

    :param folder: for its repository and its inventory, and for ``app_root`` where it is on this machine.
    :param host: what Ansible has to know of the server; without it this machine.
    :param variables: further variables of the playbooks.
    """

    def __init__(
        self, folder: Path, variables: Mapping[str, Any] | None = None, host: Mapping[str, Any] | None = None
    ) -> None:
        self.folder = folder
        self.root = folder / "srv"
        self.repository = folder / "source"
        self.host = host or {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        self.variables: dict[str, Any] = {
            "app_name": "blog", "app_engine": "none", "app_root": str(self.root), "app_repo": str(self.repository),
            "verify_retries": 1, **(variables or {}),
        }  # fmt: skip
        if not host:
            self.variables["app_state_dir"] = str(self.root / ".evenkeel")
        shutil.rmtree(folder, ignore_errors=True)
        self.repository.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *words: str) -> str:
        """git in the repository."""
        return run(["git", "-C", str(self.repository), *words], env={**os.environ, **_NAMES}).strip()

    def commit(self, tag: str, files: Mapping[str, str]) -> str:
        """A commit with exactly these files, and its tag."""
        for path in self.repository.iterdir():
            if path.name != ".git":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name, text in files.items():
            path = self.repository / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", tag)
        self.git("tag", "--force", tag)
        return self.git("rev-parse", "HEAD")

    def argv(self, version: str, *arguments: str, playbook: str = "update", **variables: Any) -> list[str]:
        """The command line a user would type; ``version`` is what the playbook goes to."""
        inventory = {"all": {"hosts": {"server": dict(self.host)}, "vars": self.variables}}
        path = self.folder / "inventory.json"
        path.write_text(json.dumps(inventory), encoding="utf-8")
        to = {"update": "update_version", "rollback": "rollback_to"}[playbook]
        further = json.dumps({to: version, **variables})
        ansible = str(Path(sys.executable).parent / "ansible-playbook")
        return [ansible, f"evenkeel.deploy.{playbook}", "-i", str(path), "-e", further, *arguments]

    @staticmethod
    def environment() -> dict[str, str]:
        """What the playbook runs with."""
        return {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml"}

    def update(self, version: str, *arguments: str, **variables: Any) -> Play:
        """Run the playbook to its end."""
        began = time.monotonic()
        done = subprocess.run(
            self.argv(version, *arguments, **variables), cwd=ROOT, env=self.environment(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        return Play(done.returncode, done.stdout + done.stderr, time.monotonic() - began)

    def killed(self, version: str, before: str, **variables: Any) -> str:
        """Run it, and kill it and all it started on this machine as soon as a task begins; returns what it printed."""
        process = subprocess.Popen(
            self.argv(version, **variables), cwd=ROOT, env={**self.environment(), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if re.search(rf"TASK \[.*{before}", line):
                os.killpg(process.pid, signal.SIGKILL)
                break
        process.wait()
        process.stdout.close()
        assert process.returncode == -signal.SIGKILL, printed
        return printed
