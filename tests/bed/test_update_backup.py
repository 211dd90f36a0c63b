# SPDX-License-Identifier: GPL-3.0-or-later
"""Role update has a backup before it migrates anything, and migrates nothing where it cannot have one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bed.shop import ROOT
from tests.bed.test_django_migrate import NAME, PASSWORD, Stack, stack

#: Fixtures of the bed that plans are asked in.
__all__ = ["stack"]

# The part of the role that migrates, under the lock as the whole of it takes it.
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: evenkeel.deploy.app, public: true}
    - evenkeel.deploy.deploy_lock: {state_dir: "{{ app_state_dir }}", playbook: update, app_name: "{{ app_name }}"}
      register: lock
    - module_defaults:
        group/evenkeel.deploy.all: {state_dir: "{{ app_state_dir }}", lock_token: "{{ lock.lock_token }}"}
      block:
        - ansible.builtin.include_role: {name: evenkeel.deploy.update, tasks_from: migrations.yml, public: true}
        - ansible.builtin.debug: {msg: "told: {{ update_backed_up }}"}
      always:
        - evenkeel.deploy.deploy_lock: {state_dir: "{{ app_state_dir }}", lock_token: "{{ lock.lock_token }}", state: released}
"""
RELEASE = "20260101T000000Z-1111111"


class App:
    """The stack as role update sees it."""

    def __init__(self, made: Stack) -> None:
        self.stack = made
        self.root = made.folder / "srv"
        self.backups = self.root / "backups"

    def update(self, **more: Any) -> str:
        """What the play printed, its exit code first."""
        self.root.mkdir(exist_ok=True)
        play = self.root / "play.yml"
        play.write_text(PLAY)
        known = {
            "app_name": NAME, "app_root": str(self.root), "app_repo": "unused", "backup_min_free": "0",
            "update_release": {"release_path": str(self.stack.folder), "revision": "1" * 40, "current": "", "release": RELEASE},
            "update_plan": {"rest": {"start": []}}, "update_first": False, "update_differs": True, **more,
        }  # fmt: skip
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), str(play), "-i", "localhost,", "-c", "local"]
        done = subprocess.run(
            [*argv, "-e", f"ansible_python_interpreter={sys.executable}", "-e", json.dumps(known)],
            cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=900,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        )  # fmt: skip
        output = " ".join((done.stdout + done.stderr).split())
        assert PASSWORD not in output
        return f"{done.returncode} {output}"

    def recorded(self) -> list[str]:
        """The migrations that the database has seen."""
        psql = [
            "exec",
            "-T",
            "db",
            "psql",
            "-U",
            "postgres",
            "shop",
            "-Atc",
            "SELECT name FROM django_migrations ORDER BY id",
        ]
        return self.stack.compose(*psql).split()

    def manifests(self) -> list[dict[str, Any]]:
        return [json.loads(p.read_text()) for p in sorted(self.backups.glob("*.json"))]


@pytest.fixture(scope="module")
def app(stack: Stack) -> Iterator[App]:
    made = App(stack)
    yield made
    shutil.rmtree(made.root, ignore_errors=True)


@pytest.mark.matrix
def test_nothing_is_migrated_without_a_backup_and_it_is_of_the_rows_before(app: App) -> None:
    # No room for it: nothing was touched.
    output = app.update(backup_min_free="900T")
    assert output.startswith("2 ") and "MiB are to be left" in output, output[-3000:]
    assert app.recorded() == ["0001_initial"] and app.manifests() == []
    # Where none may run there is nothing to back up for.
    output = app.update(update_migrations="none")
    assert output.startswith("2 ") and "update_migrations is none" in output and app.manifests() == []
    output = app.update()
    assert output.startswith("0 ") and "shop is backed up: " in output, output[-3000:]
    assert app.recorded() == ["0001_initial", "0002_two"]
    (manifest,) = app.manifests()
    assert manifest["migrations"] == {"count": 1, "latest": {"shop": "0001_initial"}}
    assert manifest["proven"] == "read" and manifest["releases"] == [RELEASE]
    # Nothing is pending: no other one, unless it is asked for.
    for backup, expected in (("auto", 1), ("never", 1), ("always", 2)):
        output = app.update(update_contract="manual", update_backup=backup)
        assert output.startswith("0 "), output[-2500:]
        assert len(app.manifests()) == expected, backup
